"""What engines must come to, by the slowest and plainest way: one example and one step after another, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.bench.workloads import UNITS, label
from trustml_bench.engine import Engine
from trustml_bench.engines.jax_network import apply
from trustml_bench.engines.shadow_models import make_shadows
from trustml_bench.workloads import (
    CLIPPING_NORM,
    IG_STEPS,
    LEARNING_RATE,
    NETWORKS,
    OCCLUSION_PATCH,
    Workload,
    make_batch,
    make_clients,
    make_model,
)


def parameters(given: list[tuple[Engine, Workload]]) -> list:
    """Cases for pytest; in short each library does its first work of a kind, on networks that compile fast.

    Ours are tested by their backends too.
    """
    first: dict[tuple[str, str], tuple[Engine, Workload]] = {}
    for engine, workload in given:
        if engine.role != "ours" and not _slow(workload):
            first.setdefault((engine.role, workload.kind), (engine, workload))
    return [
        pytest.param(
            (engine, workload),
            id=label((engine, workload)),
            marks=[] if (engine, workload) in first.values() else [pytest.mark.long],
        )
        for engine, workload in given
    ]


def _slow(workload: Workload) -> bool:
    return workload.network == "small_cnn" and workload.kind != "occlusion"


def check(engine: Engine, workload: Workload, found: dict[str, np.ndarray]) -> None:
    """Assert that what an engine came to is what its kind of work comes to."""
    if engine.role == "floor" and "logits" in found and workload.kind == "occlusion":
        compare(found["logits"], logits(workload))
    elif "sensitivity" in found:
        compare(found["sensitivity"], sensitivity(workload))
    elif "gradients" in found:
        compare(found["gradients"], input_gradients(workload))
    elif workload.kind in ("plain_step", "noisy_step", "private_step"):
        compare_weights(found, workload, stepped(workload))
    elif workload.kind == "round":
        after = centralised(workload) if engine.role == "floor" else averaged(workload)
        compare_weights(found, workload, after)
    elif workload.kind == "shadows":
        compare(found["logits"], shadow_logits(workload))
    else:
        check_attributions(engine, workload, found["attributions"])


def check_attributions(engine: Engine, workload: Workload, found: np.ndarray) -> None:
    """Assert that attributions follow their definition; for rules and noise of their own, roughly."""
    match workload.kind:
        case "integrated_gradients" if engine.environment == "tensorflow":
            # Points in even distances, where others have Gauss-Legendre: on a ReLU network that is O(1 / points).
            compare(found, integrated_gradients(workload), tolerance=0.1)
        case "integrated_gradients":
            compare(found, integrated_gradients(workload))
        case "smooth_grad":
            # Other random numbers: 50 samples of a standard deviation of 0.1.
            assert np.corrcoef(found.ravel(), input_gradients(workload).ravel())[0, 1] > 0.8
        case "occlusion":
            compare(found, occlusion(workload))


def compare(found: np.ndarray, wanted: np.ndarray, *, tolerance: float = 1e-4) -> None:
    """Assert closeness, by the largest value; float32 against float64."""
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def compare_weights(found: dict[str, np.ndarray], workload: Workload, wanted: dict[str, np.ndarray]) -> None:
    """Assert closeness of the changes of all weights."""
    start = make_model(workload).weights
    assert sorted(found) == sorted(start)
    flat = [np.concatenate([(part[name] - start[name]).ravel() for name in start]) for part in (found, wanted)]
    compare(*flat)


@contextmanager
def doubles() -> Iterator[None]:
    """Compute in float64."""
    with jax.enable_x64(True):
        yield


@cache
def _gradient(network: str):
    """Give a compiled function of parameters, inputs and labels to the gradient of the mean loss; numpy in and out."""

    def loss(params, inputs, labels):
        found = apply(NETWORKS[network][0], params, inputs)
        return optax.softmax_cross_entropy_with_integer_labels(found, labels).mean()

    compiled = jax.jit(jax.grad(loss))

    def gradient(params, inputs, labels):
        with doubles():
            return {name: np.asarray(part) for name, part in compiled(params, inputs.astype(float), labels).items()}

    return gradient


def _params(weights):
    return {name: array.astype(np.float64) for name, array in weights.items()}


def _stepped(params, gradient):
    return {name: params[name] - LEARNING_RATE * gradient[name] for name in params}


@cache
def stepped(workload: Workload) -> dict[str, np.ndarray]:
    """Weights after the units of a plain or private step."""
    inputs, labels = make_batch(workload)
    gradient, params = _gradient(workload.network), _params(make_model(workload).weights)
    for _ in range(UNITS[workload.kind]):
        if workload.kind != "private_step":
            params = _stepped(params, gradient(params, inputs, labels))
            continue
        total = dict.fromkeys(params, 0.0)
        for example, target in zip(inputs, labels, strict=True):
            own = gradient(params, example[None], target[None])
            norm = np.sqrt(sum((part**2).sum() for part in own.values()))
            scale = min(1.0, CLIPPING_NORM / norm) / len(labels)
            total = {name: total[name] + scale * own[name] for name in total}
        params = _stepped(params, total)
    return params


@cache
def centralised(workload: Workload) -> dict[str, np.ndarray]:
    """Weights after epochs over the batches of all clients."""
    params = _params(make_model(workload).weights)
    for _ in range(UNITS["round"]):
        for client in make_clients(workload):
            params = _trained(workload, params, client)
    return params


@cache
def averaged(workload: Workload) -> dict[str, np.ndarray]:
    """Weights after rounds of federated averaging over clients of one size."""
    params = _params(make_model(workload).weights)
    for _ in range(UNITS["round"]):
        ends = [_trained(workload, params, client) for client in make_clients(workload)]
        params = {name: np.mean([end[name] for end in ends], axis=0) for name in params}
    return params


def _trained(workload, params, batches):
    for inputs, labels in batches:
        params = _stepped(params, _gradient(workload.network)(params, inputs, labels))
    return params


@cache
def logits(workload: Workload) -> np.ndarray:
    """Logits of the batch."""
    return _logits(workload, make_batch(workload)[0])


def _logits(workload: Workload, inputs: np.ndarray) -> np.ndarray:
    with doubles():
        params = _params(make_model(workload).weights)
        return np.asarray(apply(NETWORKS[workload.network][0], params, inputs.astype(float)))


@cache
def input_gradients(workload: Workload) -> np.ndarray:
    """Gradient of each example's own logit."""
    return _gradients(workload)(make_batch(workload)[0])


def _gradients(workload: Workload):
    params, labels = make_model(workload).weights, make_batch(workload)[1]

    def chosen(params, inputs):
        found = apply(NETWORKS[workload.network][0], params, inputs)
        return jnp.take_along_axis(found, labels[:, None], axis=1).sum()

    def gradients(inputs):
        with doubles():
            return np.asarray(jitted(_params(params), inputs.astype(float)))

    jitted = jax.jit(jax.grad(chosen, argnums=1))
    return gradients


@cache
def integrated_gradients(workload: Workload) -> np.ndarray:
    """By Gauss-Legendre quadrature, one point after another."""
    inputs = make_batch(workload)[0].astype(np.float64)
    points, weights = np.polynomial.legendre.leggauss(IG_STEPS)
    gradients = _gradients(workload)
    terms = [weight / 2 * gradients((1 + point) / 2 * inputs) for point, weight in zip(points, weights, strict=True)]
    return inputs * np.sum(terms, axis=0)


@cache
def sensitivity(workload: Workload) -> np.ndarray:
    """tf-explain's occlusion, (n, rows, columns) of patches: one less the logit under a patch of 127.5."""
    inputs, labels = make_batch(workload)
    side, own = inputs.shape[1] // OCCLUSION_PATCH, np.arange(len(labels))
    found = np.zeros((len(labels), side, side))
    for row, column in np.ndindex(side, side):
        top, left = row * OCCLUSION_PATCH, column * OCCLUSION_PATCH
        covered = inputs.copy()
        covered[:, top : top + OCCLUSION_PATCH, left : left + OCCLUSION_PATCH] = 127.5
        found[:, row, column] = 1 - _logits(workload, covered)[own, labels]
    return found


@cache
def occlusion(workload: Workload) -> np.ndarray:
    """Fall of each example's own logit, patch by patch."""
    inputs, labels = make_batch(workload)
    found, own = np.zeros(inputs.shape), np.arange(len(labels))
    for top in range(0, inputs.shape[1], OCCLUSION_PATCH):
        for left in range(0, inputs.shape[2], OCCLUSION_PATCH):
            patch = np.s_[:, top : top + OCCLUSION_PATCH, left : left + OCCLUSION_PATCH]
            covered = inputs.copy()
            covered[patch] = 0
            falls = (_logits(workload, inputs) - _logits(workload, covered))[own, labels]
            found[patch] = falls[:, None, None, None]
    return found


@cache
def shadow_logits(workload: Workload) -> np.ndarray:
    """Logits of every model over the pool, after training one model after another."""
    made, found = make_shadows(workload), []
    architecture, gradient = NETWORKS[workload.network][0], _gradient(workload.network)
    for number, model in enumerate(made.models.rows):
        params = _params({name: array[number] for name, array in made.models.weights.items()})
        for row in model:
            chosen = row[row >= 0]
            params = _stepped(params, gradient(params, made.inputs[chosen], made.labels[chosen]))
        with doubles():
            found.append(np.asarray(apply(architecture, params, made.inputs.astype(float))))
    return np.stack(found)
