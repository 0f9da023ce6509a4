"""Ledgers, privacy statements and what is released."""
