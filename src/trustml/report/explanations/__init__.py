"""Explanations: what they are worth, who agrees, what they look like."""
