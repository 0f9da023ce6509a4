"""Federated rounds of trustml between Flower's processes."""
