"""An audit against the one that follows from the record now."""

from __future__ import annotations

import msgspec
import pytest

from tests.report.audit.examples import example_audit
from trustml.auditing.claim import Claim
from trustml.evidence.audits import _other_parts


def claimed(audit, **changes):
    """The same audit, the claims of its models changed."""
    models = tuple(
        msgspec.structs.replace(
            model, claim=msgspec.structs.replace(model.claim or Claim(epsilon=3.0, delta=1e-5), **changes)
        )
        for model in audit.models
    )
    return msgspec.structs.replace(audit, models=models)


@pytest.mark.parametrize(
    ("stated", "outcome"),
    [
        ({}, "ok"), ({"sampling": "unknown"}, "ok"), ({"sampling": "shuffle"}, "differs"),
        ({"sampling": "unknown", "epsilon": 2.0}, "differs"), ({"loader": "unknown"}, "differs"),
    ],
)  # fmt: skip
def test_only_the_sampling_that_earlier_versions_did_not_know_may_be_missing(stated, outcome):
    anew = claimed(example_audit(1, 2), sampling="in turn", loader="poisson")
    (check,) = _other_parts(claimed(anew, **stated), anew, same_words=True)
    assert check.outcome == outcome


@pytest.mark.parametrize(
    ("change", "same_words", "outcome"),
    [
        ({"id": "another"}, False, "differs"), ({"settings": {"source": "a test"}}, True, "differs"),
        ({"settings": {"source": "words of another revision"}}, False, "ok"), ({"title": "another"}, False, "differs"),
    ],
)  # fmt: skip
def test_every_part_of_an_audit_is_compared(change, same_words, outcome):
    anew = example_audit(1, 2)
    (check,) = _other_parts(msgspec.structs.replace(anew, **change), anew, same_words=same_words)
    assert check.outcome == outcome
