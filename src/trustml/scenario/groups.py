"""Groups of features, as data."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from trustml.ranges import Count, Positive

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


class Superpixels(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="Superpixels"
):
    """Segments of the mean of the explained images, the same for all: of one explained image, its own.

    SLIC (Achanta et al., TPAMI 2012); every segment is in one piece.

    Parameters
    ----------
    segments : int
        About so many.
    compactness : float
        What a distance of one segment's side weighs against the range of the image's values: more, squarer.
    """

    segments: Count = 50
    compactness: Positive = 0.2


Groups: TypeAlias = tuple[OneGroup, ...] | GroupMap | Superpixels
"""Names of the features of each group, all of them once; a map; or segments. Empty where every feature is a group."""
