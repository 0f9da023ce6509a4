"""Labels of every task from files, what cannot be labels said in a line, and what clients may be skewed by."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trustml.data.dataset import fingerprint
from trustml.data.datasets import load_dataset
from trustml.data.labels import encode, kinds_of
from trustml.errors import DataError, ScenarioError
from trustml.models.layers import Architecture, Dense, Sigmoid
from trustml.models.tasks import Binary, Classes, Labels, Regression
from trustml.models.zoo import mlp
from trustml.scenario.attacks import Attacks, Canaries
from trustml.scenario.check import check_against_data, check_scenario
from trustml.scenario.read import from_plain, read_scenario, set_field, to_plain
from trustml.scenario.ready import find_scenario
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.sources import BreastCancer, Csv, Npz
from trustml.scenario.spec import Scenario

ROWS = 20
PRICES = [100.0 + 10 * row for row in range(ROWS)]


def table(**columns):
    return pd.DataFrame({"a": np.linspace(0, 1, ROWS), **columns})


def csv(tmp_path, frame, label, **settings):
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False, sep=settings.get("separator", ","), decimal=settings.get("decimal", "."))
    return Csv(path=str(path), label=label, **settings)


def test_a_regression_reads_numbers_and_maps_them_by_the_declared_range(tmp_path):
    source = csv(tmp_path, table(price=PRICES), "price")
    plain = load_dataset(source, Regression())
    assert plain.train.labels.dtype == np.float32 and plain.train.labels.shape == (16, 1)
    assert plain.class_names == ("price",)
    both = np.concatenate([plain.train.labels, plain.test.labels])[:, 0]
    assert sorted(both) == PRICES
    scaled = load_dataset(source, Regression(target_range=(100.0, 300.0)))
    np.testing.assert_allclose(scaled.train.labels, (plain.train.labels - 100) / 100 - 1, atol=1e-6)
    assert scaled.preparation.classes == "targets by a given range"
    assert plain.preparation.classes == "targets as they are"
    assert any("reach 290" in warning for warning in plain.warnings)
    assert not scaled.warnings
    assert fingerprint(plain) != fingerprint(scaled)
    low = load_dataset(source, Regression(target_range=(150.0, 300.0)))
    assert any("5 targets are outside of task.target_range" in warning for warning in low.warnings)


def test_targets_follow_the_decimal_mark_of_the_file(tmp_path):
    source = csv(tmp_path, table(price=[price + 0.5 for price in PRICES]), "price", separator=";", decimal=",")
    found = load_dataset(source, Regression())
    assert sorted(np.concatenate([found.train.labels, found.test.labels])[:, 0])[0] == 100.5


@pytest.mark.parametrize(
    ("labels", "task", "told"),
    [
        ([*PRICES[:-1], None], Regression(), "1 targets are missing"),
        ([*PRICES[:-1], "much"], Regression(), "target 'much' at row 19 is no number"),
        ([5.0] * ROWS, Regression(), "all targets are 5"),
        (["a", "b", "c", "d"] * 5, Binary(), "4 classes .* Binary"),
        ([0.5, 1.5] * 10, Classes(), "set task to Regression"),
    ],
)
def test_what_is_no_label_of_the_task_is_told_in_a_line(tmp_path, labels, task, told):
    with pytest.raises(DataError, match=told):
        load_dataset(csv(tmp_path, table(price=labels), "price"), task)


def test_several_columns_are_labels_that_hold_or_do_not(tmp_path):
    frame = table(rain=[0, 1] * 10, wind=["yes", "no"] * 5 + ["yes"] * 10)
    found = load_dataset(csv(tmp_path, frame, ("rain", "wind")), Labels())
    assert found.class_names == ("rain", "wind") and found.feature_names == ("a",)
    assert found.train.labels.dtype == np.float32 and found.train.labels.shape == (16, 2)
    both = np.concatenate([found.train.labels, found.test.labels])
    assert both.sum(axis=0).tolist() == [10, 15]
    with pytest.raises(DataError, match="label 'wind' is 'storm' at row 0"):
        load_dataset(csv(tmp_path, frame.assign(wind=["storm"] * ROWS), ("rain", "wind")), Labels())
    with pytest.raises(DataError, match="label 'wind' is 'nan' at row 3"):
        load_dataset(csv(tmp_path, frame.assign(wind=[1, 0, 1, None] * 5), ("rain", "wind")), Labels())
    with pytest.raises(DataError, match="'wind' is the same in all rows"):
        load_dataset(csv(tmp_path, frame.assign(wind=[1] * ROWS), ("rain", "wind")), Labels())


def test_arrays_hold_labels_of_two_axes(tmp_path):
    path = tmp_path / "x.npz"
    labels = np.stack([np.arange(ROWS) % 2, np.arange(ROWS) % 3 == 0], axis=1)
    np.savez(path, inputs=np.zeros((ROWS, 3), np.float32), labels=labels)
    found = load_dataset(Npz(path=str(path)), Labels())
    assert found.class_names == ("label 0", "label 1")
    with pytest.raises(DataError, match=r"2 labels an example; name one, or set task to Labels\(\)"):
        load_dataset(Npz(path=str(path)), Classes())


def test_one_logit_knows_the_same_two_classes():
    two, one = load_dataset(BreastCancer()), load_dataset(BreastCancer(), Binary())
    assert one.class_names == two.class_names
    np.testing.assert_array_equal(one.train.labels[:, 0], two.train.labels)
    np.testing.assert_array_equal(one.train.inputs, two.train.inputs)


def test_clients_are_skewed_by_tenths_of_the_target_or_combinations_of_labels():
    train, test = np.arange(100, dtype=np.float32)[:, None], np.array([[-5.0], [205.0]], np.float32)
    kinds = kinds_of(Regression(), train, test, names=("price",))
    assert np.bincount(kinds.train).tolist() == [10] * 10 and kinds.test.tolist() == [0, 9]
    assert len(kinds.names) == 10 and kinds.names[0] == "below 9.9"
    labels = np.array([[0, 1], [1, 1], [0, 0], [0, 1]], np.float32)
    kinds = kinds_of(Labels(), labels[:3], labels[3:], names=("rain", "wind"))
    assert [kinds.names[k] for k in kinds.train] == ["wind", "rain + wind", "none"]
    assert [kinds.names[k] for k in kinds.test] == ["wind"]
    flat = kinds_of(Regression(), np.ones((9, 1), np.float32), np.ones((1, 1), np.float32), names=("price",))
    assert len(flat.names) == len(set(flat.names)) and flat.train.max() < len(flat.names)


def test_classes_are_encoded_as_ever():
    labels = np.array(["b", "a", "b"])
    assert encode(Classes(), labels, "x").values.tolist() == [1, 0, 1]
    assert encode(Classes(), labels[:, None], "x").names == ("a", "b")


ENDED = Architecture(layers=(Dense(units=1), Sigmoid()))


def scenario(**fields):
    given = {"data": Csv(path="t.csv", label="y"), "model": mlp([4], classes=1), "training": (Plain(),)} | fields
    return Scenario(name="s", **given)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"task": Regression(target_range=(3.0, 3.0))}, r"task.target_range: 3.0 is not below 3.0"),
        ({"task": Labels()}, r"data.label: names 1 for task Labels"),
        ({"data": Csv(path="t", label=("a", "b")), "task": Regression()}, r"data.label: names 2 for task Regression"),
        ({"data": Csv(path="t", label=()), "task": Labels()}, r"data.label: \[\] is empty"),
        (
            {
                "task": Regression(),
                "training": (DPSGD(epsilon=1.0),),
                "attacks": Attacks(canaries=(Canaries(kind="mislabelled"),)),
            },
            r"attacks.canaries.0.kind: 'mislabelled' takes its targets from the ends of the declared range",
        ),
    ],
)
def test_tasks_that_cannot_work_are_told_before_anything_runs(fields, told):
    with pytest.raises(ScenarioError, match=told):
        check_scenario(scenario(**fields))


@pytest.mark.parametrize(
    ("fields", "classes", "told"),
    [
        ({"task": Regression(), "model": mlp([4], classes=2)}, 1, "the task is regression.*; end with Dense.units=1"),
        ({"task": Binary(), "model": mlp([4], classes=2)}, 2, r"2 classes by one output; end with Dense\(units=1\)"),
        ({"task": Binary(class_weights=(1.0, 2.0, 3.0))}, 2, "task.class_weights: 3 weights do not go with 2 classes"),
        ({"model": mlp([4], classes=2)}, 3, "but the data has 3 classes; end with Dense"),
        ({"task": Binary(), "model": ENDED}, 2, r"model.layers.1: is a Sigmoid, .* reads logits.*; end with the layer"),
    ],
)
def test_outputs_and_weights_go_with_the_task(fields, classes, told):
    with pytest.raises(ScenarioError, match=told):
        check_against_data(scenario(**fields), input_shape=(3,), classes=classes, train_examples=500, test_examples=100)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("task.class_weights=balanced", "task.class_weights: 'balanced' is no list; give public constants"),
        ("training.1.sampling=weighted", "training.1.sampling: 'weighted' .* none is weighted"),
        ("task.kind=Ranking", "task.kind: 'Ranking' is not one of the choices; choose one of Classes, Binary"),
        ("task.class_weights=[0, 1]", "task.class_weights.0: 0 is not positive"),
    ],
)
def test_weighting_by_the_data_is_refused_by_name(override, told):
    from trustml.scenario.read import every_field

    data = every_field(scenario(training=(Plain(), DPSGD(epsilon=1.0, name="private"))))
    set_field(data, override)
    with pytest.raises(ScenarioError, match=told):
        from_plain(data)


def test_a_task_survives_a_file(tmp_path):
    for task in (Regression(loss="huber", target_range=(0.0, 5.0)), Labels(class_weights=(1.0, 2.0)), Binary()):
        assert from_plain(to_plain(scenario(task=task))).task == task


def test_the_ready_regression_reads_the_real_file(real_data):
    ready = read_scenario(find_scenario("housing"))
    check_scenario(ready)
    found = load_dataset(ready.data, ready.task)
    assert (len(found.train), len(found.test), found.class_names) == (16_512, 4_128, ("median_house_value",))
    assert found.train.labels.max() == 1.0 and found.train.labels.min() > -1.0
    assert not [warning for warning in found.warnings if "target" in warning]


@pytest.mark.parametrize("task", [Classes(), Binary(), Regression()], ids=repr)
def test_no_rows_are_no_labels(task):
    with pytest.raises(DataError, match="holds no examples"):
        encode(task, np.array([], dtype=object), "x")


def test_targets_that_float32_cannot_tell_apart_are_told(tmp_path):
    source = csv(tmp_path, table(price=[1.7e9 + price for price in PRICES]), "price")
    assert any("float32 cannot tell all targets apart" in one for one in load_dataset(source, Regression()).warnings)
    scaled = load_dataset(source, Regression(target_range=(1.7e9, 1.7e9 + 300)))
    assert not any("float32" in one for one in scaled.warnings)


def test_numbers_of_classes_that_float64_cannot_tell_apart_stay_text(tmp_path):
    found = load_dataset(csv(tmp_path, table(price=["9007199254740992", "9007199254740993"] * 10), "price"))
    assert found.class_names == ("9007199254740992", "9007199254740993")
