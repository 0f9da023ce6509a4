"""Tests, in their short form unless ``TRUSTML_TESTS=all`` asks for the whole (``make test-all``)."""

import os

WHOLE = os.environ.get("TRUSTML_TESTS") == "all"
"""Whether tests take their longest form."""
