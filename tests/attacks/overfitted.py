"""Logits as overfitted models give them, without training any: members' labels get more, hard examples less."""

from __future__ import annotations

import numpy as np

from trustml.attacks.catalogue import References


def drawn(*, models=16, examples=600, classes=4, gain=2.0, seed=0):
    """A target's logits, labels, members, and its reference models; `gain` is what training on an example adds."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, examples)
    members = generator.random((models + 1, examples)) < 0.5
    hardness = generator.normal(size=examples) * 3
    logits = generator.normal(size=(models + 1, examples, classes))
    logits[:, np.arange(examples), labels] += 2.0 + hardness + gain * members
    references = References(logits=logits[:-1].astype(np.float32), members=members[:-1])
    return logits[-1], labels, members[-1], references
