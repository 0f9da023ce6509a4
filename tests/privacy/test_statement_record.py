"""Privacy statements in files: terms are known ones, and statements of before have no more than they said."""

from __future__ import annotations

import msgspec
import pytest

from tests.auditing.test_run_wording import statement
from trustml.privacy.statement import PrivacyStatement

NEW = ("drawn", "secret_sampling", "largest_participation", "accounted_by")


def plain(**changes) -> bytes:
    told = msgspec.to_builtins(statement(low=None, high=3.0)) | changes
    return msgspec.json.encode({name: value for name, value in told.items() if name not in NEW or name in changes})


def test_a_statement_of_before_its_terms_were_typed_is_read_and_nothing_is_guessed():
    found = msgspec.json.decode(plain(sampling="Poisson, secret"), type=PrivacyStatement)
    assert found.sampling == "Poisson, secret" and found.unit_of_privacy == "example"
    assert [getattr(found, name) for name in NEW] == ["", False, 0, ""]


@pytest.mark.parametrize(
    ("name", "value"),
    [("unit_of_privacy", "clan"), ("neighboring_relation", "x"), ("drawn", "at will"), ("accounted_by", "eye")],
)
def test_a_term_that_nobody_knows_is_refused(name, value):
    with pytest.raises(msgspec.ValidationError, match=name):
        msgspec.json.decode(plain(**{name: value}), type=PrivacyStatement)
