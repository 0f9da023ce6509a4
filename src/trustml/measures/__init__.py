"""Measures: numpy over the files of a run directory, the same judge for every framework."""
