"""Columns that a model tells: one that has its rows by heart, one that knows the world, one that knows nothing."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.attacks.attributes import Column, column_of, distinct_rows, guessed, imputer
from trustml.data.dataset import Examples
from trustml.errors import DataError
from trustml.measures.remembered import _guessed
from trustml.models.tasks import Classes, Regression
from trustml.scenario.attacks import AttributeInference
from trustml.worker.attributes import attribute_fits

ASKED = AttributeInference(columns=("kind", "number"), rows=300)


def table(count, *, seed, follows=0.0):
    """Rows of a category in three columns, a number and another; the label follows the category with that chance."""
    generator = np.random.default_rng(seed)
    kinds = generator.choice(3, count, p=(0.5, 0.3, 0.2))
    numbers = generator.normal(size=(count, 2)).astype(np.float32)
    labels = np.where(generator.random(count) < follows, kinds, generator.integers(3, size=count))
    inputs = np.concatenate([np.eye(3, dtype=np.float32)[kinds], numbers], axis=1)
    return Examples(inputs=inputs, labels=labels.astype(np.int64))


class ByHeart:
    """A model that is sure of the rows it was given, exactly as they are, and of nothing else."""

    def __init__(self, known):
        self.known = {row.tobytes(): label for row, label in zip(known.inputs, known.labels, strict=True)}

    def logits(self, inputs):
        found = np.zeros((len(inputs), 3), np.float32)
        for place, row in enumerate(inputs):
            if row.tobytes() in self.known:
                found[place, self.known[row.tobytes()]] = 8.0
        return found


class OfTheWorld:
    """A model that says the label is the category, whoever is asked."""

    def logits(self, inputs):
        return 3.0 * inputs[:, :3]


def columns_for(rows):
    return [
        column_of(np.arange(3), rows.inputs, values=5, name="kind"),
        column_of(np.array([3]), rows.inputs, values=5, name="number"),
    ]


def attacked(network, train, held):
    """The category, with a third of the held-out rows left to say how common each is."""
    known = np.arange(len(held) // 3)
    arrays = attribute_fits(network, train, held, asked=ASKED, columns=columns_for(held), known=known, task=Classes())
    return _guessed(arrays, np.arange(3), 0, {})


def test_a_model_that_has_its_rows_by_heart_tells_their_categories():
    train, held = table(300, seed=0), table(300, seed=1)
    found = attacked(ByHeart(train), train, held)
    assert found.members.value == 1.0 and found.p_value < 1e-20
    assert found.others.value == pytest.approx(0.5, abs=0.1) and found.imputed.value < 0.65
    assert found.commonest == pytest.approx(0.5, abs=0.1) and found.values == 3


def test_what_a_model_knows_of_everybody_is_not_held_against_it():
    train, held = table(300, seed=100, follows=0.9), table(300, seed=101, follows=0.9)
    found = attacked(OfTheWorld(), train, held)
    assert found.members.value > 0.85 and found.others.value > 0.85
    assert found.p_value > 0.01
    assert found.imputed.value > 0.8  # trees of held-out rows get it without the model


def test_a_model_that_knows_nothing_leaves_the_commonest_value():
    train, held = table(300, seed=2), table(300, seed=3)
    found = attacked(ByHeart(table(5, seed=9)), train, held)
    assert found.members.value == found.commonest == (train.inputs[:, 0] == 1).mean() and found.p_value > 0.01


@pytest.mark.parametrize("follows", [0.0, 0.9])
def test_the_test_is_wrong_no_oftener_than_it_says(follows):
    """Rows of one law on both sides, where categories are all but as common: each row's own value is no witness."""
    below, runs = 0, 120
    for seed in range(runs):
        train, held = table(100, seed=2 * seed, follows=follows), table(150, seed=2 * seed + 1, follows=follows)
        rows, columns = held.inputs[:50], columns_for(held)[:1]
        fits = {name: columns[0].true(part.inputs) for name, part in (("train", train), ("test", held))}
        of = [OfTheWorld().logits(np.eye(3, 5, dtype=np.float32)).astype(float)] * 2
        scores = [np.log(np.exp(one) / np.exp(one).sum(1, keepdims=True)) for one in of]
        sides = [
            (scores[0][:, train.labels].T, fits["train"]),
            (scores[1][:, held.labels[50:]].T, fits["test"][50:]),
        ]
        known = columns[0].true(rows)
        below += guessed(*sides, known=known, imputed=np.zeros(100, np.int64)).p_value <= 0.1
    assert below <= runs * 0.1 + 3 * np.sqrt(runs * 0.1 * 0.9)


def test_numbers_are_guessed_by_intervals_and_others_as_they_are():
    rows = np.array([[0.0, 5.0]] * 50 + [[float(i), 7.0] for i in range(1, 51)], np.float32)
    number = column_of(np.array([0]), rows, values=4, name="number")
    assert 2 < len(number.candidates) == len(number.edges) + 1 <= 4
    np.testing.assert_array_equal(number.true(rows[:50]), number.true(rows[:1])[0])
    assert set(number.true(rows).tolist()) == set(range(len(number.candidates)))
    for place in range(len(number.candidates)):  # a candidate lies in its own interval
        assert number.true(number.with_value(rows[:1], place)).tolist() == [place]
    two = column_of(np.array([1]), rows, values=4, name="two")
    assert two.candidates.tolist() == [[5.0], [7.0]] and two.true(np.array([[0.0, 6.0]], np.float32)).tolist() == [-1]
    with pytest.raises(DataError, match="one value"):
        column_of(np.array([1]), rows[:50], values=4, name="constant")
    with pytest.raises(DataError, match="50 values"):
        column_of(np.arange(2), np.arange(100, dtype=np.float32).reshape(50, 2), values=4, name="texts")


def test_copies_count_once_and_rows_of_both_sides_not_at_all():
    train, held = table(50, seed=0), table(50, seed=1)
    train = Examples(
        inputs=np.concatenate([train.inputs, train.inputs, held.inputs[:5]]),
        labels=np.concatenate([train.labels, train.labels, held.labels[:5]]),
    )
    own, others = distinct_rows(train, held)
    assert len(own) == 50 and len(others) == 45
    assert not set(others.tolist()) & set(range(5))


def test_rows_that_say_how_common_values_are_are_not_attacked():
    train, held = table(60, seed=0), table(90, seed=1)
    known = np.arange(0, 90, 3)
    found = attribute_fits(
        ByHeart(train), train, held, asked=ASKED, columns=columns_for(held), known=known, task=Classes()
    )
    attacked_too = {row.tobytes() for row in found["known_inputs"]} & {row.tobytes() for row in found["test_inputs"]}
    assert len(found["test_inputs"]) == 60 and len(found["known_inputs"]) == 30 and not attacked_too


def test_of_a_regression_the_loss_is_measured_by_what_is_usual():
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(200, 2)).astype(np.float32)
    inputs[:, 0] = inputs[:, 0] > 0

    class Slope:
        def logits(self, rows):
            return rows[:, :1] * 100.0

    labels = (inputs[:, :1] * 100.0 + generator.normal(size=(200, 1))).astype(np.float32)
    both = [Examples(inputs=inputs[part], labels=labels[part]) for part in (slice(100), slice(100, None))]
    column = Column(places=np.array([0]), candidates=np.array([[0.0], [1.0]], np.float32), edges=np.zeros(0))
    asked = AttributeInference(columns=("flag",))
    nobody = np.zeros(0, np.int64)
    found = attribute_fits(Slope(), *both, asked=asked, columns=[column], known=nobody, task=Regression())
    assert -found["test_fits.0"][np.arange(100), found["test_true.0"]].mean() == pytest.approx(0.5, rel=0.01)
    result = guessed(*[(found[f"{s}_fits.0"], found[f"{s}_true.0"]) for s in ("train", "test")],
                     known=nobody, imputed=np.zeros(100, np.int64))  # fmt: skip
    assert result.members.value == result.others.value == 1.0


def test_too_few_rows_are_no_attack():
    fits, true = np.zeros((20, 2)), np.zeros(20, np.int64)
    with pytest.raises(DataError, match="30 of each are needed"):
        guessed((fits, true), (fits, true), known=true, imputed=true)


def test_a_model_that_gives_no_numbers_is_not_called_clean():
    fits, true = np.zeros((40, 2)), np.zeros(40, np.int64)
    broken = fits.copy()
    broken[3, 1] = np.nan
    for sides in ((broken, fits), (fits, broken)):
        with pytest.raises(DataError, match="is not finite"):
            guessed((sides[0], true), (sides[1], true), known=true, imputed=true)


def test_a_few_rows_are_enough_to_impute_from_and_none_is_made_up():
    """Trees that want twenty rows in a leaf do not split forty, and would say that nothing is known without a model."""
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=(400, 3)).astype(np.float32)
    values = (numbers[:, 1] > 0).astype(np.int64) + (numbers[:, 1] > 1)
    found = imputer(numbers[:40], values[:40])(numbers[40:])
    assert (found == values[40:]).mean() > 0.8
    coins = generator.integers(2, size=400)
    coins[:40] = np.arange(40) < 30
    assert (imputer(numbers[:40], coins[:40])(numbers[40:]) == 1).mean() > 0.6
    assert imputer(numbers[:4], np.ones(4, np.int64))(numbers[4:8]).tolist() == [1, 1, 1, 1]
