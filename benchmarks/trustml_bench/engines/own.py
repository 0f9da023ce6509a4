"""trustml as its users run it, in any framework: through the backend's own classes, from numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trustml.attribution.passes import rows_of_pass
from trustml.backends.contract import Backend, ExplainRequest, Model
from trustml.backends.settings import FederatedSettings, PrivateSettings
from trustml.backends.shadows import ShadowSettings
from trustml.backends.table import load_backend
from trustml.data.dataset import Floats, LabelArray
from trustml.models.frozen_front import cut_before, weights_of
from trustml.models.layers import Architecture, Dense
from trustml.models.weights import Weights, initial_weights
from trustml.scenario.federated import FedAvg
from trustml.scenario.methods import IntegratedGradients, Method, Occlusion, SmoothGrad
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Plain
from trustml.scenario.spec import BackendName
from trustml.worker.fine_tuning import features_of
from trustml_bench.engine import Unit, Work, device
from trustml_bench.engines.shadow_models import EPOCHS, make_shadows
from trustml_bench.workloads import (
    CLIPPING_NORM,
    IG_STEPS,
    LEARNING_RATE,
    NETWORKS,
    OCCLUSION_PATCH,
    SMOOTH_GRAD_SAMPLES,
    SMOOTH_GRAD_STDEV,
    Workload,
    make_clients,
    make_model,
    make_own_batch,
)

NOISE_SEED = (1, 2, 3, 4)
PIECE = 8192
"""Examples that are clipped at once."""


def plain_step(backend: BackendName, workload: Workload) -> Work:
    """A step of the plain trainer."""
    regime = Plain(epochs=1, batch_size=workload.size, optimizer=SGD(learning_rate=LEARNING_RATE))
    trainer = _opened(backend).plain(make_model(workload), regime, 0)
    inputs, labels = make_own_batch(workload)
    return Work(unit=lambda: trainer.step(inputs, labels, learning_rate=LEARNING_RATE), outcome=trainer.weights)


def private_step(backend: BackendName, workload: Workload) -> Work:
    """A step of the private trainer: clip, in pieces where the batch is very large, add noise, step."""
    settings = PrivateSettings(
        optimizer=SGD(learning_rate=LEARNING_RATE), expected_batch_size=workload.size, noise_seed=NOISE_SEED
    )
    trainer = _opened(backend).private(make_model(workload), settings, 0)
    inputs, labels = make_own_batch(workload)
    copies = inputs[:, None]

    def step() -> None:
        for begin in range(0, workload.size, PIECE):
            part = slice(begin, begin + PIECE)
            trainer.accumulate(copies[part], labels[part], clipping_norm=CLIPPING_NORM)
        trainer.update(
            clipping_norm=CLIPPING_NORM, noise_multiplier=workload.noise_multiplier, learning_rate=LEARNING_RATE
        )

    return Work(unit=step, outcome=trainer.weights, note=trainer.choice.name)


def noise(backend: BackendName, workload: Workload) -> Work:
    """The noise of a private step: a normal number for every weight that moves."""
    _opened(backend)
    model = make_model(workload)
    draw = _noise_of(backend)({name: model.weights[name] for name in model.trained})
    return Work(unit=draw, outcome=dict)


def noisy_step(backend: BackendName, workload: Workload) -> Work:
    """A step of the plain trainer, and the noise of a private one beside it."""
    step, drawn = plain_step(backend, workload), noise(backend, workload)

    def unit() -> None:
        step()
        drawn()

    return Work(unit=unit, outcome=step.outcome)


def feature_epoch(backend: BackendName, workload: Workload) -> Work:
    """A private epoch of the last layer on features that what lies before it gave once.

    Raises
    ------
    NotImplementedError
        If trustml does not cut the network before that layer.
    """
    whole = make_model(workload)
    cut = cut_before(whole.architecture, whole.input_shape, whole.trained)
    if cut is None:
        raise NotImplementedError(f"nothing of {workload.network} is frozen in front")
    before, after = weights_of(cut, whole.input_shape)
    front = Model(
        architecture=cut.front, input_shape=whole.input_shape, weights={name: whole.weights[name] for name in before}
    )
    back = Model(architecture=cut.back, input_shape=cut.features, weights={name: whole.weights[name] for name in after})
    inputs, labels = make_own_batch(workload)
    features = features_of(_opened(backend).network(front), inputs, width=front.outputs)
    return _private_epoch(backend, back, features, labels, workload)


def head_epoch(backend: BackendName, workload: Workload) -> Work:
    """A private epoch of one dense layer on vectors as long as the last layer's of the network."""
    whole = make_model(workload)
    (kernel,) = (whole.weights[name] for name in whole.trained if name.endswith("kernel"))
    width, classes = kernel.shape
    architecture = Architecture(layers=(Dense(units=classes),))
    generator = np.random.default_rng(0)
    weights = initial_weights(architecture, (width,), generator=generator)
    model = Model(architecture=architecture, input_shape=(width,), weights=weights)
    inputs = generator.random((workload.size, width), np.float32)
    return _private_epoch(backend, model, inputs, generator.integers(0, classes, workload.size), workload)


def _private_epoch(backend: BackendName, model: Model, inputs: Floats, labels: LabelArray, workload: Workload) -> Work:
    size = workload.batch_size
    settings = PrivateSettings(
        optimizer=SGD(learning_rate=LEARNING_RATE), expected_batch_size=size, noise_seed=NOISE_SEED
    )
    trainer = _opened(backend).private(model, settings, 0)
    copies = inputs[:, None]

    def epoch() -> None:
        for begin in range(0, workload.size, size):
            part = slice(begin, begin + size)
            trainer.accumulate(copies[part], labels[part], clipping_norm=CLIPPING_NORM)
            trainer.update(
                clipping_norm=CLIPPING_NORM, noise_multiplier=workload.noise_multiplier, learning_rate=LEARNING_RATE
            )

    return Work(unit=epoch, outcome=trainer.weights, note=trainer.choice.name)


def explanation(backend: BackendName, workload: Workload) -> Work:
    """Attributions of the labels' logits from a baseline of zeros; *completed* where the backend tells it apart."""
    explain = _opened(backend).explain
    inputs, labels = make_own_batch(workload)
    shape, model = inputs.shape[1:], make_model(workload)
    request = ExplainRequest(
        model=model,
        inputs=inputs,
        targets=labels,
        method=_method(workload),
        baseline=np.zeros_like(inputs),
        background=np.zeros((0, *shape), np.float32),
        features=np.arange(np.prod(shape)).reshape(shape),
        layer=-1,
        seed=0,
        rows=rows_of_pass(model.architecture, model.input_shape),
    )
    found: dict[str, np.ndarray] = {}

    def explained() -> None:
        found.update(explain(request))

    return Work(unit=explained, outcome=lambda: {"attributions": found.get("completed", found["native"])})


def federated_round(backend: BackendName, workload: Workload) -> Work:
    """A round of federated averaging with every client."""
    settings = FederatedSettings(
        regime=FedAvg(client_optimizer=SGD(learning_rate=LEARNING_RATE)),
        noise_seed=NOISE_SEED,
        batch_size=workload.batch_size,
    )
    federation = _opened(backend).federated(make_model(workload), settings)
    clients = make_clients(workload)
    return Work(unit=lambda: federation.round(clients), outcome=federation.weights)


def shadows(backend: BackendName, workload: Workload) -> Work:
    """All shadow models from their starts to their logits over the pool."""
    made, train = make_shadows(workload), _opened(backend).shadows
    if train is None:
        raise NotImplementedError(f"trustml trains no shadow models in {backend}")
    settings = ShadowSettings(
        architecture=NETWORKS[workload.network][0],
        inputs=made.inputs,
        regime=Plain(epochs=EPOCHS, batch_size=workload.batch_size, optimizer=SGD(learning_rate=LEARNING_RATE)),
        rates=np.full(made.models.rows.shape[1], LEARNING_RATE, np.float32),
    )
    trainer = train(settings)
    found: list[np.ndarray] = []

    def unit() -> None:
        found[:] = [trainer.train(made.models, done=lambda count: None)]

    return Work(unit=unit, outcome=lambda: {"logits": found[0]})


def _opened(backend: BackendName) -> Backend:
    loaded = load_backend(backend)
    loaded.open_device(device(), 0)
    return loaded


def _noise_of(backend: BackendName) -> Callable[[Weights], Unit]:
    """What draws as many numbers as there are weights, as a framework's private trainer does."""
    match backend:
        case "torch":
            from trustml_bench.engines.torch_plain import own_noise as in_torch

            return in_torch
        case "jax":
            from trustml_bench.engines.jax_plain import own_noise as in_jax

            return in_jax
    raise NotImplementedError(f"noise alone is not timed in {backend}")


def _method(workload: Workload) -> Method:
    match workload.kind:
        case "integrated_gradients":
            return IntegratedGradients(n_steps=IG_STEPS)
        case "smooth_grad":
            return SmoothGrad(n_samples=SMOOTH_GRAD_SAMPLES, stdev=SMOOTH_GRAD_STDEV)
        case "occlusion":
            window = (OCCLUSION_PATCH, OCCLUSION_PATCH)
            return Occlusion(window=window, stride=window)
        case kind:
            raise NotImplementedError(f"{kind} is no explanation")
