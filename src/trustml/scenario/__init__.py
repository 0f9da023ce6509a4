"""Scenarios: what to run, as frozen data, and the checks that happen before anything runs."""
