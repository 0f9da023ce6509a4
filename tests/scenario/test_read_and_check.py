"""Bad scenarios give one line with field, value and fix; good ones survive the round trip."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustml.errors import ScenarioError, UsageError
from trustml.models.layers import Architecture, Dense, Dropout, Flatten
from trustml.models.tasks import NextToken
from trustml.models.transformers import decoder, encoder
from trustml.scenario.attacks import Attacks, Canaries, MembershipInference
from trustml.scenario.check import check_against_data, check_scenario
from trustml.scenario.read import from_plain, read_scenario, set_field, to_plain
from trustml.scenario.regimes import Plain
from trustml.scenario.sources import Digits, Text
from trustml.scenario.spec import Scenario

SCENARIOS = sorted((Path(__file__).resolve().parents[2] / "scenarios").glob("*.py"))
DIGITS = Path(__file__).resolve().parents[2] / "scenarios" / "digits.py"
SIZES = {"input_shape": (8, 8, 1), "classes": 10, "train_examples": 1438, "test_examples": 359}


def checked(*overrides: str) -> list[str]:
    scenario = read_scenario(DIGITS, overrides=overrides)
    check_scenario(scenario)
    return check_against_data(scenario, **SIZES)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_ready_scenarios_survive_the_round_trip(path):
    scenario = read_scenario(path)
    check_scenario(scenario)
    assert from_plain(to_plain(scenario)) == scenario


def test_a_toml_file_of_the_same_data_is_the_same_scenario(tmp_path):
    (tmp_path / "s.toml").write_text(
        'name = "s"\nseeds = [1, 2]\n[data]\nkind = "Digits"\n'
        '[model]\n[[model.layers]]\nkind = "Flatten"\n[[model.layers]]\nkind = "Dense"\nunits = 10\n'
        '[[training]]\nkind = "DPSGD"\nepsilon = 2.0\n[training.optimizer]\nlearning_rate = 0.5\n'
    )
    scenario = read_scenario(tmp_path / "s.toml", overrides=["explanations.examples=5"])
    assert scenario.model == Architecture(layers=(Flatten(), Dense(units=10)))
    assert (scenario.training[0].epsilon, scenario.training[0].optimizer.learning_rate) == (2.0, 0.5)
    assert (scenario.seeds, scenario.explanations.examples) == ((1, 2), 5)


@pytest.mark.parametrize(
    ("override", "field", "words"),
    [
        ("training.1.epsilonn=3", "training.1.epsilonn", "did you mean epsilon?"),
        ("nonsense=3", "nonsense", "training"),
        ("training.0.epochs=1.5", "training.0.epochs", "1.5"),
        ("training.0.kind=Foo", "training.0.kind", "FedAvg"),
        ("model.layers.0.kind=Conv3", "model.layers.0.kind", "Conv2D"),
        ("data.kind=Mnist", "data.kind", "Digits"),
        ("backends=['torhc']", "backends.0", "torch"),
        ("seeds=3", "seeds", "[3]"),
        ("seeds=[]", "seeds", "empty"),
        ("seeds=[1, 1]", "seeds", "repeats"),
        ("seeds=[-1]", "seeds.0", "negative"),
        ("name='a/b'", "name", "letters"),
        ("training=[]", "training", "empty"),
        ("training.1.epsilon=0", "training.1.epsilon", "above 0"),
        ("training.1.epsilon=nan", "training.1.epsilon", "finite"),
        ("training.1.noise_multiplier=1.0", "training.1.epsilon", "exactly one"),
        ("training.1.delta=0", "training.1.delta", "1/n"),
        ("training.1.delta=1.0", "training.1.delta", "1/n"),
        ("training.1.clipping_norm=0", "training.1.clipping_norm", "above 0"),
        ("training.1.clipping_norm=inf", "training.1.clipping_norm", "finite"),
        ("training.1.sampling=sorted", "training.1.sampling", "poisson"),
        ("training.1.mechanism.kind=tree", "training.1.sampling", 'sampling="in turn"'),
        ("training.1.mechanism={kind='banded', bands=0}", "training.1.mechanism.bands", "above 0"),
        ("training.1.mechanism={kind='blt', buffers=-1}", "training.1.mechanism.buffers", "above 0"),
        ("training.1.mechanism.kind=trees", "training.1.mechanism.kind", "banded"),
        ("training.0.optimizer.learning_rate=-0.1", "training.0.optimizer.learning_rate", "-0.1"),
        ("training.0.optimizer.momentum=1.0", "training.0.optimizer.momentum", "momentum < 1"),
        ("training.0.name=DPSGD", "training.0.name", "two regimes"),
        ("training.0.name='a b'", "training.0.name", "letters"),
        ("training.2.partition_=3", "training.2.partition_", "did you mean partition?"),
        ("training.2.clients=20", "training.2.clients", "unknown"),
        ("training.2.partition.clients=0", "training.2.partition.clients", "above 0"),
        ("training.2.partition.kind=uneven", "training.2.partition.kind", "dirichlet"),
        ("training.1.batch_size=1439", "training.1.batch_size", "1438"),
        ("training.2.rounds=0", "training.2.rounds", "above 0"),
        ("data.test_fraction=1.0", "data.test_fraction", "0 < test_fraction < 1"),
        ("model.layers.8.units=9", "model.layers.8", "Dense(units=10)"),
        ("model.layers.5.kind=ReLU", "model.layers.6", "Flatten"),
        ("model.layers.0.kernel=[9, 11]", "model.layers.0", "smaller window"),
        ("model.layers.0.padding=[[-1, 0], [0, 0]]", "model.layers.0.padding", "negative"),
        ("model.layers.4.padding=[[2, 0], [0, 0]]", "model.layers.4.padding", "less than the window"),
        ("model.layers=[]", "model.layers", "empty"),
        ("explanations.examples=360", "explanations.examples", "359"),
        ("explanations.methods.0.n_steps=1", "explanations.methods.0.n_steps", "2 or more"),
        (
            "explanations.methods.0.max_completeness_error=1.0",
            "explanations.methods.0.max_completeness_error",
            "0 <= x < 1",
        ),
        (
            "explanations.methods.0.max_completeness_error=-0.1",
            "explanations.methods.0.max_completeness_error",
            "0 for",
        ),
        ("explanations.methods.0.baseline=nan", "explanations.methods.0.baseline", "finite"),
        ("explanations.methods.0.name='a b'", "explanations.methods.0.name", "letters"),
        ("explanations.target=10", "explanations.target", "0 to 9"),
        ("explanations.target=largest", "explanations.target", "predicted"),
        ("explanations.probes.radius=0", "explanations.probes.radius", "above 0"),
        ("training.0.stop_at=Nobody", "training.0.stop_at", "DPSGD"),
        ("explanations.scope=every", "explanations.scope", "reference"),
        ("execution.timeout=0", "execution.timeout", "above 0"),
        ("execution.threads=-1", "execution.threads", "negative"),
        ("execution.device=gpu", "execution.device", "cuda"),
        ("training.9.epochs=1", "training.9", "0 to 2"),
        ("name.x=1", "name.x", "above it"),
        ("training.0.augmentation={shift=8}", "training.0.augmentation.shift", "use 7 or less"),
        ("training.0.augmentation={multiplicity=1000000000}", "training.0.augmentation.multiplicity", "1024 or less"),
        ("training.1.augmentation={shift=9}", "training.1.augmentation.shift", "out of sight"),
        ("training.0.augmentation={border='black'}", "training.0.augmentation.border", "reflect"),
        ("training.1.optimizer=Adam", "training.1.optimizer", 'write {kind = "Adam"}; choose one of SGD, Adam'),
        ("training.1.mechanism=banded", "training.1.mechanism", 'write {kind = "banded"}'),
    ],
)
def test_a_bad_field_is_named_with_its_fix(override, field, words):
    with pytest.raises(ScenarioError) as caught:
        checked(override)
    assert caught.value.field == field
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_neither_epsilon_nor_noise_is_refused():
    data = to_plain(read_scenario(DIGITS))
    del data["training"][1]["epsilon"]
    with pytest.raises(ScenarioError, match="neither"):
        check_scenario(from_plain(data))


def test_a_large_delta_is_a_warning_and_no_error():
    (warning,) = checked("training.1.delta=0.001")
    assert "training.1.delta" in warning and "1/n" in warning


def test_dropout_needs_a_single_backend():
    layers = (Flatten(), Dropout(rate=0.5), Dense(units=10))
    data = to_plain(read_scenario(DIGITS)) | {"model": to_plain_layers(layers)}
    with pytest.raises(ScenarioError, match=r"model\.layers\.1.*different masks"):
        check_scenario(from_plain(data))
    check_scenario(from_plain(data | {"backends": ["jax"]}))


def to_plain_layers(layers: tuple) -> dict:
    import msgspec

    return msgspec.json.decode(msgspec.json.encode(Architecture(layers=layers)))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "name = ", "TOML"),
        ("a.py", "scenario = 3", "scenario = Scenario"),
        ("a.py", "1 / 0", "ZeroDivisionError"),
        ("a.yaml", "", ".toml"),
    ],
)
def test_a_file_that_is_no_scenario(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=words):
        read_scenario(tmp_path / name)
    with pytest.raises(UsageError, match="no such"):
        read_scenario(tmp_path / "none.toml")


def test_an_override_needs_an_equals_sign():
    with pytest.raises(UsageError, match="FIELD=VALUE"):
        set_field({}, "training.1.epsilon")


def test_data_paths_are_relative_to_the_scenario(tmp_path):
    (tmp_path / "s.toml").write_text(
        'name = "s"\n[data]\nkind = "Csv"\npath = "d.csv"\nlabel = "y"\n'
        '[[model.layers]]\nkind = "Dense"\nunits = 2\n[[training]]\nkind = "Plain"\n'
    )
    assert read_scenario(tmp_path / "s.toml").data.path == str(tmp_path / "d.csv")


def test_a_completeness_error_is_read_and_not_averaged_over_noise():
    scenario = read_scenario(DIGITS, overrides=["explanations.methods.0.max_completeness_error=0.01"])
    check_scenario(scenario)
    assert scenario.explanations.methods[0].max_completeness_error == 0.01
    noisy = "{kind = 'SmoothGrad', of = {kind = 'IntegratedGradients', max_completeness_error = 0.01}}"
    with pytest.raises(ScenarioError, match="same points for all samples"):
        checked(f"explanations.methods=[{noisy}]")


TEXTS = {"input_shape": (6,), "classes": 258, "train_examples": 90, "test_examples": 90}


def of_texts(**changed) -> Scenario:
    given = {
        "name": "t",
        "data": Text(path="t.csv", length=6),
        "task": NextToken(),
        "model": decoder(vocabulary=258, width=8, heads=2, blocks=1),
        "training": (Plain(batch_size=1),),
    }
    return Scenario(**given | changed)


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"data": Digits()}, "task", "use data=Text"),
        ({"attacks": Attacks(canaries=(Canaries(kind="blank"),))}, "attacks.canaries.0.kind", "natural"),
        ({"model": decoder(vocabulary=200, width=8, heads=2, blocks=1)}, "model.layers.15", "the next of 258 tokens"),
        ({"model": encoder(vocabulary=258, classes=258, width=8)}, "model.layers.29", "Dense, of 258 at each step"),
    ],
)
def test_what_has_no_next_token_is_refused(changed, field, words):
    with pytest.raises(ScenarioError) as caught:
        scenario = of_texts(**changed)
        check_scenario(scenario)
        check_against_data(scenario, **TEXTS)
    assert caught.value.field == field and words in str(caught.value)


def test_texts_with_a_decoder_pass():
    scenario = of_texts(attacks=Attacks(membership=MembershipInference(shadow_models=0)))
    check_scenario(scenario)
    assert from_plain(to_plain(scenario)) == scenario
    assert check_against_data(scenario, **TEXTS) == []
