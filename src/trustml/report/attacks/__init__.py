"""What attacks on models came to."""
