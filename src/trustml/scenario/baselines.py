"""What stands for an absent input, as data, and whose rows can be read from what is explained with it."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from trustml.ranges import Count, Positive

Rows: TypeAlias = Literal["none", "public", "held-out", "training"]
"""Whose rows a baseline or a background shows to whoever has the attributions, the weights and the inputs."""
Disclosed: TypeAlias = Literal["held-out rows", "training rows"]


class Mean(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="Mean"):
    """Baseline: the mean training input. No epsilon covers it, so runs with a private regime refuse it."""


class Median(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="Median"):
    """Baseline: the median of each value over rows; of a column for each category, the commoner of there and not there.

    Of a value that has two forms alone, such as a mark, as many of the one as of the other give the lesser.

    Parameters
    ----------
    rows : {"public", "held-out", "training"}
        Rows of an ``.npz`` file that the user declares public, in the units of the model; held-out inputs, or training
        inputs, of which no epsilon covers the median: beside a private regime they need
        :class:`trustml.scenario.spec.Explanations` to say so.
    path, array : str
        File and array of the public rows.
    """

    rows: Literal["public", "held-out", "training"] = "public"
    path: str = ""
    array: str = "inputs"


class Constants(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="Constants"
):
    """Baseline: a public number for each column of a table, or channel of images and series, in the model's units."""

    values: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)]


class Blur(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="Blur"):
    """Baseline: the input itself, blurred by a Gaussian of `sigma` pixels; for images."""

    sigma: Positive = 2.0


class TrainingExample(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="TrainingExample"
):
    """Baseline: one training input, drawn with `seed`. No epsilon covers it; runs with a private regime refuse it."""

    seed: int = 0


class HeldOutExample(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="HeldOutExample"
):
    """Baseline: one held-out input, drawn with `seed`. It is disclosed.

    Runs with a private regime refuse it where :class:`trustml.scenario.spec.Explanations` does not say so.
    """

    seed: int = 0


class PublicExample(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="PublicExample"
):
    """Baseline: one row of an array of an ``.npz`` file that the user declares public, in the units of the model."""

    path: str
    array: str = "inputs"
    index: int = 0


Baseline: TypeAlias = float | Mean | Median | Constants | Blur | TrainingExample | HeldOutExample | PublicExample
"""What stands for an absent input; a number stands for an input that has that value everywhere."""


class Background(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several baselines, drawn with `seed`.

    Parameters
    ----------
    count, seed : int
    rows : {"training", "held-out", "public", "uniform"}
        Training inputs, which no epsilon covers; held-out inputs; rows of an ``.npz`` file that the user declares
        public, in the units of the model; or numbers drawn evenly from `low` to `high`, which are nobody's.
    low, high : float
    path, array : str
        File and array of the public rows.
    """

    count: Count = 16
    seed: int = 0
    rows: Literal["training", "held-out", "public", "uniform"] = "training"
    low: float = 0.0
    high: float = 1.0
    path: str = ""
    array: str = "inputs"


def rows_shown(baseline: Baseline | Background | None) -> Rows:
    """Say whose rows can be read from explanations that use it."""
    match baseline:
        case Median():
            return baseline.rows
        case Mean() | TrainingExample() | Background(rows="training"):
            return "training"
        case HeldOutExample() | Background(rows="held-out"):
            return "held-out"
        case PublicExample() | Background(rows="public"):
            return "public"
    return "none"
