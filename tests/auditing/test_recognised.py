"""Models of many libraries: asked rightly, or refused with the line that makes them one; no part of an input is lost.

Doubles stand for libraries that are not installed here: what is recognised is the name of a class and its module.
"""

from __future__ import annotations

import io
import json
import types
import zipfile

import numpy as np
import pandas as pd
import pytest

import trustml
from trustml.auditing import recognised
from trustml.auditing.examples import given
from trustml.auditing.identity import identity_of
from trustml.auditing.models import JaxModel, target_of
from trustml.cli.main import _main
from trustml.errors import DataError, UsageError
from trustml.models.keras_files import why_not_keras

GENERATOR = np.random.default_rng(0)
TOKENS = {"input_ids": GENERATOR.integers(0, 9, (40, 5)), "attention_mask": GENERATOR.integers(0, 2, (40, 5))}
LABELS = np.arange(40) % 2


def double(package: str, name: str, *bases: type, **members) -> type:
    """A class that says it comes from that module of a library."""
    return type(name, bases or (object,), {"__module__": package, **members})


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (double("haiku._src.transform", "Transformed", tuple), "transformed.apply(params, None, x)"),
        (double("haiku._src.transform", "TransformedWithState", tuple), "apply(params, state, None, x)[0]"),
        (double("flax.linen.module", "Module", __call__=lambda self, x: x), "module.apply, variables"),
        (double("torch.export.exported_program", "ExportedProgram", __call__=lambda self, x: x), "program.module()"),
        (double("xgboost.core", "Booster"), "xgboost.DMatrix(x)"),
    ],
)
def test_what_is_not_yet_a_model_is_told_its_line(kind, line):
    model = kind((len, len)) if issubclass(kind, tuple) else kind()
    for given_as in (model, (model, {"w": np.ones(3)})):
        with pytest.raises(UsageError) as caught:
            target_of(given_as)
        assert line in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_flax_module_that_is_bound_to_its_parameters_is_asked():
    bound = double("flax.linen.module", "Module", __call__=lambda self, x: x * 3, scope=object())()
    np.testing.assert_array_equal(target_of(bound).ask(np.ones(2)), 3)


def test_a_booster_of_lightgbm_gives_its_probabilities():
    booster = double("lightgbm.basic", "Booster", predict=lambda self, inputs: 1 / (1 + np.exp(-inputs[:, 0])))()
    target = target_of(booster)
    assert target.kind == "LightGBM Booster"
    np.testing.assert_allclose(target.ask(np.zeros((3, 2, 2))), 0.5)


@pytest.mark.jax
def test_a_keras_3_model_on_jax_is_asked_by_its_stateless_call_with_gradients(monkeypatch):
    keras = types.SimpleNamespace(__version__="3.9.0", config=types.SimpleNamespace(backend=lambda: "jax"))
    monkeypatch.setitem(recognised.sys.modules, "keras", keras)
    variable, mean = types.SimpleNamespace(value=np.float32([[2.0, 1.0]])), types.SimpleNamespace(value=np.float32(3))

    def stateless_call(self, trained, other, inputs, training):
        assert training is False
        return (inputs - other[0]) @ trained[0], other

    kind = double(
        "keras.src.models.functional",
        "Functional",
        double("keras.src.models.model", "Model"),
        trainable_variables=[variable],
        non_trainable_variables=[mean],
        stateless_call=stateless_call,
    )
    target = target_of(kind())
    np.testing.assert_allclose(target.ask(np.float32([[4.0]])), [[2.0, 1.0]])
    gradient = target.live.input_gradients(np.float32([[4.0]]), np.array([0]))
    np.testing.assert_allclose(gradient, [[2.0]])
    with pytest.raises(UsageError, match="which a Functional is not given"):
        target_of(kind(), parts=("input_ids", "attention_mask"))
    keras.config.backend = lambda: "openvino"
    plain = kind()
    type(plain).__call__ = lambda self, inputs, training: inputs + 1
    assert target_of(plain).kind == "Keras model on openvino"
    np.testing.assert_array_equal(target_of(plain).ask(np.zeros((2, 2))), 1)


def test_an_nnx_module_is_asked_and_told_how_its_gradients_are_had():
    module = double("flax.nnx.module", "Module", __call__=lambda self, inputs: inputs * 2)()
    target = target_of(module)
    assert "nnx.split" in target.without_gradients
    np.testing.assert_array_equal(target.ask(np.ones(3)), 2)


@pytest.mark.torch
def test_a_module_of_torch_export_is_asked_though_it_has_no_modes():
    import torch

    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh()).eval()
    dynamic = ({0: torch.export.Dim("n")},)
    program = torch.export.export(network, (torch.zeros(2, 4),), dynamic_shapes=dynamic)
    inputs = GENERATOR.normal(size=(7, 4)).astype(np.float32)
    found = target_of(program.module()).ask(inputs)
    np.testing.assert_allclose(found, network(torch.from_numpy(inputs)).detach().numpy(), atol=1e-6)
    with pytest.raises(UsageError, match=r"audit `program\.module\(\)`"):
        target_of(program)


def test_a_mask_of_bool_is_refused_as_it_would_become_whole_numbers():
    parts = {**TOKENS, "attention_mask": TOKENS["attention_mask"].astype(bool)}
    with pytest.raises(DataError, match=r"part 'attention_mask' holds bool, .*give it as 0 and 1"):
        given((parts, LABELS), field="train")


def masked_mean(input_ids, attention_mask):
    return (input_ids * attention_mask).sum(1) / attention_mask.sum(1).clip(1)


def test_an_attention_mask_reaches_the_model_with_the_tokens():
    examples = given((TOKENS, LABELS), field="train")
    assert examples.parts == ("input_ids", "attention_mask") and examples.inputs.shape == (40, 2, 5)
    expected = masked_mean(**TOKENS)

    def answer(parts):
        assert set(parts) == set(TOKENS)
        return masked_mean(**parts)

    np.testing.assert_allclose(target_of(answer, parts=examples.parts).ask(examples.inputs), expected)
    with pytest.raises(UsageError, match="input_ids, attention_mask, which a Stuck is not given"):
        target_of(double("x", "Stuck", __call__=lambda self, x: x)(), parts=examples.parts)
    for name in ("mapping of lists", "floats", "other lengths"):
        parts = {
            "mapping of lists": {key: part.tolist() for key, part in TOKENS.items()},
            "floats": {**TOKENS, "attention_mask": TOKENS["attention_mask"].astype(float)},
            "other lengths": {**TOKENS, "attention_mask": TOKENS["attention_mask"][:, :3]},
        }[name]
        if name == "mapping of lists":
            np.testing.assert_array_equal(given((parts, LABELS), field="train").inputs, examples.inputs)
            continue
        with pytest.raises(DataError, match="of one shape"):
            given((parts, LABELS), field="train")
    other = {"input_ids": TOKENS["input_ids"]}
    with pytest.raises(DataError, match="its parts are"):
        trustml.audit(lambda parts: parts, train=(TOKENS, LABELS), holdout=(other, LABELS))


@pytest.mark.torch
@pytest.mark.jax
def test_a_torch_module_and_a_jax_function_get_every_part_by_its_name():
    import torch

    class Reader(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(9, 2)

        def forward(self, input_ids, attention_mask=None):
            assert attention_mask is not None
            return (self.table(input_ids) * attention_mask[..., None]).sum(1)

    examples, module = given((TOKENS, LABELS), field="train"), Reader()
    table = module.table.weight.detach().numpy()
    expected = (table[TOKENS["input_ids"]] * TOKENS["attention_mask"][..., None]).sum(1)
    target = target_of(module, parts=examples.parts)
    found = target.ask(examples.inputs)
    assert identity_of(target, parts=examples.parts).sha256 == identity_of(target_of(module)).sha256
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

    def function(params, parts):
        return (params[parts["input_ids"]] * parts["attention_mask"][..., None]).sum(1)

    jax_model = target_of(JaxModel(function, table), parts=examples.parts)
    np.testing.assert_allclose(jax_model.ask(examples.inputs), expected, rtol=1e-5, atol=1e-6)


def test_examples_in_a_file_keep_their_mask(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reader.py").write_text(
        "def model(parts):\n    ids, mask = parts['input_ids'], parts['attention_mask']\n"
        "    from numpy import stack\n    p = (ids * mask).sum(1) / 100\n    return stack([1 - p, p], axis=1)\n"
    )
    np.savez(tmp_path / "t.npz", labels=LABELS, **TOKENS)
    np.savez(tmp_path / "h.npz", labels=LABELS, **{name: part[:, ::-1] for name, part in TOKENS.items()})
    np.savez(tmp_path / "odd.npz", labels=LABELS, inputs=TOKENS["input_ids"], attention_mask=TOKENS["attention_mask"])
    mapped = {"inputs": TOKENS["input_ids"], "attention_masks": TOKENS["attention_mask"]}
    np.savez(tmp_path / "masks.npz", labels=LABELS, **mapped)
    np.savez(tmp_path / "types.npz", labels=LABELS, inputs=TOKENS["input_ids"], token_type_ids=TOKENS["input_ids"])
    asked = ["audit", "reader:model", "--train", "t.npz", "--holdout"]
    assert _main([*asked, "odd.npz"]) == 2
    assert "call the inputs input_ids" in capsys.readouterr().err
    for name, array in (("masks", "attention_masks"), ("types", "token_type_ids")):
        assert _main([*asked, f"{name}.npz"]) == 2
        assert f"holds {array} beside inputs" in capsys.readouterr().err
    assert _main([*asked, "h.npz", "--checks", "performance"]) == 0
    assert "probabilities" in capsys.readouterr().out


def test_what_a_model_says_gives_no_order_to_the_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shouting.py").write_text("def model(inputs):\n    raise ValueError('\\x1b[2Jgone')\n")
    for name in ("t", "h"):
        np.savez(tmp_path / f"{name}.npz", labels=LABELS, inputs=GENERATOR.random((40, 3)))
    asked = ["audit", "shouting:model", "--train", "t.npz", "--holdout", "h.npz", "--checks", "performance"]
    assert _main(asked) == 2
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err and r"\x1b[2Jgone" in said.err


FRAME = pd.DataFrame({"age": np.linspace(0, 1, 40), "old": [i % 2 == 0 for i in range(40)], "n": np.arange(40)})


def test_columns_of_a_table_go_to_the_model_by_name():
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(FRAME, LABELS)
    expected = model.predict_proba(FRAME)
    turned = given((FRAME[["n", "age", "old"]], LABELS), field="train")
    assert turned.columns == ("n", "age", "old")
    audit = trustml.audit(
        model, train=(FRAME[["n", "age", "old"]], LABELS), holdout=(FRAME.assign(n=FRAME.n + 100), LABELS)
    )
    (found,) = [model.train_accuracy for model in audit.record.models]
    assert found == pytest.approx(float((expected.argmax(1) == LABELS).mean()))
    assert target_of(model).columns == ("age", "old", "n")
    with pytest.raises(DataError, match="differ by 'old'"):
        trustml.audit(model, train=(FRAME.rename(columns={"old": "x"}), LABELS), holdout=(FRAME, LABELS))
    with pytest.raises(DataError, match="column 'job' of the table holds"):
        given((FRAME.assign(job="cook"), LABELS), field="train")
    with pytest.raises(DataError, match="one is a table with names"):
        trustml.audit(model, train=(FRAME, LABELS), holdout=(FRAME.to_numpy(float), LABELS))


def test_folders_and_files_of_libraries_are_told_their_two_lines(tmp_path, capsys):
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["BertForSequenceClassification\n"]}))
    assert _main(["audit", str(folder)]) == 2
    told = capsys.readouterr().err
    assert "AutoModelForSequenceClassification.from_pretrained(folder)" in told and len(told.splitlines()) == 1
    with pytest.raises(UsageError, match="is a model of Hugging Face"):
        target_of(str(folder))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("m/models/model.json", "{}")
    (tmp_path / "m.pt2").write_bytes(stream.getvalue())
    assert _main(["audit", str(tmp_path / "m.pt2")]) == 2
    assert "torch.export.load(file).module()" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no such file or folder; load the model"):
        target_of(tmp_path / "nothing.pt")


def test_a_keras_3_file_is_told_its_two_lines():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.9.0"}))
        archive.writestr("model.weights.h5", b"")
    assert "model = keras.saving.load_model(file)" in why_not_keras(stream.getvalue())
