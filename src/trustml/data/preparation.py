"""What was done to inputs and labels before training, as data; the sentences about it are made here and only here."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Scaled: TypeAlias = Literal[
    "none",
    "public constants",
    "declared constants",
    "training statistics",
    "given tokenizer",
    "each example",
    "given code",
    "unknown",
]
Categories: TypeAlias = Literal["none", "declared", "marks not declared", "of the data", "unknown"]
Classes: TypeAlias = Literal["public", "of the data", "targets as they are", "targets by a given range", "unknown"]


class Preparation(msgspec.Struct, frozen=True, kw_only=True):
    """How a data set was prepared. What a record does not say is unknown.

    Parameters
    ----------
    scaling : {"none", "public constants", "declared constants", "training statistics", "given tokenizer", ...}
        Where the numbers come from that inputs were shifted and scaled by: nothing was done; constants of the format
        or of a public description of the data; constants that the scenario gives, whose origin nobody checked; the
        training examples; tokens are those of a tokenizer that the user gives; each example by itself (``"each
        example"``); or code of the user made the inputs (``"given code"``).
    categories : {"none", "declared", "marks not declared", "of the data", "unknown"}
        Where the columns of a table come from that text became. With `of the data` one row can add or remove a column;
        with `marks not declared` a row that lacks a number could add one.
    classes : {"public", "of the data", "targets as they are", "targets by a given range", "unknown"}
        Where the names and the number of classes come from, or what was done to the targets of a regression.
    learned_columns : tuple of str
        Columns of which the data decided what they became: categories of text, and marks of missing numbers.
    left_out_columns : tuple of str
        Columns that are no features because they hold many different texts.
    code : str
        SHA-256 of the file whose code made the inputs; what that imports is not in it.
    """

    scaling: Scaled = "unknown"
    categories: Categories = "unknown"
    classes: Classes = "unknown"
    learned_columns: tuple[str, ...] = ()
    left_out_columns: tuple[str, ...] = ()
    code: str = ""


def preparation_notes(preparation: Preparation) -> tuple[str, ...]:
    """Say what a reader of an epsilon must know about the preparation; nothing where all of it was public."""
    notes = []
    if preparation.learned_columns:
        names = ", ".join(preparation.learned_columns)
        notes.append(
            f"the categories, marks of missing values or orders of dates of {names} are taken from the data; "
            "no epsilon covers that"
        )
    if preparation.left_out_columns:
        names = ", ".join(preparation.left_out_columns)
        notes.append(f"columns {names} were left out because the data hold many texts there; no epsilon covers that")
    if preparation.scaling == "training statistics":
        notes.append(
            "inputs are standardised with the mean and deviation of the training data; these statistics are not "
            "covered by any epsilon"
        )
    if preparation.scaling == "declared constants":
        notes.append(
            "inputs are shifted and scaled by constants given by the user; were they statistics of the training data, "
            "no epsilon would cover them"
        )
    if preparation.scaling == "given tokenizer":
        notes.append(
            "texts are cut into tokens by a tokenizer given by the user; were it trained on the training data, no "
            "epsilon would cover it"
        )
    if preparation.scaling == "given code":
        notes.append(
            f"inputs are made by code given by the user (SHA-256 {preparation.code[:16]}); were it to use statistics "
            "of the training data, no epsilon would cover them"
        )
    if preparation.classes == "targets by a given range":
        notes.append(
            "targets are mapped to [-1, 1] by a range given by the user; were it taken from the training data, no "
            "epsilon would cover it"
        )
    if "unknown" in (preparation.scaling, preparation.categories):
        notes.append("the record does not say how the inputs were prepared")
    return tuple(notes)
