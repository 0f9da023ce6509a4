"""What exported models have in common: the name of their statement, and the ways to round them."""

from __future__ import annotations

from typing import Literal, TypeAlias

STATEMENT = "trustml.json"
"""Name under which a file holds what travels inside it (:class:`trustml.record.exports.ExportedStatement`)."""

Quantised: TypeAlias = Literal["", "dynamic", "int8"]
"""8-bit whole numbers: nowhere, for weights, for weights and values."""

ADDED_VARIABLE = "TRUSTML_ENV_{}"
"""Variable that names the folder of packages which some targets alone need; by it processes that open files find it."""
