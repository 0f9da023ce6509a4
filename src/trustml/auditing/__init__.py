"""From a model and its claim to findings, and to evidence that can be packed, signed and checked."""
