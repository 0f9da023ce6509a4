"""Starting workers: environments, processes, order. Imports no worker and no framework."""
