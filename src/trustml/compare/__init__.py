"""The tidy table of a run, and of several side by side."""
