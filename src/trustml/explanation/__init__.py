"""``trustml.explain``: a model in memory, explained by one method without a scenario and without a run."""
