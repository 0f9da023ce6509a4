"""Quantus's measures on the same model and attributions, and where they are not what their papers say.

Quantus 0.6.0 scales attributions by default; here it always gets them as they are, unless that is what a test is about.
"""

from __future__ import annotations

import numpy as np
import pytest
import quantus
from quantus.functions.perturb_func import noisy_linear_imputation

from tests.attribution import torch_models as tm
from tests.attribution.linear import every_value
from trustml.attribution.completeness import completeness
from trustml.attribution.infidelity import infidelity, logit_changes, products, removal_steps
from trustml.attribution.removal import deletion
from trustml.attribution.road import impute, road
from trustml.attribution.sensitivity import distances, local_lipschitz, max_sensitivity, neighbours

pytestmark = pytest.mark.torch

COUNT = 70  # more than Quantus's standard batch of 64
RAW = {"normalise": False, "abs": False, "disable_warnings": True}


class Setting:
    """A model, inputs, targets and gradients, as we and as Quantus see them."""

    def __init__(self) -> None:
        self.model = tm.small_cnn(seed=0)
        self.inputs = tm.images(COUNT, seed=0)
        self.predict = tm.predict_with(self.model)
        self.targets = self.predict(self.inputs).argmax(axis=1)
        self.attributions = tm.last(tm.gradient(self.model, tm.first(self.inputs), self.targets))

    def ask(self, metric, *, rows=slice(None), batch_size=COUNT, softmax=False):
        return metric(
            model=self.model,
            x_batch=tm.first(self.inputs[rows]),
            y_batch=self.targets[rows],
            a_batch=tm.first(self.attributions[rows]),
            explain_func=tm.gradient,
            channel_first=True,
            batch_size=batch_size,
            softmax=softmax,
        )

    def explain(self, rows):
        return tm.last(tm.gradient(self.model, tm.first(rows), self.targets))


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting()


def test_pixel_flipping_is_deletion_without_its_first_point(setting):
    flipping = quantus.PixelFlipping(features_in_step=4, perturb_baseline=0.0, **RAW)
    for softmax in (False, True):
        theirs = np.array(setting.ask(flipping, softmax=softmax))
        ours = deletion(
            setting.predict,
            inputs=setting.inputs,
            targets=setting.targets,
            attributions=setting.attributions,
            baseline=np.zeros_like(setting.inputs),
            features=every_value((8, 8, 1)),
            fractions=[step / 16 for step in range(17)],
        )
        # float32 logits of order 1.
        np.testing.assert_allclose(theirs, (ours.probabilities if softmax else ours.logits)[:, 1:], atol=1e-5)


def test_its_area_under_the_curve_needs_a_numpy_before_2_4(setting):
    """Known defect of Quantus 0.6.0: ``np.trapz`` is gone. When this fails, compare :func:`area`."""
    flipping = quantus.PixelFlipping(perturb_baseline=0.0, return_auc_per_sample=True, **RAW)
    with pytest.raises(AttributeError, match="trapz"):
        setting.ask(flipping)


def test_pixels_are_filled_in_alike(setting):
    generator = np.random.default_rng(0)
    for image in setting.inputs[:10]:
        removed = generator.permutation(64) < generator.integers(2, 63)
        ours = impute(image[None], removed=removed.reshape(1, 8, 8), noise=np.zeros_like(image[None]))
        theirs = noisy_linear_imputation(
            arr=tm.first(image[None])[0].astype(np.float64), indices=np.flatnonzero(removed), noise=0.0
        )
        np.testing.assert_allclose(tm.first(ours)[0], theirs, atol=1e-6)  # float32 of values of order 1


PERCENTAGES = [10, 30, 50, 70, 90]


def road_curve(setting):
    return road(
        setting.predict,
        inputs=setting.inputs,
        labels=setting.targets,
        attributions=setting.attributions,
        order="most_relevant_first",
        noise=np.zeros_like(setting.inputs),
        fractions=[(64 * percentage // 100) / 64 for percentage in PERCENTAGES],  # Quantus rounds down
    )


def test_road(setting):
    theirs = setting.ask(quantus.ROAD(percentages=PERCENTAGES, noise=0.0, **RAW))
    np.testing.assert_array_equal(list(theirs.values()), road_curve(setting).correct.mean(axis=0))


def test_its_road_forgets_all_batches_but_the_first(setting):
    """Known defect of Quantus 0.6.0: 6 of 70 examples are silently left out at its standard batch size."""
    theirs = setting.ask(quantus.ROAD(percentages=PERCENTAGES, noise=0.0, **RAW), batch_size=64)
    correct = road_curve(setting).correct
    np.testing.assert_array_equal(list(theirs.values()), correct[:64].mean(axis=0))
    assert not np.array_equal(list(theirs.values()), correct.mean(axis=0))


def test_its_road_cannot_rank_images_with_channels():
    """Known defect of Quantus 0.6.0: it ranks values of all channels as if they were pixels."""
    inputs = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    model = tm.torch.nn.Sequential(tm.torch.nn.Flatten(), tm.torch.nn.Linear(192, 3)).eval()
    with pytest.raises(IndexError, match="out of bounds"):
        quantus.ROAD(percentages=[50], **RAW)(
            model=model, x_batch=inputs, y_batch=np.zeros(3, int), a_batch=inputs, channel_first=True
        )


def test_its_infidelity_piles_its_squares_up(setting):
    """Known defect of Quantus 0.6.0: a square stays removed when the next one is; the paper removes one."""
    theirs = np.array(
        setting.ask(quantus.Infidelity(perturb_patch_sizes=[2], n_perturb_samples=1, perturb_baseline=0.0, **RAW))
    )
    squares = np.zeros((16, 8, 8, 1), bool)
    for number in range(16):
        row, column = divmod(number, 4)
        squares[number, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = True
    found = {}
    for name, masks in (("one", squares), ("piled up", np.logical_or.accumulate(squares))):
        removed = np.repeat(masks[None], COUNT, axis=0)
        steps = removal_steps(setting.inputs, baseline=np.zeros_like(setting.inputs), removed=removed)
        changes = logit_changes(setting.predict, inputs=setting.inputs, targets=setting.targets, steps=steps)
        found[name] = infidelity(products(setting.attributions, steps=steps), changes)
    np.testing.assert_allclose(theirs, found["piled up"], rtol=1e-4)  # squares of float32 differences
    assert theirs.mean() > 3 * found["one"].mean()


class Replay:
    """Gives Quantus our neighbours one after the other, in place of its own noise."""

    def __init__(self, around: np.ndarray) -> None:
        self.around, self.next = around, 0

    def __call__(self, arr, indices, lower_bound=None, upper_bound=None, perturb_mean=None, perturb_std=None):
        found = tm.first(self.around[:, self.next]).reshape(len(arr), -1)
        self.next += 1
        return found


def our_distances(setting):
    around = neighbours(setting.inputs, radius=0.1, samples=5, generator=np.random.default_rng(0))
    return around, distances(setting.explain, inputs=setting.inputs, around=around, original=setting.attributions)


def test_max_sensitivity(setting):
    around, found = our_distances(setting)
    theirs = setting.ask(quantus.MaxSensitivity(nr_samples=5, perturb_func=Replay(around), **RAW))
    np.testing.assert_allclose(theirs, max_sensitivity(found), rtol=1e-5)  # float32 norms


def test_local_lipschitz(setting):
    around, found = our_distances(setting)
    theirs = setting.ask(quantus.LocalLipschitzEstimate(nr_samples=5, perturb_func=Replay(around), **RAW))
    np.testing.assert_allclose(theirs, local_lipschitz(found), rtol=1e-5)  # float32 norms


def test_its_local_lipschitz_of_an_example_depends_on_its_batch(setting):
    """Known defect of Quantus 0.6.0: by default each batch of explanations is divided by its largest value."""
    around, _ = our_distances(setting)
    found = []
    for rows in (slice(0, 1), slice(0, COUNT)):
        standard = quantus.LocalLipschitzEstimate(
            nr_samples=5, perturb_func=Replay(around[rows]), disable_warnings=True
        )
        found.append(setting.ask(standard, rows=rows)[0])
    assert found[0] > 1.2 * found[1]


def test_completeness_compares_rounded_sums_for_equality():
    """Known defect of Quantus 0.6.0: of exact contributions it finds fewer than half complete."""
    torch = tm.torch
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval()
    with torch.no_grad():
        model[1].weight.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(0))
        model[1].bias.zero_()
    inputs = tm.images(COUNT, seed=1)
    targets = np.arange(COUNT) % 3
    attributions = inputs * model[1].weight.detach().numpy()[targets].reshape(-1, 8, 8, 1)
    asked = {
        "model": model,
        "x_batch": tm.first(inputs),
        "y_batch": targets,
        "a_batch": tm.first(attributions),
        "channel_first": True,
    }
    raw = quantus.Completeness(perturb_baseline=0.0, **RAW)(**asked)
    standard = quantus.Completeness(perturb_baseline=0.0, disable_warnings=True)(**asked)
    assert np.mean(raw) < 0.5
    assert not any(standard)
    predict = tm.predict_with(model)
    rows = np.arange(COUNT)
    ours = completeness(
        attributions,
        logits=predict(inputs)[rows, targets],
        baseline_logits=predict(np.zeros_like(inputs))[rows, targets],
    )
    assert ours.errors.max() < 1e-5  # float32 sums of 64 terms of order 0.3
    assert ours.changes.mean() > 1


def test_its_sufficiency_is_another_measure(setting):
    """Dasgupta et al. (arXiv 2202.00734): whether neighbours by explanation share a class; ERASER's is not there.

    It cannot tell attributions from their negatives, which turn the ranking of features round.
    """
    measure = quantus.Sufficiency(threshold=0.6, disable_warnings=True)
    one = setting.ask(measure)
    turned = Setting()
    turned.attributions = -turned.attributions
    np.testing.assert_array_equal(one, turned.ask(measure))
