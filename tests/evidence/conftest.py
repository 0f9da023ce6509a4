"""What all tests of evidence share."""

from __future__ import annotations

import functools

import pytest

from tests import WHOLE
from trustml.report.audit import figures

_draw = figures._roc


@functools.cache
def _drawn(subject, curves, attacks, number):
    return _draw(subject, list(curves), list(attacks), number)


@pytest.fixture(autouse=True, scope="module")
def _curves_are_drawn_once():
    """Of every audit that is checked the page is made anew, and most audits here have the same curves."""
    with pytest.MonkeyPatch.context() as patch:
        if not WHOLE:
            patch.setattr(
                figures,
                "_roc",
                lambda subject, curves, attacks, number: _drawn(subject, tuple(curves), tuple(attacks), number),
            )
        yield
