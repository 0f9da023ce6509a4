"""Data as numpy arrays with a fingerprint; splits, batches and clients drawn once for every backend."""
