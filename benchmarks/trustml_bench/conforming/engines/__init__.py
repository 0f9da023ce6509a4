"""One file for each way of driving a library; each imports its own."""
