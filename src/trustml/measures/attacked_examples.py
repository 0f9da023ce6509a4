"""The examples that attacks on membership look at: whose they are, copies among them, and whom the start has seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trustml.data.copies import groups_of
from trustml.errors import UsageError
from trustml.measures.evidence import Evidence
from trustml.measures.notes import absent
from trustml.measures.row import About
from trustml.record.starts import seen_by_start
from trustml.record.store import PRIVATE_DATA, SEEN
from trustml.scenario.regimes import Regime


def labels_of_all(evidence: Evidence) -> npt.NDArray[np.int64]:
    """Labels of training and then of held-out examples."""
    private = evidence.run.mapped(PRIVATE_DATA, names=("train_labels", "test_labels"))
    return np.concatenate([private["train_labels"], private["test_labels"]])


def copies(evidence: Evidence) -> npt.NDArray[np.int64]:
    """Number the training and then the held-out examples, each set by itself, with the same number for copies."""
    private = evidence.run.mapped(PRIVATE_DATA, names=("train_inputs", "test_inputs"))
    train, test = groups_of(private["train_inputs"]), groups_of(private["test_inputs"])
    return np.concatenate([train, test + train.max() + 1])


def no_baseline(evidence: Evidence, regime: Regime) -> About | None:
    """Say why held-out examples, some of which the start was trained on, are nothing to hold others against."""
    count = seen_by_start(evidence.manifest, regime)
    if not count:
        return None
    return absent(f"its start was trained on {count} of the held-out examples: what it tells of them is no baseline")


def unseen(evidence: Evidence, regime: Regime) -> npt.NDArray[np.bool_]:
    """Say which of the training and then the held-out examples are what they count as, members and non-members.

    A held-out example that the start of a regime was trained on is neither.

    Raises
    ------
    UsageError
        If there are such examples, and which they are is not at hand.
    """
    data = evidence.manifest.data
    kept = np.ones(data.train_examples + data.test_examples, np.bool_)
    count = seen_by_start(evidence.manifest, regime)
    if not count:
        return kept
    if not evidence.run.file(SEEN).is_file():
        raise UsageError(f"its start was trained on {count} of the held-out examples, and {SEEN} is gone")
    kept[data.train_examples :] = ~evidence.run.arrays(SEEN)["seen"]
    return kept
