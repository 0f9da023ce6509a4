"""Audits on paper: the signed page, the model card, and what both say."""
