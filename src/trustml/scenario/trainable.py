"""What of a network is trained, as data; all else keeps its starting values to the bit."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from trustml.ranges import AT_LEAST_ONE, Count, Positive


class TrainableSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """A part of a network that is trained."""


class Head(TrainableSpec, frozen=True, kw_only=True, tag="Head"):
    """The weights of the last layer that has any."""


class NormsAndBiases(TrainableSpec, frozen=True, kw_only=True, tag="NormsAndBiases"):
    """All biases, and factors and offsets of norms (BitFit: Ben Zaken et al., ACL 2022, arXiv 2106.10199)."""


class Named(TrainableSpec, frozen=True, kw_only=True, tag="Named"):
    """Weights by their names, such as ``head.*`` or ``*.bias``.

    Parameters
    ----------
    patterns : tuple of str
        ``*`` stands for any letters, dots among them. Each must match a weight.
    """

    patterns: Annotated[tuple[str, ...], AT_LEAST_ONE]


class LoRA(TrainableSpec, frozen=True, kw_only=True, tag="LoRA"):
    """A pair of small matrices beside each kernel of dense layers (Hu et al., ICLR 2022, arXiv 2106.09685).

    The kernel stays as it is; ``alpha / rank * down @ up`` is added to it, where `up` begins as zero. After training
    the product is part of the kernel: a model has no other weights than it had.

    Parameters
    ----------
    rank : int
        Columns of `down`, and rows of `up`.
    targets : tuple of str
        Names of dense layers, projections of attention among them, by patterns; all by default. Those whose kernel is
        trained as a whole have no pair.
    alpha : float, optional
        The rank, where it is left out.
    """

    rank: Count = 8
    targets: Annotated[tuple[str, ...], AT_LEAST_ONE] = ("*",)
    alpha: Positive | None = None

    @property
    def scale(self) -> float:
        """What the product is multiplied by."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


Trainable: TypeAlias = Head | NormsAndBiases | Named | LoRA
