"""Federated training: rounds, clients and who holds what."""
