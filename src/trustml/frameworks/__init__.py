"""What is known of each backend without starting it: the table of backends, open to entry points."""
