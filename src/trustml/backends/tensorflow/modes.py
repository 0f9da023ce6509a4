"""Which way to clip is the fastest that is right for an architecture: measured, on synthetic data and random weights.

XLA (``jit_compile=True``) is no candidate: on CPUs it made convolutions six times slower. Nor are micro-batches in a
``tf.while_loop``: those of 128 examples took 1.1 to 1.7 times as long, under either allocator, and smaller ones more.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from functools import lru_cache

import msgspec
import numpy as np
import tensorflow as tf

from trustml.backends.contract import Model
from trustml.backends.settings import EngineChoice, PrivateSettings
from trustml.backends.tensorflow.clipping import Clipper, possible_modes
from trustml.backends.tensorflow.losses import label_type
from trustml.models.layers import Architecture, Dropout
from trustml.models.tasks import Task, are_classes
from trustml.models.weights import initial_weights

_REPEATS = 5
_LARGEST_BATCH = 256
_SECONDS_ENOUGH = 2.0
_AGREEMENT = 1e-3  # of the largest entry; between ways to add the same float32 numbers


def choose_mode(model: Model, settings: PrivateSettings) -> EngineChoice:
    """Measure all ways that can do what the settings want, if there are several; once in a process."""
    modes, refused = possible_modes(model)
    if len(modes) == 1:
        return EngineChoice(name=modes[0], seconds={}, refused=refused)
    seconds, differing = _measure(
        tuple(modes),
        model.architecture,
        model.input_shape,
        model.task,
        model.frozen,
        replace(settings, noise_seed=(0, 0, 0, 0)),
    )
    return EngineChoice(name=min(seconds, key=lambda mode: seconds[mode]), seconds=seconds, refused=refused | differing)


@lru_cache(maxsize=32)
def _measure(
    modes: tuple[str, ...],
    architecture: Architecture,
    input_shape: tuple[int, ...],
    task: Task,
    frozen: frozenset[str],
    settings: PrivateSettings,
) -> tuple[dict[str, float], dict[str, str]]:
    """Median seconds of the modes that agree with the first, and by how much the others differ."""
    model = replace(_synthetic_model(architecture, input_shape, task), frozen=frozen)
    rows = _synthetic(model, settings)
    expected: list[np.ndarray] | None = None
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}
    for mode in modes:
        clipper = Clipper(mode, model, settings)
        clip = tf.function(clipper.clip, autograph=False)
        sums = [part.numpy() for part in clip(*rows, tf.constant(1.0))[0]]
        if expected is None:
            expected = sums
        elif (worst := _difference(sums, expected)) > _AGREEMENT:
            refused[mode] = f"differs from {modes[0]} by {worst:.1e} of the largest entry"
            continue
        seconds[mode] = _time(clip, rows)
    return seconds, refused


def _synthetic_model(architecture: Architecture, input_shape: tuple[int, ...], task: Task) -> Model:
    """Random weights, and no dropout: each way would draw masks of its own."""
    layers = tuple(
        msgspec.structs.replace(node, layer=Dropout(rate=0.0)) if isinstance(node.layer, Dropout) else node
        for node in architecture.nodes
    )
    weights = initial_weights(architecture, input_shape, generator=np.random.default_rng(0))
    return Model(
        architecture=msgspec.structs.replace(architecture, layers=layers),
        input_shape=input_shape,
        weights=weights,
        task=task,
    )


def _synthetic(model: Model, settings: PrivateSettings) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Inputs, labels, and a mask that leaves none out."""
    generator = np.random.default_rng(0)
    size = min(settings.micro_batch_size or settings.expected_batch_size, _LARGEST_BATCH)
    inputs = generator.normal(size=(size, settings.multiplicity, *model.input_shape))
    most = model.outputs if are_classes(model.task) else 2
    each = (settings.multiplicity,) if settings.rows_of_users else ()
    labels = tf.cast(generator.integers(most, size=(size, *each, *model.label_shape)), label_type(model.task))
    return tf.constant(inputs, tf.float32), labels, tf.ones(size)


def _difference(sums: list[np.ndarray], expected: list[np.ndarray]) -> float:
    largest = max(float(np.abs(part).max()) for part in expected)
    return max(float(np.abs(a - b).max()) for a, b in zip(sums, expected, strict=True)) / max(largest, 1e-30)


def _time(clip: tf.types.experimental.GenericFunction, rows: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> float:
    found: list[float] = []
    while len(found) < _REPEATS and sum(found) < _SECONDS_ENOUGH:
        start = time.perf_counter()
        clip(*rows, tf.constant(1.0))[1].numpy()
        found.append(time.perf_counter() - start)
    return statistics.median(found)
