"""Models and methods that are explained in both environments; numpy alone, and the arrays travel in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trustml.backends.contract import ExplainRequest, Model
from trustml.catalogue.available import attributed_layer
from trustml.models.layers import Add, Architecture, Conv2D, Dense, Flatten, MaxPool, ReLU, Tanh
from trustml.models.outcome import Outcome
from trustml.models.residual import residual_network
from trustml.models.transformers import encoder, ft_transformer, vision_transformer
from trustml.models.weights import initial_weights
from trustml.scenario import methods as m

WHOLE = os.environ.get("TRUSTML_TESTS") == "all"
SEEDS = range(10)
"""Repetitions of a sampling method, for the error of its mean."""
FEW = 7 if WHOLE else 2
"""Examples that sampling methods explain: Xplique takes one after the other."""
FEW_OF = {"kernel_shap": 7 if WHOLE else 4}
"""Of methods that need more of them, as a mean over examples is looked at."""
SEEDS_OF = {} if WHOLE else dict.fromkeys(("var_grad", "kernel_shap", "lime"), 2)
"""Repetitions of those whose mean is left to the long form: they still must draw by their seed, and differ by it."""


@dataclass(frozen=True)
class Case:
    """One architecture with its examples."""

    architecture: Architecture
    shape: tuple[int, ...]
    features: tuple[int, ...] = ()  # of a table; an image's follow from the patch
    examples: int = 7
    classes: int = 3
    spread: float = 0.0  # of what is added to the weights, where they start near zero


OUTCOMES = {
    "probability": (2, Outcome(quantity="probability", exclusive=True)),
    "loss": (2, Outcome(quantity="loss", exclusive=True)),
    "label_probability": (2, Outcome(quantity="probability", exclusive=False)),
    "binary_loss": (1, Outcome(quantity="loss", exclusive=False)),
}
"""Outputs, and what is explained of them."""
CASES = {
    "cnn": Case(
        Architecture(
            layers=(
                Conv2D(filters=6, padding=((1, 1), (1, 0))),
                ReLU(),
                Conv2D(filters=8, kernel=(2, 2)),
                ReLU(),
                MaxPool(),
                Flatten(),
                Dense(units=12),
                ReLU(),
                Dense(units=3),
            )
        ),
        (9, 9, 2),
    ),
    "mlp": Case(
        Architecture(layers=(Dense(units=16), ReLU(), Dense(units=16), ReLU(), Dense(units=3))),
        (6,),
        features=(0, 1, 1, 2, 3, 3),
    ),
    "linear": Case(Architecture(layers=(Dense(units=3),)), (5,), features=(0, 1, 2, 3, 4)),
    "vit": Case(vision_transformer(size=8, patch=4, width=8, heads=2, blocks=2, classes=3), (8, 8, 2), spread=0.2),
    "text": Case(encoder(vocabulary=9, width=6, heads=2, blocks=2, classes=3), (5, 7), spread=0.2),  # looked up
    "table": Case(ft_transformer(columns=(1, 2, 3), width=8, heads=2, classes=3), (6,), features=(0, 1, 1, 2, 2, 2)),
    **{
        name: Case(Architecture(layers=(Dense(units=8), Tanh(), Dense(units=outputs), outcome)), (4,), classes=2)
        for name, (outputs, outcome) in OUTCOMES.items()
    },
    "residual": Case(residual_network(filters=(4, 6), blocks=1, groups=2, classes=3), (6, 6, 1)),
}
EPSILON = 0.1
SUM = max(i for i, node in enumerate(CASES["residual"].architecture.nodes) if isinstance(node.layer, Add))
ATTENTION = ("vit", "text", "table")
SHORT_OUTCOMES = (*OUTCOMES,) if WHOLE else ("loss",)
SHORT_RELEVANCE = (*ATTENTION, "residual") if WHOLE else ("vit",)
"""Of which a program is compiled for each, in two frameworks."""
CONVOLUTION = 2  # of the cnn

DETERMINISTIC = {
    "saliency": ("cnn", m.Saliency()),
    "signed": ("cnn", m.Saliency(absolute=False)),
    "input_x_gradient": ("cnn", m.InputXGradient()),
    "integrated_gradients": ("cnn", m.IntegratedGradients()),
    "integrated_gradients_table": ("mlp", m.IntegratedGradients()),
    "linear_integrated_gradients": ("linear", m.IntegratedGradients()),
    "guided_backprop": ("cnn", m.GuidedBackprop()),
    "deconvolution": ("cnn", m.Deconvolution()),
    "feature_ablation": ("cnn", m.FeatureAblation(patch=2)),
    "feature_ablation_table": ("mlp", m.FeatureAblation()),
    "occlusion": ("cnn", m.Occlusion(window=(3, 3), stride=(3, 3))),
    "occlusion_clipped": ("cnn", m.Occlusion(window=(4, 4), stride=(4, 4))),
    "grad_cam": ("cnn", m.GradCam()),
    "grad_cam_signed": ("cnn", m.GradCam(relu=False)),
    "layer_activation": ("cnn", m.LayerActivation(layer=CONVOLUTION)),
    "smooth_grad_without_noise": ("cnn", m.SmoothGrad(stdev=0.0, n_samples=3)),
    "smooth_grad_relative": ("cnn", m.SmoothGrad(stdev=0.5, relative=True, n_samples=2)),
    "linear_lime": ("linear", m.Lime(n_samples=500, alpha=1e-6)),
    "linear_kernel_shap": ("linear", m.KernelShap(n_samples=500)),
    **{f"{name}_gradient": (name, m.Saliency(absolute=False)) for name in SHORT_OUTCOMES},
    **{f"{name}_lrp": (name, m.TransformerLRP(epsilon=EPSILON)) for name in SHORT_RELEVANCE},
    "vit_cam": ("vit", m.GradCam()),
    **({"residual_cam": ("residual", m.GradCam(layer=SUM))} if WHOLE else {}),
    **{f"{name}_rollout": (name, m.AttentionRollout()) for name in ATTENTION},
}
SAMPLED = {
    "smooth_grad": ("cnn", m.SmoothGrad(n_samples=64)),
    # in short left out: it takes as long as the mean, and differs by what is done with the same gradients
    **({"smooth_grad_squared": ("cnn", m.SmoothGrad(n_samples=64, statistic="mean_of_squares"))} if WHOLE else {}),
    "var_grad": ("cnn", m.SmoothGrad(n_samples=64, statistic="variance")),
    "kernel_shap": ("mlp", m.KernelShap(n_samples=500)),
    "lime": ("mlp", m.Lime(n_samples=500)),
}

AT_ONCE = 2
IN_PARTS = ["integrated_gradients"]
IN_PARTS += ["smooth_grad_without_noise", "occlusion", "signed", "vit_lrp", "vit_rollout"] if WHOLE else []
"""Explained by a few rows at once too, as large inputs are."""


def draw_arrays() -> dict[str, np.ndarray]:
    """Draw weights, inputs, targets and baselines of every case."""
    generator = np.random.default_rng(5)
    arrays = {}
    for name, case in CASES.items():
        for key, weight in initial_weights(case.architecture, case.shape, generator=generator).items():
            added = case.spread * generator.standard_normal(weight.shape) if case.spread else 0.0
            # logits of order 1, and every ReLU both on and off
            arrays[f"{name}.weights.{key}"] = (2 * weight + added).astype(np.float32)
        size = (case.examples, *case.shape)
        arrays[f"{name}.inputs"] = generator.uniform(-1, 1, size).astype(np.float32)
        arrays[f"{name}.baseline"] = generator.uniform(-1, 1, size).astype(np.float32)
        arrays[f"{name}.targets"] = generator.integers(case.classes, size=case.examples)
    return arrays


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as found:
        return dict(found)


def model_of(name: str, arrays: dict[str, np.ndarray]) -> Model:
    prefix = f"{name}.weights."
    weights = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
    return Model(architecture=CASES[name].architecture, input_shape=CASES[name].shape, weights=weights)


def request_of(
    name: str, method: m.Method, arrays: dict[str, np.ndarray], *, seed: int = 0, examples: int | None = None
) -> ExplainRequest:
    """Build the request; methods with a baseline in their definition get one that is not zero, where they can."""
    inputs = arrays[f"{name}.inputs"][:examples]
    perturbs = isinstance(method, m.FeatureAblation | m.Occlusion | m.KernelShap | m.Lime)
    return ExplainRequest(
        model=model_of(name, arrays),
        inputs=inputs,
        targets=arrays[f"{name}.targets"][:examples],
        method=method,
        baseline=arrays[f"{name}.baseline"][:examples] if perturbs else np.zeros_like(inputs),
        background=np.zeros((0, *inputs.shape[1:]), np.float32),
        features=features_of(CASES[name], patch=getattr(method, "patch", 1)),
        layer=layer_of(name, method),
        seed=seed,
    )


def layer_of(name: str, method: m.Method) -> int:
    if not isinstance(method, m.GradCam | m.LayerActivation):
        return -1
    return CONVOLUTION if name == "cnn" else attributed_layer(method, CASES[name].architecture, CASES[name].shape)


def features_of(case: Case, *, patch: int) -> np.ndarray:
    if len(case.shape) == 1 and not case.features:
        return np.arange(case.shape[0])
    if case.features:
        return np.array(case.features)
    if len(case.shape) == 2:
        return np.repeat(np.arange(case.shape[0])[:, None], case.shape[1], axis=1)
    rows, columns, channels = case.shape
    across = -(-columns // patch)
    groups = (np.arange(rows)[:, None] // patch) * across + np.arange(columns) // patch
    return np.repeat(groups[..., None], channels, axis=-1)
