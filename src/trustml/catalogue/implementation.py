"""Who implements a method in one backend, and how what it returns relates to the definition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """A library does it.

    Attributes
    ----------
    library : str
        For tables, such as ``captum``.
    function : str
        What is called, such as ``captum.attr.Saliency``.
    differs : str
        How the raw output differs from the definition; empty where it is the definition. Where it differs,
        the backend also gives the variant ``completed`` if the definition can be had from it.
    """

    library: str
    function: str
    differs: str = ""


@dataclass(frozen=True, kw_only=True)
class NotAvailable:
    """No well-kept library of that backend does it.

    Attributes
    ----------
    reason : str
    """

    reason: str


Availability: TypeAlias = Implementation | NotAvailable
