"""Groups of features, as data."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

OneGroup: TypeAlias = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class GroupMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="GroupMap"):
    """A whole number for each value of an input, the same for what is one group: superpixels, or parts of a series.

    Parameters
    ----------
    path, array : str
        An ``.npz`` file and an array of it, in the shape of an input or without its channels.
    """

    path: str
    array: str = "groups"


Groups: TypeAlias = tuple[OneGroup, ...] | GroupMap
"""Names of the features of each group, all of them once; or a map. Empty where every feature is a group."""
