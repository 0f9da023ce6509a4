"""Who does a method of explanation in one backend, and the function that is called for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

CONTROL_LIBRARY = "control"
"""Whose random numbers are."""


class Implementation(msgspec.Struct, frozen=True, kw_only=True):
    """A library does it.

    Attributes
    ----------
    library : str
        For tables, such as ``captum``.
    call : str
        Import path of the function of the backend that does it, such as
        ``trustml.backends.torch.gradient_methods:gradient_method``; :func:`resolve` imports it.
    library_function : str
        What of the library that calls, such as ``captum.attr.Saliency``; empty where it is that function itself.
    differs : str
        How the raw output differs from the definition; empty where it is the definition. Where it differs,
        the backend also gives the variant ``completed`` if the definition can be had from it.
    of_classes : str
        Why it explains nothing but one class of many; empty where it explains any output.
    """

    library: str
    call: str
    library_function: str = ""
    differs: str = ""
    of_classes: str = ""

    @property
    def function(self) -> str:
        """What is called, for tables."""
        return self.library_function or self.call.replace(":", ".")


class NotAvailable(msgspec.Struct, frozen=True, kw_only=True):
    """No well-kept library of that backend does it.

    Attributes
    ----------
    reason : str
    """

    reason: str


Availability: TypeAlias = Implementation | NotAvailable
Cell: TypeAlias = Availability | Callable[[Any], Availability]
"""Who does a method; a function of the method where that depends on its settings."""


def resolve(found: Implementation) -> Callable[..., Any]:
    """Import the function that does a method; this imports its framework."""
    module, _, name = found.call.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
