"""Small models and requests for the tests of attributions."""

from __future__ import annotations

import numpy as np

from trustml.backends.contract import ExplainRequest, Model
from trustml.backends.torch.network import TorchNetwork
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, MaxPool, ReLU
from trustml.models.weights import initial_weights
from trustml.scenario import methods as m

IMAGE = (6, 8, 2)
"""Neither square nor of one channel, so that a wrong order of axes shows."""

CNN = Architecture(
    layers=(
        Conv2D(filters=4, kernel=(3, 3), padding=((1, 1), (0, 1))),
        ReLU(),
        MaxPool(size=(2, 2), stride=(2, 2)),
        Conv2D(filters=5, kernel=(2, 2)),
        ReLU(),
        Flatten(),
        Dense(units=8),
        ReLU(),
        Dense(units=3),
    )
)
LINEAR = Architecture(layers=(Flatten(), Dense(units=3)))

SQUARES = (np.arange(6)[:, None] // 2 * 4 + np.arange(8)[None] // 2)[..., None].repeat(2, axis=-1).astype(np.int64)
"""Features of an image of shape IMAGE: squares of 2 by 2 pixels, both channels together."""

METHODS: tuple[m.Method, ...] = (
    m.Saliency(),
    m.InputXGradient(),
    m.IntegratedGradients(n_steps=10),
    m.GuidedBackprop(),
    m.Deconvolution(),
    m.DeepLift(),
    m.LRP(),
    m.TransformerLRP(),
    m.DeepLiftShap(),
    m.SmoothGrad(),
    m.GradientShap(),
    m.FeatureAblation(),
    m.Occlusion(window=(2, 3), stride=(2, 2)),
    m.FeaturePermutation(),
    m.ShapleyValueSampling(n_samples=3),
    m.KernelShap(n_samples=60),
    m.Lime(n_samples=60, alpha=1e-4),
    m.GradCam(layer=3, relu=False),
    m.GuidedGradCam(layer=0),
    m.LayerActivation(layer=0),
    m.LayerGradientXActivation(layer=2),
    m.LayerIntegratedGradients(layer=0, n_steps=10),
    m.LayerConductance(layer=3, n_steps=10),
    m.LayerDeepLift(layer=2),
    m.InternalInfluence(layer=6, n_steps=10),
    m.NeuronIntegratedGradients(layer=0, neuron=(2, 5, 1), n_steps=10),
)
"""Every method once, with settings that suit CNN."""


def model_of(architecture: Architecture, shape: tuple[int, ...] = IMAGE, *, seed: int = 0) -> Model:
    """Build a model with random weights."""
    weights = initial_weights(architecture, shape, generator=np.random.default_rng(seed))
    return Model(architecture=architecture, input_shape=shape, weights=weights)


def request(
    method: m.Method,
    model: Model | None = None,
    *,
    count: int = 5,
    baseline: np.ndarray | float = 0.0,
    features: np.ndarray | None = None,
) -> ExplainRequest:
    """Ask for explanations of random examples; baselines of other values are broadcast."""
    model = model or model_of(CNN)
    generator = np.random.default_rng(1)
    shape = model.input_shape
    inputs = generator.random((count, *shape), dtype=np.float32)
    if features is None:
        features = SQUARES if hasattr(method, "patch") and shape == IMAGE else np.arange(np.prod(shape)).reshape(shape)
    classes = model.architecture.layers[-1].units
    return ExplainRequest(
        model=model,
        inputs=inputs,
        targets=generator.integers(0, classes, count),
        method=method,
        baseline=np.broadcast_to(np.asarray(baseline, np.float32), inputs.shape).copy(),
        background=generator.random((4, *shape), dtype=np.float32),
        features=features.astype(np.int64),
        layer=getattr(method, "layer", -1),
        seed=7,
    )


def target_logits(asked: ExplainRequest, inputs: np.ndarray) -> np.ndarray:
    """Logit of each example's target, float64."""
    logits = TorchNetwork(asked.model).logits(inputs).astype(np.float64)
    return logits[np.arange(len(inputs)), asked.targets]


def missing(asked: ExplainRequest, attributions: np.ndarray) -> float:
    """Part of the change of the logit that sums of attributions miss, on average."""
    change = target_logits(asked, asked.inputs) - target_logits(asked, asked.baseline)
    sums = attributions.astype(np.float64).reshape(len(change), -1).sum(axis=1)
    return float(np.abs(sums - change).mean() / np.abs(change).mean())


def gap(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over the largest expected value."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())
