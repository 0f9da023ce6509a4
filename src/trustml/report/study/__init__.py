"""Answers of a study over several runs."""
