"""What an import refuses, why, and what works instead: one row each, from which the errors and the docs are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One construct that is not carried.

    Attributes
    ----------
    construct : str
        As its owner calls it.
    why : str
        Completes "cannot be carried: it ...".
    instead : str
        What works.
    """

    construct: str
    why: str
    instead: str


_WRAP = "audit the model as it is with trustml.audit, or replace this part"

REFUSALS: Mapping[str, Refusal] = {
    "operator": Refusal(
        construct="any operator that is not in the table of those carried",
        why="calls an operator that has no layer here",
        instead=_WRAP,
    ),
    "arguments": Refusal(
        construct="an operator of the table with arguments of another kind, such as a value where a number is taken",
        why="calls an operator in a way that has no layer here",
        instead=_WRAP,
    ),
    "batch": Refusal(
        construct="views, sums, norms or softmax that reach across the axis of examples",
        why="mixes the examples of a batch, so no example has an output of its own",
        instead="keep the axis of examples first and whole",
    ),
    "view": Refusal(
        construct="`view` or `reshape` that cuts an axis where it has no divisor",
        why="sees its numbers in a shape that no split or merge of axes gives",
        instead="reshape along whole axes",
    ),
    "order": Refusal(
        construct="more than three runs of axes in a new order at once, such as `pixel_shuffle`",
        why="puts more than three groups of axes in another order",
        instead="use a transposed convolution, or do it in steps of three axes",
    ),
    "axes": Refusal(
        construct="a layer of images or sequences on an array of another number of axes",
        why="takes axes that no layer here has so",
        instead="give images as (examples, channels, rows, columns), sequences as (examples, channels, steps)",
    ),
    "broadcast": Refusal(
        construct="numbers that are repeated along an axis other than rows, columns or steps",
        why="repeats numbers along axes that no layer here repeats",
        instead="bring both sides to one shape by a layer",
    ),
    "factor": Refusal(
        construct="a product with constants that differ from place to place",
        why="multiplies each place by a constant of its own",
        instead="multiply by one number, or by one for each channel",
    ),
    "nothing": Refusal(
        construct="a product with 0, or with a number that is not finite",
        why="multiplies by a number that leaves nothing of its input",
        instead="take the product out",
    ),
    "softplus": Refusal(
        construct="`Softplus(threshold=...)` other than 20",
        why="is a softplus that becomes a straight line where it is not yet one",
        instead="use threshold=20",
    ),
    "limits": Refusal(
        construct="`clamp` at numbers beyond 1,000, whose sums float32 rounds, or at limits that are no numbers",
        why="cuts values off at limits that ReLUs cannot cut at as exactly",
        instead="take the clamp out, or cut off at numbers closer to 0",
    ),
    "count_include_pad": Refusal(
        construct="`AvgPool2d` with padding and `count_include_pad=False`, or `ceil_mode=True` beyond the edge",
        why="divides windows at the edge by another number of places",
        instead="set count_include_pad=True and ceil_mode=False, or pad by 0",
    ),
    "divisor": Refusal(
        construct="`AvgPool2d(divisor_override=...)`",
        why="divides windows by a number of its own",
        instead="leave divisor_override out, and multiply by a number",
    ),
    "pool_dilation": Refusal(
        construct="`MaxPool2d(dilation=...)`",
        why="leaves places out between those of a window",
        instead="use dilation=1",
    ),
    "pad": Refusal(
        construct="padding that reflects, repeats or goes round (`padding_mode`, `F.pad(mode=...)`), or not with 0",
        why="pads with something else than zeros",
        instead="use padding_mode='zeros'",
    ),
    "crop": Refusal(
        construct="negative padding, and slices of rows, columns or steps",
        why="cuts places off",
        instead="cut the inputs before, or use a stride",
    ),
    "upsample": Refusal(
        construct="`interpolate` other than to the nearest by whole numbers",
        why="resizes by something else than repeating each place",
        instead="use mode='nearest' and a whole scale_factor, or a transposed convolution",
    ),
    "attention": Refusal(
        construct="scores of attention that are used otherwise than in `softmax(scale * q @ k.T + mask) @ v`",
        why="uses products of two values in another way than attention does",
        instead="use torch.nn.functional.scaled_dot_product_attention",
    ),
    "attention_mask": Refusal(
        construct="masks of attention other than the causal one and one of padded tokens; biases of positions",
        why="adds a mask or a bias to scores of attention that is neither causal nor of padding",
        instead="use is_causal=True, or a mask from `ids != padding`; leave relative positions out",
    ),
    "softmax": Refusal(
        construct="`softmax` anywhere but in attention and at the end",
        why="is a softmax that is neither in attention nor the output",
        instead="leave it out, or gate by a Sigmoid",
    ),
    "recurrent": Refusal(
        construct="recurrent layers that are bidirectional, projected, without biases, or start from a given state; "
        "the last states of several layers, and those of cells",
        why="is a recurrent layer, or a state of one, of another kind than a one-directional GRU or LSTM from zeros",
        instead="use nn.GRU or nn.LSTM with bias=True, bidirectional=False and no given state, and states of all steps",
    ),
    "norm": Refusal(
        construct="norms over several axes with weights that differ from place to place",
        why="normalises over axes that no norm here does",
        instead="normalise over the last axis, or use GroupNorm",
    ),
    "running": Refusal(
        construct="`BatchNorm` with track_running_stats=False",
        why="normalises by the statistics of the batch, so examples mix",
        instead="use GroupNorm, or keep running statistics",
    ),
    "standstill": Refusal(
        construct="a model whose output is its input, or follows from none",
        why="gives its input, or an output that follows from none",
        instead="return what is computed from the input",
    ),
    "token_ids": Refusal(
        construct="token ids that are used otherwise than in an embedding or compared with the id of padding",
        why="computes with token ids",
        instead="look ids up in an embedding",
    ),
    "last_axis": Refusal(
        construct="a sum, mean or largest value over some of the axes alone",
        why="gathers along axes that no pooling here gathers along",
        instead="gather over all rows and columns, or over all steps",
    ),
    "cast": Refusal(
        construct="casts to whole numbers or to half precision within the model",
        why="casts to a type that holds other numbers than float32",
        instead="take the cast out, and give the model in float32",
    ),
    "concatenate": Refusal(
        construct="`cat` along rows or columns, and of more than a token before a sequence",
        why="joins values along an axis other than channels or steps",
        instead="join along channels",
    ),
    "kernel": Refusal(
        construct="a convolution or product whose weights are computed from the input",
        why="has weights that follow from the input",
        instead="use weights of the module",
    ),
    "transposed": Refusal(
        construct="transposed convolutions with groups, dilation or output_padding beyond the padding",
        why="is a transposed convolution with groups, dilation or a rest",
        instead="use groups=1, dilation=1 and output_padding=0",
    ),
    # of whole models
    "mutated": Refusal(
        construct="buffers that a call changes, such as counters and running statistics",
        why="changes a buffer or its input when it is called",
        instead="call eval(), or take the buffer out",
    ),
    "control_flow": Refusal(
        construct="branches and loops that follow from the data, `.item()`, code outside of PyTorch and JAX",
        why="cannot be traced by torch.export, or by JAX",
        instead="take the branch out, or compute both sides and mix them",
    ),
    "outputs": Refusal(
        construct="several outputs, or several inputs",
        why="has more than one input or output",
        instead="wrap it in a module that takes one array and returns one (Hugging Face: config.use_cache = False)",
    ),
    "saturated": Refusal(
        construct="a softmax or sigmoid at the end that gives 0 and 1 alone, where what comes before cannot be asked",
        why="gives probabilities of 0 and 1, which do not tell what they were made from",
        instead="give the model without the softmax or sigmoid at its end",
    ),
    "different": Refusal(
        construct="a model whose import gives other logits than it does, whatever the reason",
        why="gives other outputs than its import",
        instead=_WRAP,
    ),
}


class CannotCarryError(Exception):
    """A construct that is in the table above.

    Parameters
    ----------
    key : str
        Row of :data:`REFUSALS`.
    detail : str
        What it is this time.
    """

    def __init__(self, key: str, detail: str = "") -> None:
        super().__init__(key, detail)
        self.refusal, self.detail = REFUSALS[key], detail

    def line(self, place: str) -> str:
        """One line that names the node."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"model: {place} cannot be carried: it {self.refusal.why}{detail}; {self.refusal.instead}"
