"""From a data file to a scenario that works: what it holds, what follows from that, and the file that says why."""
