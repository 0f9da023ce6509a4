"""The worker: one fresh process that does one job with one framework and writes plain files."""
