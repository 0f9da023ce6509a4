"""From a model and its claim to findings about it."""
