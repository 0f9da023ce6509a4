"""What trustml costs beside its peers, measured side by side on the machine at hand."""
