"""A small, slow network in float64 that is obviously right: the oracle of the conformance suite."""
