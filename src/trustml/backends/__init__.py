"""The frameworks, each in a folder of its own; only there may it be imported."""
