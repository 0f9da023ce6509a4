"""Models, inputs and requests for tests of JAX's attributions, and Captum's answers on the same weights."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from captum import attr
from sklearn.datasets import load_digits

from trustml.backends.contract import ExplainRequest, Model
from trustml.backends.torch.network import build_module, from_input, to_input, to_labels
from trustml.models.layers import Architecture
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp, mnist_cnn, small_cnn
from trustml.scenario import methods as m

N = 6


def model_of(architecture: Architecture, shape: tuple[int, ...], *, scale: float = 1.5) -> Model:
    """Random weights with biases, a little larger than at the start so that logits differ."""
    weights = initial_weights(architecture, shape, generator=np.random.default_rng(3))
    return Model(
        architecture=architecture,
        input_shape=shape,
        weights={name: (scale * array).astype(np.float32) for name, array in weights.items()},
    )


def cases() -> dict[str, tuple[Model, np.ndarray]]:
    """Networks and inputs: real digits as images and vectors, and noise of MNIST's size."""
    digits = (load_digits().images[:N] / 16).astype(np.float32)
    noise = np.random.default_rng(0).random((N, 28, 28, 1)).astype(np.float32)
    return {
        "small_cnn": (model_of(small_cnn(), (8, 8, 1)), digits[..., None]),
        "mlp": (model_of(mlp([32, 16], classes=10), (64,)), digits.reshape(N, 64)),
        "mnist_cnn": (model_of(mnist_cnn(), (28, 28, 1)), noise),
    }


def request(
    model: Model,
    inputs: np.ndarray,
    method: m.Method,
    *,
    baseline: float = 0.1,
    features: np.ndarray | None = None,
    layer: int = -1,
    seed: int = 0,
    background: np.ndarray | None = None,
) -> ExplainRequest:
    """A request with what the core would decide."""
    shape = inputs.shape[1:]
    every = np.arange(int(np.prod(shape))).reshape(shape)
    return ExplainRequest(
        model=model,
        inputs=inputs,
        targets=np.arange(len(inputs)) % model.architecture.layers[-1].units,
        method=method,
        baseline=np.full_like(inputs, baseline),
        background=background if background is not None else np.zeros((0, *shape), np.float32),
        features=every if features is None else features,
        layer=layer,
        seed=seed,
    )


def captum(asked: ExplainRequest) -> np.ndarray:
    """Captum's own answer to a deterministic method, channels last."""
    module = build_module(asked.model).eval()
    inputs, baseline = to_input(asked.inputs), to_input(asked.baseline)
    target = to_labels(asked.targets)
    layer = module[asked.layer] if asked.layer >= 0 else None
    method = asked.method
    path = {"baselines": baseline, "target": target, "n_steps": getattr(method, "n_steps", 50)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum's remarks on hooks and gradients
        match method:
            case m.Saliency():
                found = attr.Saliency(module).attribute(inputs, target=target, abs=method.absolute)
            case m.InputXGradient():
                found = attr.InputXGradient(module).attribute(inputs, target=target)
            case m.IntegratedGradients():
                found = attr.IntegratedGradients(module).attribute(inputs, **path)
            case m.GuidedBackprop():
                found = attr.GuidedBackprop(module).attribute(inputs, target=target)
            case m.Deconvolution():
                found = attr.Deconvolution(module).attribute(inputs, target=target)
            case m.DeepLift():
                found = attr.DeepLift(module).attribute(inputs, baselines=baseline, target=target)
            case m.DeepLiftShap():
                found = attr.DeepLiftShap(module).attribute(inputs, baselines=to_input(asked.background), target=target)
            case m.FeatureAblation():
                mask = to_input(asked.features[None].astype(np.float32)).long()
                found = attr.FeatureAblation(module).attribute(
                    inputs, baselines=baseline, target=target, feature_mask=mask
                )
            case m.Occlusion():
                found = attr.Occlusion(module).attribute(
                    inputs,
                    baselines=baseline,
                    target=target,
                    sliding_window_shapes=(inputs.shape[1], *method.window),
                    strides=(inputs.shape[1], *method.stride),
                )
            case m.GradCam():
                found = attr.LayerGradCam(module, layer).attribute(inputs, target=target, relu_attributions=method.relu)
            case m.LayerActivation():
                found = attr.LayerActivation(module, layer).attribute(inputs)
            case m.LayerGradientXActivation():
                found = attr.LayerGradientXActivation(module, layer).attribute(inputs, target=target)
            case m.LayerIntegratedGradients():
                found = attr.LayerIntegratedGradients(module, layer).attribute(inputs, **path)
            case m.LayerConductance():
                found = attr.LayerConductance(module, layer).attribute(inputs, **path)
            case m.LayerDeepLift():
                found = attr.LayerDeepLift(module, layer).attribute(inputs, baselines=baseline, target=target)
            case m.InternalInfluence():
                found = attr.InternalInfluence(module, layer).attribute(inputs, **path)
            case m.NeuronIntegratedGradients():
                index = method.neuron if len(method.neuron) == 1 else (method.neuron[2], *method.neuron[:2])
                del path["target"]
                found = attr.NeuronIntegratedGradients(module, layer).attribute(inputs, neuron_selector=index, **path)
            case _:
                raise NotImplementedError(method.title)
    return from_input(found.float())


def logits(model: Model, inputs: np.ndarray) -> np.ndarray:
    """Torch's logits in double precision."""
    module = build_module(model).double().eval()
    with torch.no_grad():
        return module(to_input(inputs).double()).numpy()
