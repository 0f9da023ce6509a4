"""Sanity: an explanation of a trained model should not outlive its weights.

Model-parameter randomisation test (Adebayo et al., arXiv 1810.03292), cascading and independent, with the smooth and
efficient variants of Hedstroem et al. (Sanity Checks Revisited, 2023, openreview vVpefYmnsG). Randomised weights follow
the law that the architecture starts from; scales and offsets of normalisation go back to 1 and 0, where they start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.data.dataset import Floats
from trustml.models.shapes import node_of
from trustml.models.weights import Weights

ExplainWith: TypeAlias = Callable[[Weights, Floats], Floats]
"""Weights and inputs (n, *x) to attributions (n, *x), always for the same n examples and targets."""

Similarity: TypeAlias = Callable[[Floats, Floats], Doubles]
"""Two arrays of attributions (n, *x) to how alike they are, (n,)."""

HISTOGRAM_BINS = 100
"""Quantus's number, too; the entropy of a histogram rises with it, so it is the same for all."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A model of which some layers are randomised.

    Attributes
    ----------
    layer : str
        The node randomised last, by its name.
    weights : dict of str to float32 array
    """

    layer: str
    weights: Weights


@dataclass(frozen=True, kw_only=True)
class Entropies:
    """Entropy of the explanations of two models, in nats; each of shape (n,).

    Attributes
    ----------
    original, randomised : float64 array of shape (n,)
    """

    original: Doubles
    randomised: Doubles


def layers_from_the_top(weights: Weights) -> list[str]:
    """Nodes that have weights, from the output to the input; `weights` are in canonical order."""
    return list(dict.fromkeys(node_of(name) for name in reversed(weights)))


def randomised_stages(weights: Weights, *, fresh: Weights, order: Literal["cascading", "independent"]) -> list[Stage]:
    """Models with one more layer randomised each, or with one layer alone.

    Parameters
    ----------
    weights : dict of str to float32 array
        The trained model's.
    fresh : dict of str to float32 array
        A draw of :func:`trustml.models.weights.initial_weights` from a generator of its own. One draw serves both
        orders, all methods and all backends, so that they judge the same randomised models.
    order : {"cascading", "independent"}
        From the output down, all layers so far; or each layer alone. Both go from the output to the input.

    Returns
    -------
    list of Stage
        The last one of the cascade is `fresh` as a whole.
    """
    stages = []
    gone: set[str] = set()
    for layer in layers_from_the_top(weights):
        gone = gone | {layer} if order == "cascading" else {layer}
        mixed = {name: fresh[name] if node_of(name) in gone else weights[name] for name in weights}
        stages.append(Stage(layer=layer, weights=mixed))
    return stages


def randomisation_test(
    explain: ExplainWith,
    *,
    inputs: Floats,
    original: Floats,
    stages: Sequence[Stage],
    similarities: Mapping[str, Similarity],
) -> dict[str, Doubles]:
    """Compare the explanation of the trained model with those of randomised ones.

    Parameters
    ----------
    explain : callable
        For the smooth variant, what :func:`smoothed` gives.
    inputs : float32 array of shape (n, *x)
    original : float32 array of shape (n, *x)
        Explanation of the trained model, by the same `explain`.
    stages : sequence of Stage
    similarities : mapping of str to callable
        By what to compare. The paper ranks both signed and absolute attributions; the latter is a similarity that
        takes absolute values itself.

    Returns
    -------
    dict of str to float64 array of shape (stages, n)
        For each similarity. The lower, the more an explanation depends on what was learned.
    """
    found: dict[str, list[Doubles]] = {name: [] for name in similarities}
    for stage in stages:
        explanation = explain(stage.weights, inputs)
        for name, similarity in similarities.items():
            found[name].append(np.asarray(similarity(original, explanation), np.float64))
    return {name: np.stack(rows) for name, rows in found.items()}


def smoothing_noise(inputs: Floats, *, magnitude: float, samples: int, generator: np.random.Generator) -> Floats:
    """Draw normal noise for :func:`smoothed`, (samples, n, *x).

    Its standard deviation is `magnitude` times the range of values of each example, as in SmoothGrad (arXiv
    1706.03825).
    """
    axes = tuple(range(1, inputs.ndim))
    stdev = magnitude * (inputs.max(axis=axes, keepdims=True) - inputs.min(axis=axes, keepdims=True))
    return (stdev * generator.standard_normal((samples, *inputs.shape))).astype(np.float32)


def smoothed(explain: ExplainWith, *, noise: Floats) -> ExplainWith:
    """Explanations averaged over noisy inputs: with it the test is sMPRT.

    Parameters
    ----------
    explain : callable
    noise : float32 array of shape (samples, n, *x)
        The same for all models, so that none differs by luck. Every copy is noisy; Quantus leaves one of them
        clean.

    Returns
    -------
    callable
        Calls `explain` once for each sample, with n rows.
    """

    def average(weights: Weights, inputs: Floats) -> Floats:
        total = np.zeros(inputs.shape, np.float64)
        for draw in noise:
            total += explain(weights, (inputs + draw).astype(np.float32))
        return (total / len(noise)).astype(np.float32)

    return average


def histogram_entropy(attributions: Floats, *, bins: int = HISTOGRAM_BINS) -> Doubles:
    """Entropy of the histogram of each explanation's signed values, (n,), in nats, from 0 to log(bins).

    The bins share the range of the values evenly, so the entropy does not change when attributions are scaled or
    shifted; it is 0 for a constant explanation.
    """
    # In double precision neighbouring float32 values stay far enough apart for distinct edges.
    flat = attributions.reshape(len(attributions), -1).astype(np.float64)
    counts = np.stack([np.histogram(row, bins=bins)[0] for row in flat])
    shares = counts / counts.sum(axis=1, keepdims=True)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(axis=1)


def efficient_test(
    explain: ExplainWith, *, inputs: Floats, original: Floats, fresh: Weights, bins: int = HISTOGRAM_BINS
) -> Entropies:
    """Compare entropies before and after all weights are randomised (eMPRT): two models, and no similarity.

    Parameters
    ----------
    explain : callable
    inputs, original : float32 arrays of shape (n, *x)
        Original explanations are of the trained model.
    fresh : dict of str to float32 array
        Randomised weights.
    bins : int

    Returns
    -------
    Entropies
    """
    return Entropies(
        original=histogram_entropy(original, bins=bins),
        randomised=histogram_entropy(explain(fresh, inputs), bins=bins),
    )


def relative_rise(entropies: Entropies) -> Doubles:
    """Rise of the entropy relative to the original, (n,); the higher, the more the explanation was learned.

    NaN where the original's entropy is 0.
    """
    before = entropies.original
    return np.divide(entropies.randomised - before, before, out=np.full_like(before, np.nan), where=before > 0)
