"""Checks of explanations on models whose answers are known, in numpy alone."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from trustml.auditing.checks_explanations import _sane, check_explanations
from trustml.auditing.explained import Budget, prepare

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

    def library_attributions(self, inputs, columns, *, baseline, n_steps, rows):
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
        def library_attributions(self, inputs, columns, *, baseline, n_steps, rows):
            places = (np.arange(2000) + 0.5) / 2000
            path = sum(self.input_gradients(baseline + place * (inputs - baseline), columns) for place in places)
            return {"another library": factor * (inputs - baseline) * path / 2000}

    finding = found(Explained(*weights()))["agreement"]
    assert finding.severity == severity
    assert finding.measured[0].value == pytest.approx(abs(factor - 1), abs=1e-4)


@pytest.mark.parametrize(("low", "high", "severity"), [(0.51, 0.6, "risk"), (0.4, 0.6, "note"), (0.4, 0.49, "pass")])
def test_gradients_that_may_or_may_not_depend_on_the_weights_are_a_note(low, high, severity):
    assert _sane(low, high, (low + high) / 2)[0] == severity


class Slow(Tanh):
    """Takes a second of a clock for each row that it is asked about; remembers the largest call."""

    def __init__(self, first, second, clock):
        super().__init__(first, second)
        self.clock, self.largest, self.rows = clock, 0, 0

    def input_gradients(self, inputs, columns):
        self.clock[0] += len(inputs)
        self.largest, self.rows = max(self.largest, len(inputs)), self.rows + len(inputs)
        return super().input_gradients(inputs, columns)


def within(monkeypatch, *, seconds=1e9, memory=1 << 30, model=Slow):
    """Findings of a slow model within a budget, the model, and what was told of progress."""
    clock, told = [0.0], []
    monkeypatch.setattr("trustml.auditing.explained.time.monotonic", lambda: clock[0])
    slow = model(*weights(), clock)
    budget = Budget(memory=memory, seconds=seconds, tell=lambda *what: told.append(what))
    explained = prepare(slow, INPUTS, LABELS, train=INPUTS, single=False, confidence=0.95, seed=0, budget=budget)
    return {one.id.split(".")[1]: one for one in check_explanations(explained)}, slow, told


def test_a_budget_of_memory_makes_calls_small_and_changes_no_conclusion(monkeypatch):
    whole, model, _ = within(monkeypatch)
    assert model.largest == 1024
    row = INPUTS[0].nbytes
    for rows in (1, 7, 60):
        small, model, told = within(monkeypatch, memory=rows * 40 * row)
        assert model.largest <= rows
        assert {name: (one.severity, one.title) for name, one in small.items()} == {
            name: (one.severity, one.title) for name, one in whole.items()
        }
        for name in ("completeness", "sanity", "stability"):
            assert small[name].measured[0].value == pytest.approx(whole[name].measured[0].value, rel=1e-3, abs=1e-6)
    assert ("explanations, stability", 32, 32) in told or told[-1][1] == told[-1][2]


def test_the_largest_images_are_explained_one_at_a_time():
    row = 224 * 224 * 3 * 4
    assert Budget().rows(row) == 44 and Budget(memory=1).rows(row) == 1 and Budget().rows(28 * 28 * 4) == 1024


def test_when_time_is_spent_what_is_finished_is_kept_and_the_rest_is_told(monkeypatch):
    everything, _, _ = within(monkeypatch)
    # Completeness takes 50 rows an example, sanity 32 a draw, stability 180 an example.
    findings, model, _ = within(monkeypatch, seconds=2400.0, memory=20 * 40 * INPUTS[0].nbytes)
    assert model.rows < 3200
    assert "(explained 12 of 32 within the time given)" in findings["completeness"].title
    assert findings["completeness"].measured[0].n == 12 and findings["completeness"].severity == "pass"
    assert "within the time given" not in findings["sanity"].title
    assert findings["sanity"].measured == everything["sanity"].measured
    words = findings["stability"].title
    done = int(words.split("(explained ")[1].split(" of 32 within the time given)")[0])
    assert findings["stability"].measured[0].n == done and 2 <= done < 12


def test_what_there_was_no_time_for_is_not_checked(monkeypatch):
    findings, model, _ = within(monkeypatch, seconds=1e-9, memory=20 * 40 * INPUTS[0].nbytes)
    assert {one.severity for one in findings.values()} == {"not checked"} and model.rows == 50
    assert findings["completeness"].title == "Not checked: explained 1 of 32 within the time given"
    assert findings["sanity"].title == "Not checked: shuffled 0 of 10 within the time given"
    assert all(one.would_change.startswith("more time") for one in findings.values())


class Stopped(Slow):
    """Raises after so many rows."""

    error: type[BaseException] = KeyboardInterrupt

    def input_gradients(self, inputs, columns):
        if self.rows + len(inputs) > 500:
            raise self.error("enough")
        return super().input_gradients(inputs, columns)


class Failing(Stopped):
    error = TimeoutError


def test_ctrl_c_keeps_what_is_finished_and_begins_nothing_else(monkeypatch):
    findings, _, _ = within(monkeypatch, memory=20 * 40 * INPUTS[0].nbytes, model=Stopped)
    assert "(explained 10 of 32 before it was interrupted)" in findings["completeness"].title
    assert findings["completeness"].measured[0].n == 10
    assert {findings[name].severity for name in ("sanity", "stability", "agreement")} == {"not checked"}


def test_a_model_that_fails_after_a_while_is_judged_by_what_it_answered(monkeypatch):
    findings, _, _ = within(monkeypatch, memory=20 * 40 * INPUTS[0].nbytes, model=Failing)
    assert "(explained 10 of 32 before it failed (TimeoutError: enough))" in findings["completeness"].title
    assert findings["sanity"].title == "Not checked: TimeoutError: enough"
