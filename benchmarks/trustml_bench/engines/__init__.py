"""One module for each library: functions that take a workload and give a callable that does one unit of it."""
