"""Architectures as data, their shapes, and weights in one canonical layout."""
