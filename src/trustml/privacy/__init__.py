"""What a run charges for privacy, and the epsilon that follows from it."""
