"""Functions of JAX are carried over and compute the same, or are refused by name."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import trustml
from trustml.backends.contract import Model
from trustml.backends.numpy.network import logits as by_hand
from trustml.errors import UsageError

pytestmark = pytest.mark.jax
GENERATOR = np.random.default_rng(0)
SAME = "SAME"


def drawn(**shapes: tuple[int, ...]) -> dict[str, jax.Array]:
    generator = np.random.default_rng(1)
    return {name: jnp.asarray(generator.normal(0, 0.4, shape), jnp.float32) for name, shape in shapes.items()}


def convolved(images, kernel, **settings):
    settings = {"window_strides": (1, 1), "padding": SAME} | settings
    return lax.conv_general_dilated(images, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **settings)


def pooled(images, start, join, size):
    return lax.reduce_window(images, start, join, (1, *size, 1), (1, *size, 1), "VALID")


def residual(params, images):
    """Convolutions with strides, groups and a bias, a shortcut, pooling of two kinds and a mean."""
    values = convolved(images, params["first"], window_strides=(2, 2)) + params["bias"]
    values = pooled(jax.nn.relu(values), -jnp.inf, lax.max, (2, 2))
    inner = convolved(values, params["groups"], feature_group_count=2)
    values = pooled(jnp.pad(values + jax.nn.silu(inner), ((0, 0), (0, 1), (0, 0), (0, 0))), 0.0, lax.add, (1, 2)) / 2
    wide = convolved(values, params["wide"], lhs_dilation=(2, 2), padding=((1, 2), (1, 2)))
    return wide.mean((1, 2)) @ params["head"] + params["end"]


def functions(params, rows):
    """All functions that JAX writes out, a head on features of them, probabilities at the end."""
    values = rows @ params["in"] + params["bias"]
    parts = [
        jax.nn.gelu(values), jax.nn.gelu(values, approximate=False), jax.nn.softplus(values), jax.nn.leaky_relu(values),
        jax.nn.relu6(values), jnp.clip(values, -0.5, 0.5), jax.nn.hard_swish(values), jnp.where(values > 0, values, 0),
        jnp.tanh(values) * 2 - 1, 1 - values**3, jnp.abs(values), values / params["scale"],
    ]  # fmt: skip
    return jax.nn.softmax(jnp.concatenate(parts, axis=-1) @ params["out"])


def text(params, ids):
    """Tokens with positions, attention of two heads from products alone, and the table again for the logits."""
    values = params["table"][ids] + params["positions"]
    heads = [jnp.einsum("nsc,chd->nshd", values, params[name]) for name in ("q", "k", "v")]
    turned = [one.transpose(0, 2, 1, 3) for one in heads]
    scores = jnp.matmul(turned[0], turned[1].swapaxes(-1, -2)) / 2.0
    steps = ids.shape[1]
    scores = jnp.where(jnp.tril(jnp.ones((steps, steps), bool)), scores, -1e9)
    found = jnp.einsum("nhst,nhtd->nshd", jax.nn.softmax(scores, axis=-1), turned[2])
    return jnp.einsum("nshd,hdc->nsc", found, params["out"]) @ params["table"].T


def moved_below(values, by):
    return jnp.where(values < -50, values + by, values)


def times_and_more(first, second):
    return first * second + 0.0


IMAGES = GENERATOR.normal(size=(2, 8, 8, 3)).astype(np.float32)
ROWS = GENERATOR.normal(size=(3, 4)).astype(np.float32)
IDS = GENERATOR.integers(0, 11, (2, 6))
CASES = {
    residual: (
        drawn(first=(3, 3, 3, 4), bias=(4,), groups=(3, 3, 2, 4), wide=(3, 3, 4, 3), head=(3, 5), end=(5,)),
        IMAGES,
    ),
    functions: (drawn(**{"in": (4, 3)}, bias=(3,), scale=(3,), out=(36, 5)), ROWS),
    text: (
        drawn(table=(11, 8), positions=(6, 8), q=(8, 2, 4), k=(8, 2, 4), v=(8, 2, 4), out=(2, 4, 8)),
        IDS,
    ),
}


@pytest.mark.parametrize(
    "function",
    [pytest.param(one, id=one.__name__, marks=[] if one is text else pytest.mark.long) for one in CASES],
)
def test_functions_are_carried_and_compute_the_same(function):
    params, example = CASES[function]
    found = trustml.import_model(trustml.JaxModel(function, params), example=example)
    report = found.report
    assert report.proof is not None and report.proof.holds and report.kind == "JAX function"
    expected = np.asarray(function(params, example))
    if function is functions:  # its logits are asked for
        logits = found.logits(example)
        np.testing.assert_allclose(jax.nn.softmax(logits), expected, atol=1e-6)
        expected = logits
    np.testing.assert_allclose(found.logits(example.astype(np.float32)), expected, atol=1e-5)
    model = Model(architecture=found.architecture, input_shape=found.input_shape, weights=found.weights)
    np.testing.assert_allclose(by_hand(model, example.astype(np.float32)), expected, atol=1e-5)


@pytest.mark.long
def test_nodes_have_the_names_of_weights_and_keep_their_biases():
    found = trustml.import_model(trustml.JaxModel(residual, CASES[residual][0]), example=IMAGES)
    names = [node.name for node in found.architecture.nodes]
    np.testing.assert_array_equal(found.weights["first.bias"], CASES[residual][0]["bias"])
    assert {"first", "groups", "wide", "head"} <= set(names) and not [
        one for one in found.report.notes if one.kind == "copied"
    ]


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (lambda params, x: x / jnp.sqrt(1 + jnp.square(x)), r"'sqrt_\d+' \(sqrt\) cannot be carried"),
        (lambda params, x: (x - x.mean(0)) @ params["in"], "mixes the examples of a batch"),
        (lambda params, x: x @ params["in"] if x.sum() > 0 else x, "cannot be traced"),
        (lambda params, x: (x, x), "it returns 2 outputs"),
        (lambda params, x: params["in"], "follows from none"),
        (lambda params, x: lax.scan(lambda c, _: (c * 2, c), x, None, length=3)[0], r"\(scan\) cannot be carried"),
        (lambda params, x: (x @ params["in"]).astype(jnp.int32).astype(jnp.float32), "casts to a type"),
        # what no random input need reach
        (lambda params, x: moved_below(x @ params["in"], 100.0), r"\(lt\) cannot be carried"),
        (lambda params, x: moved_below(x, 100.0) @ params["in"], r"\(lt\) cannot be carried"),
        (lambda params, x: moved_below(x, 5 * jnp.tanh(x)) @ params["in"], r"\(lt\) cannot be carried"),
        (lambda params, x: jnp.where(jnp.isnan(x), 7.0, x) @ params["in"], r"\(ne of a value and itself\) cannot be"),
        (lambda params, x: jnp.where(jnp.isinf(x), 7.0, x) @ params["in"], r"\(eq of values\) cannot be carried"),
        (lambda params, x: jnp.nan_to_num(x) @ params["in"], r"\(ne of a value and itself\) cannot be"),
        (lambda params, x: jnp.minimum(x, -jnp.inf) @ params["in"], r"\(minimum\) cannot be carried"),
        # jaxprs within primitives that are no calls, and what has no array
        (lambda params, x: lax.reduce_window(x, 1.0, times_and_more, (1, 1), (1, 1), SAME), r"\(reduce_window\)"),
        (lambda params, x: x @ params["in"] + jax.random.normal(jax.random.key(0), (3,)), "'random_seed' cannot be"),
        (lambda params, x: x @ params["in"] / 0.0, r"\(div\) cannot be carried"),
        (lambda params, x: lax.div(x.astype(jnp.int32), 3) * 1.0, "a division of whole numbers"),
        (lambda params, x: x.reshape(5, 4) @ params["in"], "cannot be traced .*asked for 3 examples"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_is_refused_by_name(function, line):
    with pytest.raises(UsageError, match=line) as caught:
        trustml.import_model(trustml.JaxModel(function, CASES[functions][0]), example=ROWS)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("index", "line"),
    [
        (lambda ids: jnp.where(ids < 5, ids + 11, ids), r"\(lt\)"),  # not the ids below 0
        (lambda ids: jnp.where(ids < 0, ids + 5, ids), r"\(lt\)"),  # not from the end of the table
        (lambda ids: jnp.where(ids < 0, ids + ids, ids), r"\(lt\)"),
    ],
)
def test_ids_are_counted_from_the_end_only_as_indexing_does(index, line):
    params = CASES[text][0]

    def function(params, ids):
        return params["table"].at[index(ids)].get(mode="promise_in_bounds").mean(1)

    with pytest.raises(UsageError, match=line):
        trustml.import_model(trustml.JaxModel(function, params), example=IDS)


def test_ids_below_zero_that_are_no_indices_are_refused():
    def function(params, ids):
        return jnp.where(ids < 0, ids + 11, ids).astype(jnp.float32) @ params["positions"]

    with pytest.raises(UsageError, match=r"\(lt\) cannot be carried"):
        trustml.import_model(trustml.JaxModel(function, CASES[text][0]), example=IDS)


def test_a_number_is_taken_off_scores_before_a_softmax():
    def function(params, rows):
        raised = jnp.exp(rows @ params["in"] - 5.0)
        return raised / raised.sum(-1, keepdims=True)

    params = CASES[functions][0]
    found = trustml.import_model(trustml.JaxModel(function, params), example=ROWS)
    np.testing.assert_allclose(jax.nn.softmax(found.logits(ROWS)), function(params, ROWS), atol=1e-6)


def test_sums_of_one_axis_beside_another_are_no_softmax():
    def function(params, rows):
        raised = jnp.exp((rows @ params["q"].reshape(8, 8)).reshape(-1, 2, 2, 2))
        return (raised / raised.sum(2)[:, :, :, None]).reshape(-1, 8)

    example = GENERATOR.normal(size=(2, 8)).astype(np.float32)
    with pytest.raises(UsageError, match=r"\(exp\) cannot be carried"):
        trustml.import_model(trustml.JaxModel(function, CASES[text][0]), example=example)


@pytest.mark.parametrize(
    ("leaf", "line"),
    [("a name", "params['more'][0] is a str; give arrays"), (jax.nn.relu, "params['more'][0] is a ")],
)
def test_parameters_that_are_no_arrays_are_named(leaf, line):
    model = trustml.JaxModel(lambda params, x: x @ params["in"], CASES[functions][0] | {"more": [leaf]})
    with pytest.raises(UsageError, match=re.escape(line)):
        trustml.import_model(model, example=ROWS)


def test_an_example_of_texts_is_refused():
    model = trustml.JaxModel(lambda params, x: x @ params["in"], CASES[functions][0])
    with pytest.raises(UsageError, match="example: holds <U1; give inputs"):
        trustml.import_model(model, example=np.array([["a", "b"]]))


def test_what_is_no_model_is_told_what_is():
    with pytest.raises(UsageError, match=re.escape("a list is not traced and is no path; give one of torch.nn.Module")):
        trustml.import_model([1], example=ROWS)
