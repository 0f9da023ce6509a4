"""Layers of tokens and of attention between them, as plain data.

A sequence is an array (steps, channels). Token ids are an array (steps,) of whole numbers, stored as floats like all
inputs. Attention is a node without weights that takes queries, keys and values: what projects them is a Dense each.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from trustml.models.layer_spec import LayerSpec
from trustml.ranges import Count, CountOrNone

Axis = Annotated[int, msgspec.Meta(ge=-(2**20), le=2**20)]


class Embedding(LayerSpec, frozen=True, kw_only=True, tag="Embedding"):
    """A row of a table for each token id; the table is (vocabulary, width).

    Ids are cut off to the range of the table and to whole numbers, so that every input means something; a scenario
    whose data has others is refused.
    """

    vocabulary: Annotated[int, msgspec.Meta(ge=1, le=2**24)]
    width: Count


class Mask(LayerSpec, frozen=True, kw_only=True, tag="Mask"):
    """1 where a token id is another than `padding`, else 0: what Attention and MaskedMean take."""

    padding: CountOrNone = 0


class FeatureTokens(LayerSpec, frozen=True, kw_only=True, tag="FeatureTokens"):
    """A token for each feature of a table: ``bias + sum(x * vectors)`` over the feature's columns.

    The tokenizer of FT-Transformer (Gorishniy et al., NeurIPS 2021, arXiv 2106.11959, section 3.3): a number is
    multiplied by a vector; of a feature that takes one column for each category, the vector of the one that is there
    is taken, as from an embedding.

    Parameters
    ----------
    width : int
    columns : tuple of int
        How many columns each feature takes, in their order; by default one each.
    """

    width: Count
    columns: tuple[Count, ...] = ()


class LearnedPositions(LayerSpec, frozen=True, kw_only=True, tag="LearnedPositions"):
    """Add a trained vector to each step."""


class SinusoidalPositions(LayerSpec, frozen=True, kw_only=True, tag="SinusoidalPositions"):
    """Add ``sin`` and ``cos`` of the step over powers of `base`, side by side (Vaswani et al., arXiv 1706.03762)."""

    base: Annotated[float, msgspec.Meta(gt=1, le=1e9)] = 10_000.0


class Prepend(LayerSpec, frozen=True, kw_only=True, tag="Prepend"):
    """A trained vector before the first step, such as a class token."""


class Attention(LayerSpec, frozen=True, kw_only=True, tag="Attention"):
    """Scaled dot-product attention of several heads, side by side (Vaswani et al., arXiv 1706.03762).

    Its inputs are queries (steps, channels), keys and values (other steps, channels) and, if there is a fourth, a mask
    (other steps,): keys where it is 0 are not looked at. A step that has no key to look at gives 0.

    Parameters
    ----------
    heads : int
        A divisor of the channels.
    causal : bool
        Whether a step looks at itself and earlier ones alone.
    rotary : bool
        Turn queries and keys by their positions (Su et al., arXiv 2104.09864); in each head, the first half of the
        channels makes pairs with the second, as in GPT-NeoX.
    base : float
        Of the angles of `rotary`.
    """

    heads: Count = 1
    causal: bool = False
    rotary: bool = False
    base: Annotated[float, msgspec.Meta(gt=1, le=1e9)] = 10_000.0


class MaskedMean(LayerSpec, frozen=True, kw_only=True, tag="MaskedMean"):
    """Mean of each channel over the steps at which the second input, a mask, is not 0; 0 where there is none."""


class Pick(LayerSpec, frozen=True, kw_only=True, tag="Pick"):
    """One step of a sequence; -1 is the last."""

    index: Axis = 0


class Reshape(LayerSpec, frozen=True, kw_only=True, tag="Reshape"):
    """The same values in another shape, in the order in which they are flattened."""

    shape: tuple[Count, ...]


class Unembedding(LayerSpec, frozen=True, kw_only=True, tag="Unembedding"):
    """Products with all rows of the table of an Embedding, whose weights are tied to it (Press and Wolf, 1608.05859).

    Parameters
    ----------
    of : str
        Name of the node that is the Embedding; an earlier one.
    vocabulary : int
        Of that node, too.
    """

    of: str
    vocabulary: Count
