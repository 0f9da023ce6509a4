"""Run directories: what is written, how it is written, and how it is read back."""
