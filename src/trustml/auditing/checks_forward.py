"""Whether explanations hold of a model that can only be asked: an endpoint, a callable, an estimator, some files.

They are made by forward passes: occlusion and KernelSHAP over groups of features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.attribution.occlusion import (
    NOISE,
    SAMPLES,
    are_channels_first,
    feature_groups,
    kernel_shap,
    occluded,
    without_noise,
)
from trustml.attribution.similarity import spearman
from trustml.auditing.checks_explanations import beside, checked, sanity, stability, unfinished
from trustml.auditing.explained import FEWEST, Explained
from trustml.auditing.findings import not_checked
from trustml.auditing.result import Finding, Measurement
from trustml.backends.contract import LiveModel
from trustml.data.dataset import Floats, Ints
from trustml.measures.bootstrap import mean_ends

NEIGHBOURS = 4
"""Of each example, whose explanations are looked at."""
ORDERS = 8
"""Random orders that an explanation's is held against."""


def check_forward(explained: Explained, *, shuffles: bool = False) -> list[Finding]:
    """Put explanations by forward passes to the tests; one that fails to run does not stop the others.

    Parameters
    ----------
    explained : Explained
        Of a model whose gradients are never asked for.
    shuffles : bool
        Whether its weights can be shuffled, as those of some files.

    Returns
    -------
    list of Finding
        ``explanations.occlusion``, ``.occlusion-stability``, ``.kernel-shap``, and ``.occlusion-sanity`` where
        weights can be shuffled.
    """
    checks: dict[str, Callable[[Explained], Finding]] = {
        "occlusion": _faithful,
        "occlusion-stability": _stable,
        "kernel-shap": _alike,
    }
    if shuffles:
        checks["occlusion-sanity"] = _sane
    return checked(explained, checks)


def _groups(explained: Explained) -> Ints:
    shape = explained.inputs.shape[1:]
    return feature_groups(shape, channels_first=are_channels_first(shape))


def _occlusion(explained: Explained, inputs: Floats) -> Doubles:
    return occluded(inputs, explained.baseline, _groups(explained), explained.scores_of_changed)


def _faithful(explained: Explained) -> Finding:
    """Whether the score falls sooner where groups go by their occlusion than where they go in a random order."""
    groups = _groups(explained)
    generator = np.random.default_rng(explained.seed)
    orders = [generator.permutation(int(groups.max()) + 1) for _ in range(ORDERS)]

    def part(mine: Explained) -> tuple[Doubles, Doubles]:
        found = _occlusion(mine, mine.inputs)
        own = _area(mine, groups, np.argsort(-found, axis=1, kind="stable"))
        others = [_area(mine, groups, np.broadcast_to(order, found.shape)) for order in orders]
        return np.mean(others, axis=0) - own, np.abs(mine.scores(mine.inputs))

    found, finished = explained.in_parts("explanations, occlusion", part)
    if finished.done < FEWEST:
        return unfinished("occlusion", finished)
    gains, scale = (np.concatenate(part) for part in zip(*found, strict=True))
    if not np.isfinite(gains).all():
        return _no_numbers("occlusion", gains)
    if np.abs(gains).max() <= NOISE * max(scale.max(), np.finfo(np.float64).tiny):
        return not_checked("explanations", "occlusion", why="the order of features changes nothing in how outputs fall")
    low, high = mean_ends(gains, confidence=explained.confidence)
    mean = float(gains.mean())
    sooner = "sooner" if low > 0 else "later" if high < 0 else "neither sooner nor later"
    return Finding(
        id="explanations.occlusion",
        check="explanations",
        severity="pass" if low > 0 else "risk" if high < 0 else "note",
        title=f"The output falls {sooner} when features go by their occlusion than in a random order"
        + beside(finished),
        measured=(
            Measurement(
                measure="deletion_gain",
                value=mean,
                low=low,
                high=high,
                confidence=explained.confidence,
                unit="of output",
                n=len(gains),
                note="exact bootstrap over examples",
            ),
        ),
        how=f"Area under the label's output as groups of features become those of the mean training example, less that "
        f"of occlusion's order, mean of {ORDERS} random orders (Petsiuk et al., arXiv 1806.07421).",
        would_change="another baseline, other groups",
    )


def _area(explained: Explained, groups: Ints, order: Ints) -> Doubles:
    """Area under each example's score as its groups go in their order, (n,)."""
    ranks = np.argsort(order, axis=1)[:, groups]
    curve = explained.scores_of_changed(
        np.stack([np.where(ranks < gone, explained.baseline, explained.inputs) for gone in range(order.shape[1] + 1)])
    )
    area: Doubles = (curve[1:] + curve[:-1]).mean(axis=0) / 2
    return area


def _stable(explained: Explained) -> Finding:
    return stability(
        explained,
        lambda mine, inputs: _occlusion(mine, inputs).astype(np.float32),
        identifier="explanations.occlusion-stability",
        name="occlusion-stability",
        neighbouring=NEIGHBOURS,
        what="occlusions",
        method="occlusion",
    )


def _sane(explained: Explained) -> Finding:
    def occlusions(live: LiveModel | None) -> Floats:
        other = explained if live is None else dataclasses.replace(explained, live=live)
        return _occlusion(other, explained.inputs).astype(np.float32)

    return sanity(
        explained,
        occlusions,
        identifier="explanations.occlusion-sanity",
        name="occlusion-sanity",
        what="Occlusions",
        of="occlusions' magnitudes",
    )


def _alike(explained: Explained) -> Finding:
    """How far two ways of explaining without gradients rank the same features."""
    groups = _groups(explained)
    samples = SAMPLES * (int(groups.max()) + 1)

    def part(mine: Explained) -> Doubles:
        generator = np.random.default_rng(explained.seed)
        shapley = kernel_shap(
            mine.inputs, mine.baseline, groups, mine.scores_of_changed, samples=samples, generator=generator
        )
        if not np.isfinite(shapley).all():
            raise FloatingPointError("the model answers with what is no number where features are changed")
        return spearman(without_noise(shapley), without_noise(_occlusion(mine, mine.inputs)))

    found, finished = explained.in_parts("explanations, KernelSHAP", part)
    if finished.done < FEWEST:
        return unfinished("kernel-shap", finished)
    ranks = np.concatenate(found)
    ranks = ranks[np.isfinite(ranks)]
    if len(ranks) < 2:
        return not_checked(
            "explanations", "kernel-shap", why="explanations are constant over features and have no ranks"
        )
    low, high = mean_ends(ranks, confidence=explained.confidence)
    mean = float(ranks.mean())
    return Finding(
        id="explanations.kernel-shap",
        check="explanations",
        severity="note",
        title=f"KernelSHAP and occlusion rank features with a correlation of {mean:.2f}" + beside(finished),
        measured=(
            Measurement(
                measure="rank_correlation",
                value=mean,
                low=max(-1.0, low),
                high=min(1.0, high),
                confidence=explained.confidence,
                n=len(ranks),
                note="mean over examples; exact bootstrap over examples",
            ),
        ),
        how=f"KernelSHAP with {samples} coalitions at most (Lundberg and Lee 2017), occlusion of the same groups; "
        "they differ where features act together, and by the draw of coalitions.",
        would_change="another baseline, other groups, more coalitions",
    )


def _no_numbers(name: str, found: Doubles) -> Finding:
    count = int((~np.isfinite(found)).sum())
    why = f"the model answers with what is no number where features are changed, in {count} of {len(found)} examples"
    return not_checked("explanations", name, why=why, would_change="a model that answers on such inputs")
