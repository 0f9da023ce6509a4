"""Masks of padding are carried where they mask keys, and are refused by name where they do something else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.importing.test_carrying import computed, constant
from trustml.errors import UsageError
from trustml.importing.carrying import carry
from trustml.importing.program import Call, Constant, Program, Ref
from trustml.importing.proof import random_inputs
from trustml.models.token_layers import Mask

TABLE, HEAD = constant(9, 4, origin="tokens.weight"), constant(4, 4, origin="head.weight")
NEVER = -1e9


def attention(*masks: tuple[int, tuple[tuple[str, dict[str, Any]], ...]]) -> Program:
    """Attention of ids to themselves, with masks of ids, each seen in another way first."""
    calls = [Call(name="h", operator="embedding", arguments={"weight": TABLE, "indices": Ref("x")})]

    def call(name: str, operator: str, **arguments: Any) -> Ref:
        calls.append(Call(name=name, operator=operator, arguments=arguments))
        return Ref(name)

    turned = call("turned", "transpose", self=Ref("h"), dim0=1, dim1=2)
    scores = call("scores", "matmul", self=Ref("h"), other=turned)
    for number, (padding, ways) in enumerate(masks):
        mask = call(f"mask{number}", "eq", self=Ref("x"), other=padding)
        for step, (operator, given) in enumerate(ways):
            mask = call(f"mask{number}.{step}", operator, self=mask, **given)
        scores = call(f"scores{number}", "masked_fill", self=scores, mask=mask, value=NEVER)
    shares = call("shares", "softmax", self=scores, dim=-1)
    mixed = call("mixed", "matmul", self=shares, other=Ref("h"))
    call("out", "linear", input=mixed, weight=HEAD, bias=None)
    return Program(calls=tuple(calls), input="x", input_shape=(5, 6), output="out", batch=5)


KEYS = (("unsqueeze", {"dim": 1}),)
IDS = np.asarray([[1, 2, 0, 3, 0, 0], [4, 5, 6, 7, 8, 1]])


def by_formula(allowed: np.ndarray) -> np.ndarray:
    values = TABLE.array[IDS].astype(np.float64)
    scores = np.where(allowed, values @ values.transpose(0, 2, 1), NEVER)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True) @ values @ HEAD.array.T


@pytest.mark.parametrize(
    "ways",
    [
        KEYS,
        (("view", {"size": [5, 1, 6]}), ("expand", {"size": [-1, 6, -1]})),
        (("slice", {"dim": 1, "start": 0, "end": None, "step": 1}), *KEYS),
        (("unsqueeze", {"dim": 2}), ("permute", {"dims": [0, 2, 1]})),
    ],
)
def test_a_mask_of_keys_is_carried_however_it_is_seen(ways):
    assert np.allclose(computed(attention((0, ways)), IDS), by_formula((IDS != 0)[:, None, :]), atol=1e-5)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([(0, (("unsqueeze", {"dim": 2}),))], r"a mask of shape \(5, 6, 1\) is not one of the keys"),
        ([(0, (*KEYS, ("permute", {"dims": [0, 2, 1]})))], "is not one of the keys"),
        ([(0, (*KEYS, ("permute", {"dims": [1, 0, 2]})))], "is not one of the keys"),
        ([(0, ())], r"a mask of shape \(5, 6\) is not one of the keys"),
        ([(0, (("slice", {"dim": 1, "start": 1, "end": None, "step": 1}), *KEYS))], "a part of a mask"),
        ([(0, KEYS), (1, KEYS)], "two masks, of different ids of padding"),
    ],
    ids=["queries", "keys turned to queries", "examples later", "no axis of queries", "a slice", "two ids"],
)
def test_a_mask_of_something_else_is_refused(masks, message):
    with pytest.raises(UsageError, match=message):
        carry(attention(*masks))


@pytest.mark.parametrize("other", ["mask", "h"])
def test_products_of_masks_are_refused(other):
    made = attention((0, KEYS))
    product = Call(
        name="p", operator="mul", arguments={"self": Ref("mask0.0"), "other": Ref(other.replace("mask", "mask0"))}
    )
    with pytest.raises(UsageError, match="a product of a mask with another value"):
        carry(Program(calls=(*made.calls, product), input="x", input_shape=(5, 6), output="p", batch=5))


def test_the_same_mask_twice_is_one():
    carried = carry(attention((0, KEYS), (0, KEYS)))
    assert [node.layer for node in carried.architecture.nodes if isinstance(node.layer, Mask)] == [Mask(padding=0)]


def test_random_ids_hold_the_id_of_padding():
    big = Constant(np.zeros((30_000, 4), np.float32), "tokens.weight")
    made = attention((7, KEYS))
    calls = (Call(name="h", operator="embedding", arguments={"weight": big, "indices": Ref("x")}), *made.calls[1:])
    carried = carry(Program(calls=calls, input="x", input_shape=(5, 6), output="out", batch=5))
    for ids in random_inputs(carried, np.zeros((2, 6), np.int64)):
        if len(ids) > 1:
            assert (ids == 7).any() and (ids != 7).any(axis=1).all(), "masked, but not all of a text"
            assert (ids[:, 0] == 7).any() and (ids[:, -1] == 7).any(), "padded in front, and behind"
