"""Tests of exported models beside the models that were audited."""
