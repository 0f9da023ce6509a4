"""What stands for an absent input, as data."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Mean(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="Mean"):
    """Baseline: the mean training input. No epsilon covers it, and the record says so."""


class Blur(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="Blur"):
    """Baseline: the input itself, blurred by a Gaussian of `sigma` pixels; for images."""

    sigma: float = 2.0


class TrainingExample(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="TrainingExample"
):
    """Baseline: one training input, drawn with `seed`. No epsilon covers it, and the record says so."""

    seed: int = 0


Baseline: TypeAlias = float | Mean | Blur | TrainingExample
"""What stands for an absent input; a number stands for an input that has that value everywhere."""


class Background(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several baselines: `count` training inputs drawn with `seed`. No epsilon covers them."""

    count: int = 16
    seed: int = 0


def uses_training_data(baseline: Baseline | Background | None) -> bool:
    """Whether training examples can be read from it."""
    return isinstance(baseline, Mean | TrainingExample | Background)
