"""Exported models, beside the models that were audited."""
