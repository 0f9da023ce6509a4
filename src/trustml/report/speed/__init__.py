"""What training and explaining cost in time and memory."""
