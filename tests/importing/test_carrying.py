"""Programs of calls are carried over, or refused by the row of the table that says why; without any framework."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trustml.backends.contract import Model
from trustml.backends.numpy.network import logits
from trustml.errors import UsageError
from trustml.importing.axes import Factor, Value
from trustml.importing.carrying import carry
from trustml.importing.page import importing_page
from trustml.importing.program import Call, Constant, Program, Ref, Source
from trustml.importing.proof import log_softmax, prove
from trustml.importing.refusals import REFUSALS, CannotCarryError
from trustml.models.layers import Conv2D, GroupNorm

ROOT = Path(__file__).resolve().parents[2]
X = Ref("x")
IMAGE, VECTOR, STEPS = (5, 3, 4, 4), (5, 6), (5, 4, 3)
GENERATOR = np.random.default_rng(0)


def constant(*shape: int, origin: str = "") -> Constant:
    return Constant(GENERATOR.normal(size=shape).astype(np.float32), origin)


def program(*calls: tuple[str, dict[str, Any]], shape: tuple[int, ...] = IMAGE) -> Program:
    """Make a program of calls that take what the one before gave."""
    made, before = [], X
    for number, (operator, arguments) in enumerate(calls):
        given = {name: before if value is X else value for name, value in arguments.items()}
        made.append(Call(name=f"n{number}", operator=operator, arguments={"self": before, **given}))
        before = Ref(f"n{number}")
    return Program(calls=tuple(made), input="x", input_shape=shape, output=before.name, batch=shape[0])


def convolution(filters: int = 2, channels: int = 3, **changed: Any) -> tuple[str, dict[str, Any]]:
    given = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1, "bias": None} | changed
    return "conv2d", {"weight": constant(filters, channels, 3, 3, origin="conv.weight"), **given}


POOL = {"kernel_size": [3, 3], "stride": [2, 2], "padding": [0, 0], "ceil_mode": False, "dilation": [1, 1]}
MEAN = ("mean", {"dim": [2, 3], "keepdim": False})
SOFTMAX = ("softmax", {"dim": -1})
NORM = {"weight": None, "bias": None, "eps": 1e-5}

REFUSED: dict[str, Program] = {
    "operator": program(("cumsum", {"dim": 1})),
    "arguments": program(("softplus", {"beta": X})),
    "batch": program(("mean", {"dim": [0], "keepdim": True})),
    "view": program(("view", {"size": [16, 15]})),
    "order": program(("relu", {}), ("view", {"size": [5, 3, 2, 2, 2, 2]}), ("permute", {"dims": [0, 1, 2, 4, 3, 5]}),
                     ("flatten", {"start_dim": 1, "end_dim": -1})),
    "axes": program(convolution(), shape=STEPS),
    "broadcast": program(("add", {"other": constant(5, 3, 4, 4, 1), "alpha": 1})),
    "factor": program(("mul", {"other": constant(3, 4, 4)})),
    "nothing": program(("mul", {"other": 0.0})),
    "softplus": program(("softplus", {"beta": 1.0, "threshold": 1.0})),
    "limits": program(("clamp", {"min": -1e9, "max": None})),
    "count_include_pad": program(("avg_pool2d", POOL | {"padding": [1, 1], "count_include_pad": False})),
    "divisor": program(("avg_pool2d", POOL | {"divisor_override": 2, "count_include_pad": True})),
    "pool_dilation": program(("max_pool2d", POOL | {"dilation": [2, 2]})),
    "pad": program(("pad", {"pad": [1, 1], "mode": "reflect", "value": None})),
    "crop": program(("slice", {"dim": 2, "start": 0, "end": 2, "step": 1})),
    "upsample": program(("upsample_nearest2d", {"output_size": [6, 6]})),
    "attention": program(("matmul", {"other": X}), shape=(5, 4, 4)),
    "attention_mask": program(
        ("scaled_dot_product_attention", {"query": X, "key": X, "value": X, "is_causal": False, "scale": None,
                                          "attn_mask": constant(4, 4)}), shape=STEPS),
    "softmax": program(SOFTMAX, ("relu", {}), shape=VECTOR),
    "recurrent": program(("gru", {"input": X, "hx": constant(1, 5, 2), "params": [], "num_layers": 1}), shape=STEPS),
    "norm": program(("layer_norm", {"input": X, "normalized_shape": [4, 4], **NORM})),
    "running": program(("batch_norm", {"input": X, "running_mean": None, "running_var": None, "training": True})),
    "token_ids": program(("ne", {"other": 0}), ("relu", {}), shape=VECTOR),
    "last_axis": program(("adaptive_max_pool2d", {"output_size": [2, 2]})),
    "cast": program(("relu", {}), ("to", {"dtype": "torch.int64"})),
    "concatenate": program(("cat", {"tensors": [constant(5, 3, 4, 4), X], "dim": 2})),
    "kernel": program(("linear", {"weight": X, "bias": None}), shape=VECTOR),
    "transposed": program(("conv_transpose2d", {"weight": constant(3, 2, 3, 3), "groups": 3, "dilation": [1, 1]})),
    "standstill": program(("clone", {})),
}  # fmt: skip
WHOLE = {"mutated", "control_flow", "outputs", "different", "saturated"}
"""Refusals of whole modules: test_torch_modules.py."""


@pytest.mark.parametrize("key", REFUSED)
def test_what_cannot_be_carried_names_its_row_of_the_table(key):
    with pytest.raises(UsageError) as raised:
        carry(REFUSED[key])
    text, row = str(raised.value), REFUSALS[key]
    assert f"it {row.why}" in text and text.endswith(row.instead)
    assert text.startswith("model: ") and "\n" not in text


STATISTICS = {"running_mean": constant(3), "running_var": constant(3)}
LOOKED_AT = {"query": X, "key": X, "value": X, "is_causal": False, "scale": None}
BIAS = Constant(np.triu(np.full((4, 4), -5, np.float32), 1))


@pytest.mark.parametrize(
    ("key", "made"),
    [
        ("batch", program(("relu", {}), ("transpose", {"dim0": 0, "dim1": 1}), shape=VECTOR)),
        ("running", program(("batch_norm", {"input": X, **NORM, **STATISTICS, "training": True}))),
        ("attention_mask", program(("scaled_dot_product_attention", {**LOOKED_AT, "attn_mask": BIAS}), shape=STEPS)),
        ("standstill", program(("clone", {}), ("permute", {"dims": [0, 3, 1, 2]}))),
        ("limits", program(("clamp", {"min": None, "max": -np.inf}))),
        ("limits", program(("clamp", {"min": np.inf, "max": None}))),
    ],
    ids=["examples last", "statistics of the batch", "a bias above the diagonal", "the input in another order",
         "nothing is below -inf", "nothing is above inf"],
)  # fmt: skip
def test_what_looks_like_something_that_is_carried_is_refused_too(key, made):
    with pytest.raises(UsageError, match=re.escape(REFUSALS[key].why)):
        carry(made)


def test_every_row_is_refused_somewhere():
    assert set(REFUSED) | WHOLE == set(REFUSALS)


def test_the_page_is_current():
    tried = json.loads((ROOT / "docs" / "results" / "importing.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / "importing.md").read_text(encoding="utf-8") == importing_page(tried)
    assert sum("refused" not in row and "transformers" in row["source"] for row in tried) >= 12


def computed(made: Program, inputs: np.ndarray) -> np.ndarray:
    carried = carry(made)
    model = Model(architecture=carried.architecture, input_shape=carried.input_shape, weights=carried.weights)
    return logits(model, inputs.transpose(carried.order))


def test_a_convolution_reads_channels_first():
    """By loops over places, from the formula."""
    made = program(convolution(stride=[2, 1], padding=[1, 0]), MEAN)
    images = GENERATOR.normal(size=(2, 3, 4, 4))
    kernel = made.calls[0].arguments["weight"].array.astype(np.float64)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (0, 0)))
    expected = np.zeros((2, 2))
    for row in (0, 2):
        for column in (0, 1):
            window = padded[:, :, row : row + 3, column : column + 3]
            expected += np.einsum("ncij,ocij->no", window, kernel) / 4
    assert np.allclose(computed(made, images), expected, atol=1e-6)


def test_padding_goes_into_the_convolution_behind_it():
    made = program(("pad", {"pad": [1, 0, 2, 1], "mode": "constant", "value": None}), convolution(), MEAN)
    nodes = carry(made).architecture.nodes
    assert [type(node.layer).__name__ for node in nodes] == ["Conv2D", "GlobalAvgPool"]
    assert isinstance(nodes[0].layer, Conv2D) and nodes[0].layer.padding == ((2, 1), (1, 0))


@pytest.mark.parametrize("last", [True, False], ids=["channels last", "channels first"])
def test_padding_goes_around_places_wherever_channels_are(last):
    turn, back = ("permute", {"dims": [0, 2, 3, 1]}), ("permute", {"dims": [0, 3, 1, 2]})
    pad = ("pad", {"pad": [0, 0, 1, 0, 2, 0] if last else [1, 0, 2, 0], "mode": "constant", "value": None})
    made = program(turn, pad, back, ("relu", {})) if last else program(pad, ("relu", {}))
    images = GENERATOR.normal(size=(2, 3, 4, 4))
    expected = np.maximum(np.pad(images, ((0, 0), (0, 0), (2, 0), (1, 0))), 0)
    assert np.allclose(computed(made, images).reshape(expected.shape), expected, atol=1e-6)
    with pytest.raises(UsageError, match="takes axes that no layer here has so"):
        carry(program(("pad", {"pad": [1, 0, 1, 0, 1, 0], "mode": "constant", "value": None}), ("relu", {})))


def batch_norm(channels: int = 3) -> tuple[str, dict[str, Any]]:
    spread = Constant(GENERATOR.uniform(0.5, 2.0, channels).astype(np.float32))
    given = {"running_mean": constant(channels), "running_var": spread, "eps": 0.01, "training": False}
    return "batch_norm", {"weight": constant(channels, origin="norm.weight"), "bias": constant(channels), **given}


@pytest.mark.parametrize("before", [True, False])
def test_a_norm_is_folded_or_written_out(before):
    """Where a ReLU or an image comes before it, nothing is there to fold it into."""
    norm = batch_norm(2 if before else 3)
    made = program(convolution(), norm, MEAN) if before else program(norm, ("relu", {}), MEAN)
    images = GENERATOR.normal(size=(2, 3, 4, 4)).astype(np.float32)
    values = images.astype(np.float64)
    if before:
        kernel = made.calls[0].arguments["weight"].array.astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(values, (3, 3), axis=(2, 3))
        values = np.einsum("nchwij,ocij->nohw", windows, kernel)
    one = {name: part.array[:, None, None] for name, part in norm[1].items() if isinstance(part, Constant)}
    values = (values - one["running_mean"]) / np.sqrt(one["running_var"] + 0.01) * one["weight"] + one["bias"]
    expected = (values if before else np.maximum(values, 0)).mean(axis=(2, 3))
    assert np.allclose(computed(made, images), expected, atol=1e-5)
    kinds = {note.kind for note in carry(made).notes}
    assert kinds == ({"folded"} if before else {"written out"})


def test_a_value_that_is_taken_twice_is_not_folded_into():
    """What a BatchNorm and a shortcut both take must stay what it was."""
    conv, norm = convolution(), batch_norm(2)
    calls = (
        Call(name="conv", operator="conv2d", arguments={"input": X, **conv[1]}),
        Call(name="norm", operator="batch_norm", arguments={"input": Ref("conv"), **norm[1]}),
        Call(name="sum", operator="add", arguments={"self": Ref("norm"), "other": Ref("conv"), "alpha": 2}),
        Call(name="mean", operator="mean", arguments={"self": Ref("sum"), "dim": [2, 3], "keepdim": False}),
    )
    made = Program(calls=calls, input="x", input_shape=IMAGE, output="mean", batch=5)
    images = GENERATOR.normal(size=(2, 3, 4, 4))
    kernel = conv[1]["weight"].array.astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(2, 3))
    values = np.einsum("nchwij,ocij->nohw", windows, kernel)
    one = {name: part.array[:, None, None] for name, part in norm[1].items() if isinstance(part, Constant)}
    normal = (values - one["running_mean"]) / np.sqrt(one["running_var"] + 0.01) * one["weight"] + one["bias"]
    assert np.allclose(computed(made, images), (normal + 2 * values).mean(axis=(2, 3)), atol=1e-5)
    replaced = carry(made, norms=GroupNorm(groups=2))
    assert [note.what for note in replaced.notes if note.kind == "replaced"]


def test_views_split_and_merge_axes():
    examples, rows, heads = Factor(5, examples=True), Factor(4), Factor(6)
    value = Value(node="n", held=((rows,), (heads,)), axes=((examples,), (rows,), (heads,)))
    split = value.viewed((5, 4, 2, 3)).permuted((0, 2, 1, 3))
    assert split.shape == (5, 2, 4, 3) and [len(axis) for axis in split.held] == [1, 2]
    assert split.viewed((10, 12)).shape == (10, 12)
    with pytest.raises(CannotCarryError):
        value.viewed((5, 3, 8))
    with pytest.raises(CannotCarryError):
        value.viewed((15, 8))  # an axis would end within the axis of four
    with pytest.raises(CannotCarryError):
        Value(node="n", held=((rows,),), axes=((rows,), (examples,))).viewed((2, 10)).viewed((10, 2))


class Answers:
    """An original that gives what it is told."""

    def __init__(self, outputs: float) -> None:
        self.outputs = outputs

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return np.full((len(inputs), 2), self.outputs, np.float32)


@pytest.mark.parametrize(
    ("off", "holds"), [(0.0, True), (1e-6, True), (3e-5, False), (np.nan, False)], ids=["equal", "near", "off", "nan"]
)
def test_a_proof_holds_within_rounding_alone(off, holds):
    made = program(MEAN)
    source = Source(program=made, kind="a test", original=Answers(1.0), example=np.zeros(IMAGE, np.float32))
    answer = Answers(1.0 + off)
    if holds:
        proof = prove(carry(made), source, answer)
        assert proof.holds and proof.inputs == 5 + 1 + 7 + 33 and proof.largest_logit == 1.0
    else:
        with pytest.raises(UsageError, match="gives other outputs than its import"):
            prove(carry(made), source, answer)


def test_the_softmax_at_the_end_is_left_to_the_comparison():
    made = program(("linear", {"weight": constant(3, 6, origin="head.weight"), "bias": None}), SOFTMAX, shape=VECTOR)
    carried = carry(made)
    assert carried.ending == "softmax" and carried.architecture.nodes[-1].name == "head"
    assert np.allclose(np.exp(log_softmax(GENERATOR.normal(size=(4, 3)) * 50)).sum(axis=1), 1)


SIGMOID = ("sigmoid", {})
LINEAR = ("linear", {"weight": constant(3, 6, origin="head.weight"), "bias": None})


def probabilities(logits: np.ndarray, ending: str) -> np.ndarray:
    logits = np.clip(logits.astype(np.float64), -500, 500) if ending == "sigmoid" else logits.astype(np.float64)
    found = np.exp(log_softmax(logits)) if ending == "softmax" else 1 / (1 + np.exp(-logits))
    return found.astype(np.float32)


def test_a_sigmoid_at_the_end_is_left_out_and_one_within_is_not():
    carried = carry(program(LINEAR, SIGMOID, shape=VECTOR))
    assert carried.ending == "sigmoid" and [type(node.layer).__name__ for node in carried.architecture.nodes] == [
        "Dense"
    ]
    assert [note.what for note in carried.notes] == ["sigmoid at the end: what is imported gives logits"]
    within = carry(program(SIGMOID, LINEAR, shape=VECTOR))
    assert within.ending == "" and len(within.architecture.nodes) == 2


@pytest.mark.parametrize("ending", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    ("scale", "off", "message"),
    [(1.0, 0.0, ""), (1.0, 1e-3, "gives other outputs"), (8.0, 1e-3, "gives other outputs"), (1e4, 0.0, "of 0 and 1")],
)
def test_probabilities_are_compared_as_what_they_were_made_from(ending, scale, off, message):
    made = program(LINEAR, (ending, {"dim": -1} if ending == "softmax" else {}), shape=VECTOR)
    kernel = LINEAR[1]["weight"].array.T.astype(np.float64) * scale
    inputs = GENERATOR.normal(size=(4, 6)).astype(np.float32)
    moved = np.asarray([0.0, 0.0, 1.0]) * off

    def original(given: np.ndarray) -> np.ndarray:
        return probabilities(given @ kernel - scale * 4 * (ending == "sigmoid"), ending)

    def ours(given: np.ndarray) -> np.ndarray:
        return (given @ kernel - scale * 4 * (ending == "sigmoid") + moved).astype(np.float32)

    source = Source(program=made, kind="a test", original=original, example=inputs)
    if not message:
        assert prove(carry(made), source, ours).holds
        return
    with pytest.raises(UsageError, match=message):
        prove(carry(made), source, ours)


@pytest.mark.parametrize(("below", "by"), [(-50.0, 100.0), (-2000.0, 50.0)])
def test_a_branch_far_out_is_another_function(below, by):
    made = program(LINEAR, shape=VECTOR)
    inputs = GENERATOR.normal(size=(4, 6)).astype(np.float32)

    def ours(given: np.ndarray) -> np.ndarray:
        return given[:, :3].copy()

    def original(given: np.ndarray) -> np.ndarray:
        return np.where(ours(given) < below, ours(given) + by, ours(given))

    for theirs in (ours, original):
        source = Source(program=made, kind="a test", original=theirs, example=inputs)
        if theirs is ours:
            assert prove(carry(made), source, ours).holds
            continue
        with pytest.raises(UsageError, match="far out, where rounding explains"):
            prove(carry(made), source, ours)


@pytest.mark.parametrize("overflows", [False, True])
def test_what_rounding_does_far_out_is_no_other_function(overflows):
    made = program(LINEAR, shape=VECTOR)
    inputs = GENERATOR.normal(0, 0.2, size=(4, 6)).astype(np.float32)

    def attended(given: np.ndarray, kind: type, *, shifted: bool = True) -> np.ndarray:
        """Attention, which is sharp far out, where its scores round."""
        values = given[:, :3].astype(kind)
        scores = values[:, :, None] * values[:, None, ::-1] + values[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            weights = np.exp(scores - scores.max(-1, keepdims=True) * shifted)
            weights = weights / weights.sum(-1, keepdims=True)
        return (weights @ values[:, :, None])[..., 0].astype(np.float32)

    def original(given: np.ndarray) -> np.ndarray:
        return attended(given, np.float32, shifted=False) if overflows else attended(given, np.float64)

    assert np.isnan(original(inputs * 1e3)).any() == overflows
    source = Source(program=made, kind="a test", original=original, example=inputs)
    assert prove(carry(made), source, lambda given: attended(given, np.float32)).holds


@pytest.mark.parametrize("large", [0, 2])
def test_a_large_output_excuses_no_other(large):
    """A class that is switched off by a bias of -1e9, or that is large on wider inputs alone."""
    made = program(LINEAR, shape=VECTOR)
    inputs = GENERATOR.normal(size=(4, 6)).astype(np.float32)

    def original(given: np.ndarray) -> np.ndarray:
        found = given[:, :3].copy()
        found[:, large] = -1e9
        return found

    def ours(given: np.ndarray) -> np.ndarray:
        return original(given) + np.asarray([0, 1e-2, 0], np.float32)

    source = Source(program=made, kind="a test", original=original, example=inputs)
    assert prove(carry(made), source, original).holds
    with pytest.raises(UsageError, match="gives other outputs than its import"):
        prove(carry(made), source, ours)
