"""Checks of explanations on models whose answers are known, in numpy alone."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from trustml.auditing.checks_explanations import _sane, check_explanations
from trustml.auditing.explained import prepare

GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.normal(size=(40, 10)).astype(np.float32)
LABELS = GENERATOR.integers(0, 3, 40)


class Tanh:
    """Two layers, with right gradients."""

    def __init__(self, first, second):
        self.first, self.second = first, second

    def outputs(self, inputs):
        return (np.tanh(inputs @ self.first) @ self.second).astype(np.float32)

    def input_gradients(self, inputs, columns):
        slopes = 1 - np.tanh(inputs @ self.first) ** 2
        return ((slopes * self.second.T[columns]) @ self.first.T).astype(np.float32)

    @contextmanager
    def randomised(self, seed):
        order = np.random.default_rng(seed).permutation
        yield Tanh(*(order(values.ravel()).reshape(values.shape) for values in (self.first, self.second)))

    def library_attributions(self, inputs, columns, *, baseline, n_steps):
        return {}


class Wrong(Tanh):
    """Gradients of another function."""

    def input_gradients(self, inputs, columns):
        return 0.5 * super().input_gradients(inputs, columns)


class Stubborn(Tanh):
    """Gradients that ignore the weights."""

    def input_gradients(self, inputs, columns):
        return np.broadcast_to(np.arange(10, dtype=np.float32), inputs.shape)

    @contextmanager
    def randomised(self, seed):
        with super().randomised(seed) as other:
            yield Stubborn(other.first, other.second)


class Frozen(Tanh):
    """Weights that nobody can reach, as in a closure."""

    @contextmanager
    def randomised(self, seed):
        yield self


class Single(Tanh):
    """One logit, of class 1."""

    def outputs(self, inputs):
        return super().outputs(inputs)[:, :1]


class Broken(Tanh):
    """No gradients, but outputs."""

    def input_gradients(self, inputs, columns):
        raise RuntimeError("no kernel for this\nsecond line")


def weights(columns=3):
    generator = np.random.default_rng(1)
    return generator.normal(size=(10, 16)) / 3, generator.normal(size=(16, columns))


def found(model, *, single=False, labels=LABELS, inputs=INPUTS):
    explained = prepare(model, inputs, labels, train=inputs, single=single, confidence=0.95, seed=0)
    return {finding.id.split(".")[1]: finding for finding in check_explanations(explained)}


def test_a_smooth_model_with_right_gradients_passes():
    findings = found(Tanh(*weights()))
    assert {name: one.severity for name, one in findings.items()} == {
        "completeness": "pass",
        "sanity": "pass",
        "stability": "pass",
        "agreement": "not checked",
    }
    gap = findings["completeness"].measured[0]
    assert gap.value < 1e-3 and gap.low <= gap.value <= gap.high


def test_gradients_of_another_function_do_not_add_up():
    finding = found(Wrong(*weights()))["completeness"]
    assert finding.severity == "risk"
    assert finding.measured[0].value == pytest.approx(0.5, abs=0.01)


def test_where_there_is_nothing_to_shuffle_sanity_is_not_checked():
    finding = found(Frozen(*weights()))["sanity"]
    assert finding.severity == "not checked" and "nothing to shuffle" in finding.title


def test_gradients_that_ignore_the_weights_fail_the_sanity_check():
    finding = found(Stubborn(*weights()))["sanity"]
    assert finding.severity == "risk"
    assert finding.measured[0].value == pytest.approx(1.0)


def test_one_column_is_explained_for_either_class():
    findings = found(Single(*weights(1)), single=True, labels=LABELS % 2)
    assert findings["completeness"].severity == "pass"
    assert findings["completeness"].measured[0].value < 1e-3


def test_a_check_that_fails_leaves_the_others_and_one_line():
    findings = found(Broken(*weights()))
    assert {one.severity for one in findings.values()} == {"not checked"}
    assert findings["completeness"].title == "Not checked: RuntimeError: no kernel for this"


def test_an_unsteady_model_is_told_from_a_steady_one():
    first, second = weights()
    wild = found(Tanh(60 * first, second))["stability"]
    assert wild.measured[0].value > 5 * found(Tanh(first, second))["stability"].measured[0].value


def test_integers_have_no_path_between_them():
    with pytest.raises(TypeError, match="no path runs"):
        found(Tanh(*weights()), inputs=np.zeros((40, 10), np.int64))


@pytest.mark.parametrize(
    ("scale", "completeness", "stability"),
    [(60, "pass", "pass"), (100, "note", "pass"), (200, "note", "note"), (400, "note", "risk")],
)
def test_the_steeper_a_model_the_more_steps_it_needs_and_the_more_its_explanations_move(scale, completeness, stability):
    first, second = weights()
    findings = found(Tanh(scale * first, second))
    assert (findings["completeness"].severity, findings["stability"].severity) == (completeness, stability)
    steps = 50 if completeness == "pass" else 300
    assert findings["completeness"].title.endswith(f"at {steps} steps")


def test_a_constant_model_has_nothing_to_explain():
    first, second = weights()
    findings = found(Tanh(first, 0 * second))
    assert {one.severity for one in findings.values()} == {"not checked"}
    assert "do not differ from the baseline" in findings["completeness"].title
    assert "no ranks" in findings["sanity"].title and "are zero" in findings["stability"].title


@pytest.mark.parametrize(("factor", "severity"), [(1.0, "pass"), (1.009, "pass"), (1.011, "risk"), (0.989, "risk")])
def test_another_library_agrees_to_one_per_cent_or_not(factor, severity):
    class Explained(Tanh):
        def library_attributions(self, inputs, columns, *, baseline, n_steps):
            places = (np.arange(2000) + 0.5) / 2000
            path = sum(self.input_gradients(baseline + place * (inputs - baseline), columns) for place in places)
            return {"another library": factor * (inputs - baseline) * path / 2000}

    finding = found(Explained(*weights()))["agreement"]
    assert finding.severity == severity
    assert finding.measured[0].value == pytest.approx(abs(factor - 1), abs=1e-4)


@pytest.mark.parametrize(("low", "high", "severity"), [(0.51, 0.6, "risk"), (0.4, 0.6, "note"), (0.4, 0.49, "pass")])
def test_gradients_that_may_or_may_not_depend_on_the_weights_are_a_note(low, high, severity):
    assert _sane(low, high, (low + high) / 2)[0] == severity
