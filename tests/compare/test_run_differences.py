"""In what runs differ, field by field, and that nothing else is said."""

from __future__ import annotations

import io

from msgspec.structs import replace
from rich.console import Console

from trustml import DPSGD, SGD, Attacks, Csv, Digits, Game, Plain, Scenario
from trustml.compare.run_differences import fields_of, run_differences
from trustml.models.zoo import mlp, small_cnn
from trustml.record.schema import DataRecord, Manifest
from trustml.report.tables import print_differences
from trustml.scenario.read import to_plain

DATA = DataRecord(
    fingerprint="a" * 64, train_examples=9, test_examples=3, input_shape=(8, 8, 1), class_names=("a", "b")
)
PLAIN, PRIVATE = Plain(epochs=3), DPSGD(epsilon=8.0)


def manifest(scenario: Scenario, run: str = "one", **fields) -> Manifest:
    known = {"versions": {"jax": "0.9"}, "hardware": {"cores": "2"}, "data": DATA} | fields
    return Manifest(run=run, status="success", created="", scenario=to_plain(scenario), jobs=(), **known)


def scenario(**fields) -> Scenario:
    known = {"name": "x", "data": Digits(), "model": small_cnn(), "training": (PLAIN, PRIVATE)} | fields
    return Scenario(**known)


def told(*manifests: Manifest) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.part, one.field, one.values) for one in run_differences(manifests)]


def test_the_same_question_has_no_difference_whatever_it_is_called():
    assert told(manifest(scenario()), manifest(scenario(name="y", description="z"))) == []


def test_one_field_is_one_difference():
    other = scenario(training=(PLAIN, replace(PRIVATE, epsilon=1.0)))
    assert told(manifest(scenario()), manifest(other)) == [("scenario", "training.DPSGD.epsilon", ("8", "1"))]


def test_a_regime_more_is_one_difference_and_shifts_no_other():
    other = scenario(training=(Plain(name="Slow", optimizer=SGD(learning_rate=0.01)), PLAIN, PRIVATE))
    assert told(manifest(scenario()), manifest(other)) == [("scenario", "training.Slow", ("-", "Plain"))]


def test_what_is_empty_is_no_difference_to_a_field_that_others_do_not_have():
    table = Csv(path="t.csv", label="y", ranges={"age": (0.0, 120.0)})
    found = {field: values for _, field, values in told(manifest(scenario()), manifest(scenario(data=table)))}
    assert not {"data.drop", "data.test_path", "data.hashing"} & set(found)
    assert found["data.label"] == ("-", "y") and found["data.ranges"] == ("-", "age: [0, 120]")
    older = manifest(scenario())
    older.scenario.pop("slices")
    assert told(older, manifest(scenario())) == []
    assert [field for _, field, _ in told(older, manifest(scenario(slices=("sex",))))] == ["slices"]


def test_what_has_no_name_is_told_by_what_it_holds():
    games = [scenario(attacks=Attacks(games=(Game(trials=trials),))) for trials in (1_000, 2_000)]
    assert [field for _, field, _ in told(*map(manifest, games))] == ["attacks.games.0.trials"]
    ((_, field, values),) = told(manifest(scenario(attacks=Attacks())), manifest(games[0]))
    assert field == "attacks.games" and values[0] == "[]" and "trials: 1000" in values[1]


def test_fields_that_hold_something_are_listed_with_it():
    found = dict(fields_of(to_plain(scenario(seeds=(0, 1)))))
    assert found["training.DPSGD.epsilon"] == "8" and found["data.kind"] == "Digits" and found["seeds"] == "[0, 1]"
    assert found["model.layers"].startswith("Conv2D(16)") and "slices" not in found


def test_regimes_that_some_runs_have_are_compared_among_them():
    three = [scenario(), scenario(training=(PLAIN,)), scenario(training=(PLAIN, replace(PRIVATE, epsilon=1.0)))]
    assert told(*map(manifest, three)) == [
        ("scenario", "training.DPSGD", ("DPSGD", "-", "DPSGD")),
        ("scenario", "training.DPSGD.epsilon", ("8", "-", "1")),
    ]


def test_models_are_told_by_their_layers():
    ((part, field, values),) = told(manifest(scenario()), manifest(scenario(model=mlp([32], classes=10))))
    assert (part, field) == ("scenario", "model.layers")
    assert values[0].startswith("Conv2D(16) ReLU Conv2D(32)") and values[1] == "Dense(32) ReLU Dense(10)"


def test_what_looks_the_same_when_shortened_is_told_whole():
    wide = replace(small_cnn().layers[0], kernel=(5, 5), padding=((2, 2), (2, 2)))
    other = replace(small_cnn(), layers=(wide, *small_cnn().layers[1:]))
    found = told(manifest(scenario()), manifest(scenario(model=other)))
    assert [field for _, field, _ in found] == ["model.layers.0.kernel", "model.layers.0.padding"]
    close = [replace(PRIVATE, noise_multiplier=value, epsilon=None) for value in (0.1234567, 0.12345674)]
    ((_, field, values),) = told(*(manifest(scenario(training=(PLAIN, one))) for one in close))
    assert field == "training.DPSGD.noise_multiplier" and values == ("0.1234567", "0.12345674")


def test_a_record_that_holds_no_model_is_compared_all_the_same():
    odd = manifest(scenario())
    for model in (None, {"layers": ["x"]}, {"layers": None}):
        assert told(odd, replace(odd, scenario={**odd.scenario, "model": model}))


def test_data_versions_and_machine():
    other = manifest(
        scenario(),
        versions={"jax": "0.10", "torch": "2.13"},
        hardware={"cores": "4"},
        data=replace(DATA, fingerprint="b" * 64, train_examples=10),
    )
    assert told(manifest(scenario()), other) == [
        ("data", "sha256", ("a" * 16, "b" * 16)),
        ("data", "training examples", ("9", "10")),
        ("versions", "jax", ("0.9", "0.10")),
        ("versions", "torch", ("-", "2.13")),
        ("machine", "cores", ("2", "4")),
    ]


def printed(*manifests: Manifest) -> str:
    out = io.StringIO()
    print_differences(Console(file=out, width=150), manifests, run_differences(manifests))
    return out.getvalue()


def test_they_are_printed_before_all_else_and_not_of_one_run():
    assert printed(manifest(scenario())) == ""
    assert printed(manifest(scenario()), manifest(scenario())).startswith("asked the same")
    text = printed(manifest(scenario()), manifest(scenario(seeds=(0, 1)), run="two"))
    assert "in what the runs differ" in text and "seeds" in text and "two" in text
