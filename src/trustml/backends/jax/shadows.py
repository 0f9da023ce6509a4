"""Many models of one regime in one compiled program: ``vmap`` over the models, a scan over the steps of each.

A step takes the batches of all its models from the pool by their positions, so that data is on the device once.
On a processor a call holds as many models as stay in its cache, and every core has calls of its own; on an accelerator
one call holds all models that fit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from trustml.backends.jax.losses import example_losses
from trustml.backends.jax.network import Params, apply
from trustml.backends.jax.noise import noise_words, threefry_key
from trustml.backends.jax.shadow_federated import Rounds, train_federated
from trustml.backends.jax.shadow_training import Chosen, Start, empty_memory, train_plain, train_private, working_set
from trustml.backends.jax.tiling import device_labels, models_at_once
from trustml.backends.shadows import ShadowModels, ShadowSettings
from trustml.data.dataset import Floats
from trustml.models.shapes import layer_shapes
from trustml.models.tasks import NextToken
from trustml.scenario.federated import DPFedAvg, FedAvg, FederatedSpec, IndependentNoise
from trustml.scenario.regimes import DPSGD, Plain

_AT_ONCE = 512
"""Examples of the pool whose logits are computed at once, unless all of them are few values in the widest layer."""
_FEW = 2**24
_PROCESSOR: dict[str, str | bool] = {"xla_backend_optimization_level": "1"}
"""LLVM's later passes took up to a fifth of the compilation, and what they made ran no faster."""
_STEPS_FIRST = ("rows", "labels", "visits", "clients")
"""Arguments with the models in second place, as scans want them."""


class JaxShadows:
    """See :class:`trustml.backends.shadows.ShadowTrainer`.

    Parameters
    ----------
    settings : ShadowSettings
    at_once : int, optional
        Models of one call; left out, as many as is good for the machine.

    Raises
    ------
    NotImplementedError
        If the regime has an option that shadow models cannot follow; the message names it.
    """

    def __init__(self, settings: ShadowSettings, *, at_once: int = 0) -> None:
        refuse(settings)
        self._settings = settings
        on_processor = jax.default_backend() == "cpu"
        self._cores = (settings.threads or len(os.sched_getaffinity(0))) if on_processor else 1
        self._asked, self.at_once = at_once, at_once
        self._compiled: Any = None
        self._shared: tuple[Any, ...] = ()

    def compile(self, models: ShadowModels) -> None:
        """Compile for models of these shapes, as many in a call as is good for the machine."""
        self.at_once = self._asked or self._good_size(models)
        self._shared = self._shared_arguments(models)
        first = self._part(models, 0)
        axes = {name: int(name in _STEPS_FIRST) for name in first}
        program = jax.jit(jax.vmap(self._one, in_axes=(axes, None)))
        options = _PROCESSOR if jax.default_backend() == "cpu" else None
        self._compiled = program.lower(first, self._shared).compile(compiler_options=options)

    def train(self, models: ShadowModels, *, done: Callable[[int], None]) -> Floats:
        """Train them all, call by call."""
        if self._compiled is None:
            self.compile(models)
        starts = range(0, len(models), self.at_once)
        found: list[Floats] = []
        with ThreadPoolExecutor(min(self._cores, len(starts))) as threads:
            for start, logits in zip(starts, threads.map(lambda s: self._call(models, s), starts), strict=True):
                found.append(logits)
                done(min(start + self.at_once, len(models)))
        return np.concatenate(found)[: len(models)]

    def _call(self, models: ShadowModels, start: int) -> Floats:
        return np.asarray(self._compiled(self._part(models, start), self._shared))[:, : len(self._settings.inputs)]

    def _one(self, own: dict[str, Any], shared: tuple[Array, ...]) -> Array:
        """Train one model and give its logits (p, c)."""
        settings, (inputs, timing, *truth) = self._settings, shared
        dropout, noise = (threefry_key(own[name]) for name in ("dropout", "noise"))
        start = Start(own["weights"], own["memory"], dropout, noise)
        chosen = Chosen(own["rows"], own["labels"])
        match settings.regime:
            case Plain():
                params = train_plain(settings, start, chosen, inputs, timing)
            case DPSGD():
                params = train_private(settings, start, chosen, inputs, timing)
            case _:
                rounds = Rounds(chosen, own["visits"], own["clients"])
                params = train_federated(settings, start, rounds, inputs, timing)
        if isinstance(settings.task, NextToken):
            return self._log_probabilities(params, inputs, *truth)
        if self._few():
            return apply(settings.architecture, params, inputs)
        tiles = inputs.reshape(-1, _AT_ONCE, *inputs.shape[1:])
        logits = lax.map(lambda tile: apply(settings.architecture, params, tile), tiles)
        return logits.reshape(len(inputs), -1)

    def _log_probabilities(self, params: Params, inputs: Array, labels: Array) -> Array:
        """Give the mean log-probability of the tokens that follow in each text, (p,)."""
        settings = self._settings

        def of_texts(tile: tuple[Array, Array]) -> Array:
            return -example_losses(settings.task, apply(settings.architecture, params, tile[0]), tile[1])

        tiles = [part.reshape(-1, self._rows(), *part.shape[1:]) for part in (inputs, labels)]
        return lax.map(of_texts, (tiles[0], tiles[1])).reshape(-1)

    def _part(self, models: ShadowModels, start: int) -> dict[str, Any]:
        """Arguments of one call; the last one is filled up with its last model."""
        chosen = np.minimum(np.arange(start, start + self.at_once), len(models) - 1)
        seeds, rows = models.dropout_seeds[chosen], models.rows[chosen]
        model = chosen.reshape(-1, *[1] * (rows.ndim - 1))
        labels = device_labels(models.labels[model, np.maximum(rows, 0)])
        weights = {name: array[chosen] for name, array in models.weights.items()}
        found: dict[str, Any] = {
            "weights": weights,
            "memory": empty_memory(self._settings, weights),
            "rows": np.where(rows >= 0, rows, len(self._shared[0]) - 1).astype(np.int32),
            "labels": labels,
            "dropout": np.stack([np.zeros_like(seeds), seeds], axis=1).astype(np.uint32),
            "noise": np.stack([noise_words(tuple(words)) for words in models.noise_seeds[chosen].tolist()]),
        }
        if models.visits is not None:
            found |= {"visits": models.visits.weights[chosen], "clients": models.visits.clients[chosen]}
        return {name: np.swapaxes(part, 0, 1) if name in _STEPS_FIRST else part for name, part in found.items()}

    def _shared_arguments(self, models: ShadowModels) -> tuple[Any, ...]:
        """Give the pool with its filling, whole blocks of it, and the rates of steps or the lengths of rounds."""
        inputs = self._settings.inputs
        rows = self._rows()
        room = rows - len(inputs) % rows
        pool = filled(inputs, len(inputs) + room)
        timing: npt.NDArray[Any] = self._settings.rates.astype(np.float32)
        if models.visits is not None:
            used = (models.rows >= 0).any(axis=3)
            last = np.where(used, np.arange(1, used.shape[2] + 1), 0)
            timing = last.max(axis=(0, 2)).astype(np.int32)
        shared: tuple[npt.NDArray[Any], ...] = (pool, timing)
        if isinstance(self._settings.task, NextToken):
            assert self._settings.labels is not None
            shared += (device_labels(filled(self._settings.labels, len(pool))),)
        return jax.device_put(shared)

    def _few(self) -> bool:
        """Tell whether the whole pool may go through the networks of a call at once."""
        return self.at_once * (len(self._settings.inputs) + 1) * self._widest() <= _FEW

    def _rows(self) -> int:
        """Give the examples of the pool that go through a network at once; the pool is filled up to whole blocks."""
        if isinstance(self._settings.task, NextToken):  # logits of all tokens at all steps
            return min(_AT_ONCE, max(1, _FEW // (self.at_once * self._widest())))
        return 1 if self._few() else _AT_ONCE

    def _widest(self) -> int:
        settings = self._settings
        return max(math.prod(shape) for shape in layer_shapes(settings.architecture, settings.inputs.shape[1:]))

    def _good_size(self, models: ShadowModels) -> int:
        settings = self._settings
        each = working_set(
            settings,
            weights=sum(array[0].size for array in models.weights.values()),
            layers=layer_shapes(settings.architecture, settings.inputs.shape[1:]),
            batch=models.rows.shape[-1],
        )
        return models_at_once(len(models), working_set=each, cores=self._cores)


def filled(rows: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Rows with zeros behind them, so many in all."""
    return np.concatenate([rows, np.zeros((count - len(rows), *rows.shape[1:]), rows.dtype)])


def refuse(settings: ShadowSettings) -> None:
    """Raise NotImplementedError if shadow models cannot follow the regime."""
    regime = settings.regime
    reason = ""
    match regime:
        case Plain(stop_at=other) if other:
            reason = f"stop_at={other!r}: who stops when another model is overtaken has no schedule of its own"
        case Plain(ablation=ablation) if ablation is not None:
            reason = f"ablation of {ablation.of!r}: only whole regimes are followed"
        case DPSGD(engine=engine) if engine != "core":
            reason = f"engine={engine!r}: a library's own loop trains one model"
        case Plain(augmentation=augmentation) | DPSGD(augmentation=augmentation) if augmentation is not None:
            reason = "augmentation: the core draws copies of examples one step at a time"
        case DPSGD(ema_decay=decay) if decay is not None:
            reason = f"ema_decay={decay:g}: only the last weights are kept"
        case FedAvg(aggregation=aggregation) if aggregation != "mean":
            reason = f"aggregation={aggregation!r} belongs to TensorFlow Federated"
        case DPFedAvg(mechanism=mechanism) if not isinstance(mechanism, IndependentNoise):
            reason = f"mechanism {type(mechanism).__name__}: only independent noise is added"
    if reason:
        raise NotImplementedError(f"{regime.title}: shadow models do not follow {reason}")
    if settings.mechanism is None and (isinstance(regime, DPSGD | DPFedAvg)):
        raise NotImplementedError(f"{regime.title}: its mechanism is missing")
    if isinstance(regime, FederatedSpec) and regime.rounds < 1:
        raise NotImplementedError(f"{regime.title}: rounds={regime.rounds} trains nothing")
