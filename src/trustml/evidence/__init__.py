"""Evidence that others can check: a run packed and signed, and every hash and number of it computed anew."""
