"""Explanation methods and their implementations, as data."""
