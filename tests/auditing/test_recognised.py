"""Models of many libraries: asked rightly, or refused with the line that makes them one; no part of an input is lost.

Doubles stand for libraries that are not installed here: what is recognised is the name of a class and its module.
"""

from __future__ import annotations

import collections
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
Transform = collections.namedtuple("Transform", ["init", "apply"])
TOKENS = {"input_ids": GENERATOR.integers(0, 9, (40, 5)), "attention_mask": GENERATOR.integers(0, 2, (40, 5))}
LABELS = np.arange(40) % 2


def double(package: str, name: str, *bases: type, **members) -> type:
    """A class that says it comes from that module of a library."""
    return type(name, bases or (object,), {"__module__": package, **members})


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (double("haiku._src.transform", "Transformed", Transform), "JaxModel(transformed.apply, params)"),
        (double("haiku._src.transform", "TransformedWithState", Transform), "transformed.apply, (params, state)"),
        (double("flax.linen.module", "Module", scope=None), "module.apply, variables"),
        (double("flax.training.train_state", "TrainState"), "state.apply_fn({'params': params}, x)"),
        (double("torch.export.exported_program", "ExportedProgram", __call__=lambda self, x: x), "program.module()"),
    ],
)
def test_what_is_not_yet_a_model_is_told_its_line(kind, line):
    model = kind(len, len) if issubclass(kind, tuple) else kind()
    with pytest.raises(UsageError) as caught:
        target_of(model)
    assert line in str(caught.value) and len(str(caught.value).splitlines()) == 1


def haiku_function(function):
    """A function that says Haiku made it."""
    function.__module__ = "haiku._src.transform"
    return function


def with_generator(params, rng, x):
    assert rng is None
    return x @ params


def without_generator(params, x):
    return x @ params


def without_generator_of_two(params, x, rng=None):
    return x @ params


def with_state(params, state, rng, x):
    assert rng is None
    return x @ params * state, state


def with_state_alone(params, state, x):
    return x @ params * state, state


@pytest.mark.jax
@pytest.mark.parametrize(
    "function", [with_generator, without_generator, without_generator_of_two, with_state, with_state_alone]
)
def test_a_function_of_haiku_is_asked_with_its_state_and_without_a_generator(function):
    params, state, inputs = np.ones((4, 2), np.float32), np.float32(3), np.ones((5, 4), np.float32)
    kept = "state" in function.__name__
    apply = haiku_function(function)
    made = double("haiku._src.transform", f"Transformed{'WithState' if kept else ''}", Transform)(len, apply)
    for one in (apply, made):
        for model in ((one, (params, state) if kept else params), JaxModel(one, (params, state) if kept else params)):
            target = target_of(model)
            assert target.kind == "Haiku transform"
            np.testing.assert_allclose(target.ask(inputs), np.full((5, 2), 12.0 if kept else 4.0))
    gradient = target.live.input_gradients(inputs, np.zeros(5, int))
    np.testing.assert_allclose(gradient, np.full((5, 4), 3.0 if kept else 1.0))
    if kept:
        with pytest.raises(UsageError, match=r"with a state, .*audit `.*\(params, state\)\)`"):
            target_of((apply, params))


@pytest.mark.jax
def test_a_flax_module_is_asked_with_the_parameters_that_it_is_bound_to():
    members = {"apply": staticmethod(lambda variables, x: x * variables["w"]), "scope": None}
    kind = double("mine", "Net", double("flax.linen.module", "Module"), **members)
    bound = double("mine", "Net", kind, scope=object(), unbind=lambda self: (kind(), {"w": np.float32(3)}))()
    for model in (bound, (kind(), {"w": np.float32(3)})):
        target = target_of(model)
        assert target.kind == "Flax module (Net)"
        np.testing.assert_array_equal(target.ask(np.ones(2, np.float32)), 3)
        np.testing.assert_array_equal(target.live.input_gradients(np.ones((1, 1), np.float32), np.array([0])), [[3]])


@pytest.mark.jax
def test_an_nnx_module_is_taken_apart_in_evaluation_mode_and_left_as_found(monkeypatch):
    class Net(double("flax.nnx.module", "Module")):
        def __init__(self):
            self.scale, self.training = np.float32(2), True

        def eval(self):
            self.training = False

        def train(self):
            self.training = True

    def split(model, *filters):
        assert filters == ("generators", ...) and not model.training
        return "graph", "keys", {"scale": model.scale}

    def merge(graph, generators, state):
        assert (graph, generators) == ("graph", "keys")
        return lambda inputs: inputs * state["scale"]

    nnx = types.SimpleNamespace(split=split, merge=merge, RngState="generators")
    monkeypatch.setitem(recognised.sys.modules, "flax.nnx", nnx)
    model = Net()
    target = target_of(model)
    assert target.kind == "Flax NNX module (Net)" and model.training
    np.testing.assert_array_equal(target.ask(np.ones(3, np.float32)), 2)
    np.testing.assert_array_equal(target.live.input_gradients(np.ones((1, 1), np.float32), np.array([0])), [[2]])
    nnx.split = lambda model, *filters: 1 / 0
    with pytest.raises(UsageError, match="could not be taken apart"):
        target_of(model)


@pytest.mark.jax
def test_a_module_of_equinox_is_given_one_example_at_a_time(monkeypatch):
    import jax

    class Linear(double("equinox._module", "Module")):
        weight = np.float32([[2.0, 1.0]])

        def __call__(self, x):
            assert x.shape == (1,)
            return x @ self.weight

    class Many(Linear):
        __wrapped__ = Linear()

        def __call__(self, x):
            return x @ self.weight

    Many.__name__ = "_VmapWrapper"
    equinox = types.SimpleNamespace(
        nn=types.SimpleNamespace(inference_mode=lambda model: model),
        is_array=None,
        partition=lambda model, _: ({"weight": model.weight}, model),
        combine=lambda arrays, rest: rest,
        filter_vmap=jax.vmap,
    )
    monkeypatch.setitem(recognised.sys.modules, "equinox", equinox)
    compiled = double("equinox._jit", "_JitWrapper", double("equinox._module", "Module"), __wrapped__=Linear())()
    for model in (Linear(), Many(), compiled):
        target = target_of(model)
        assert target.kind == "Equinox module (Linear)"
        np.testing.assert_array_equal(target.ask(np.float32([[1.0], [3.0]])), [[2.0, 1.0], [6.0, 3.0]])


def test_a_booster_of_lightgbm_gives_its_probabilities_of_columns_in_its_own_order():
    def booster(*names):
        kind = double(
            "lightgbm.basic",
            "Booster",
            predict=lambda self, inputs: 1 / (1 + np.exp(-inputs[:, 0])),
            feature_name=lambda self: list(names),
        )
        return kind()

    target = target_of(booster("Column_0", "Column_1", "Column_2", "Column_3"))
    assert (target.kind, target.columns) == ("LightGBM Booster", ())
    np.testing.assert_allclose(target.ask(np.zeros((3, 2, 2))), 0.5)
    frame = pd.DataFrame({"age": np.zeros(40), "body mass": np.where(LABELS == 1, 3.0, -3.0)})
    named = booster("body_mass", "age")  # as it spells them
    (described,) = trustml.audit(named, train=(frame, LABELS), holdout=(frame + 0.1, LABELS)).record.models
    assert described.train_accuracy == 1.0  # by age it would be a half
    with pytest.raises(DataError, match="differ by 'body_mass'"):
        trustml.audit(named, train=(frame[["age"]], LABELS), holdout=(frame[["age"]], LABELS))


def test_a_booster_of_xgboost_is_given_a_matrix_with_its_names(monkeypatch):
    made = []

    def matrix(table, feature_names):
        made.append(feature_names)
        return table

    monkeypatch.setitem(recognised.sys.modules, "xgboost", types.SimpleNamespace(DMatrix=matrix))
    kind = double("xgboost.core", "Booster", predict=lambda self, inputs: inputs[:, 0], feature_names=["b", "a"])
    target = target_of(kind())
    assert (target.kind, target.columns) == ("XGBoost Booster", ("b", "a"))
    np.testing.assert_array_equal(target.ask(np.ones((3, 2))), 1)
    kind.feature_names = None
    target_of(kind()).ask(np.ones((3, 2)))
    assert made == [["b", "a"], None]


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
    assert target.kind == "Keras model on jax (Functional)"
    kind.stateless_call = lambda self, trained, other, inputs, training: (inputs["a"] + 2 * inputs["b"], other)
    parts = target_of(kind(), parts=("a", "b")).ask(np.float32([[[1], [2]]]))
    np.testing.assert_array_equal(parts, [[5]])
    keras.config.backend = lambda: "openvino"
    plain = kind()
    type(plain).__call__ = lambda self, inputs, training: inputs + 1
    assert target_of(plain).kind == "Keras model on openvino (Functional)"
    np.testing.assert_array_equal(target_of(plain).ask(np.zeros((2, 2))), 1)
    type(plain).__call__ = lambda self, inputs, training: inputs["a"] + 2 * inputs["b"]
    np.testing.assert_array_equal(target_of(plain, parts=("a", "b")).ask(np.array([[[1], [2]]])), [[5]])


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


@pytest.mark.torch
def test_a_part_that_is_an_image_reaches_a_module_with_its_gradient_or_one_that_takes_a_mapping():
    import torch

    class Model(torch.nn.Module):
        def __init__(self, by_name):
            super().__init__()
            self.by_name = by_name
            self.forward = self.named if by_name else self.mapped

        def named(self, pixel_values):
            return pixel_values.flatten(1)[:, :2]

        def mapped(self, batch):
            return batch["pixel_values"].flatten(1)[:, :2]

    pixels = GENERATOR.normal(size=(6, 3, 2, 2)).astype(np.float32)
    examples = given(({"pixel_values": pixels}, LABELS[:6]), field="train")
    assert examples.parts == ("pixel_values",) and examples.inputs.shape == (6, 1, 3, 2, 2)
    for by_name in (True, False):
        target = target_of(Model(by_name), parts=examples.parts)
        np.testing.assert_array_equal(target.ask(examples.inputs), pixels.reshape(6, -1)[:, :2])
        gradient = target.live.input_gradients(examples.inputs, np.zeros(6, int))
        assert gradient.shape == examples.inputs.shape and gradient.sum() == 6


@pytest.mark.torch
def test_padding_that_a_model_reads_as_text_is_noted():
    import torch

    class Reader(torch.nn.Module):
        config = types.SimpleNamespace(pad_token_id=0)

        def forward(self, input_ids, attention_mask=None):
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            return torch.stack([(input_ids * mask).sum(1).float(), -mask.sum(1).float()], dim=1)

    mask = (np.arange(9) < GENERATOR.integers(6, 9, (40, 1))).astype(int)
    ids = GENERATOR.integers(1, 9, (40, 9)) * mask
    share = f"{(ids == 0).mean():.1%} of the tokens are the padding 0"
    parts = ({"input_ids": ids[half], "attention_mask": mask[half]} for half in (slice(20), slice(20, 40)))
    more = ids + 1
    sets = (((ids[:20], ids[20:]), [share]), (tuple(parts), []), ((more[:20], more[20:]), []))
    for (train, holdout), expected in sets:
        both = {"train": (train, LABELS[:20]), "holdout": (holdout, LABELS[:20])}
        found = trustml.audit(Reader(), **both, checks=("performance",)).findings
        assert [one.title.partition(",")[0] for one in found if one.id == "data.mask"] == expected


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


def test_a_callable_gets_the_table_that_its_owner_has_and_no_more_rows_than_it_is_asked_with(tmp_path):
    sizes = []

    def model(table):
        sizes.append(len(table))
        return (table["n"] % 2 == 1).astype(float) * 0.8 + 0.1

    assert list(FRAME.columns) != sorted(FRAME.columns)
    other = (FRAME.assign(n=FRAME.n + 100)[["n", "old", "age"]], LABELS)
    audit = trustml.audit(model, train=(FRAME, LABELS), holdout=other, batch_size=16, checks=("performance",))
    (described,) = audit.record.models
    assert described.train_accuracy == 1.0 == described.holdout_accuracy
    assert max(sizes) == 16 and audit.record.settings["batch size"] == "16"
    assert described.identity.columns == tuple(FRAME.columns)
    again = target_of(model, columns=described.identity.columns)
    shape, dtype = described.identity.shape[1:], described.identity.dtype
    assert identity_of(again, shape=shape, dtype=dtype, columns=again.columns).sha256 == described.identity.sha256
    with pytest.raises(UsageError, match="batch_size: 0 examples at once are none"):
        trustml.audit(model, train=(FRAME, LABELS), holdout=other, batch_size=0)


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
    assert "is no readable .pt2 file" in capsys.readouterr().err  # opened on the command line, and looked at first
    with pytest.raises(UsageError, match=r"torch\.export\.load\(file\)\.module\(\)"):
        target_of(tmp_path / "m.pt2")
    for name, content, ending in [
        ("program.zip", stream.getvalue(), ".pt2"),
        ("lite.bin", b"\x1c\0\0\0TFL3" + bytes(8), ".tflite"),
        ("program.bin", b"\x1c\0\0\0ET12" + bytes(8), ".pte"),
        ("graph.ONNX", b"\x08\x0a", ".onnx"),
        ("graph.bin", b"\x08\x0a", ".pt2 or .onnx or .stablehlo or .keras or .tflite or .pte, if it is such"),
    ]:
        (tmp_path / name).write_bytes(content)
        assert _main(["audit", str(tmp_path / name)]) == 2
        assert f"`trustml audit` opens it where its name ends in {ending}" in capsys.readouterr().err
    (tmp_path / "m.keras").write_bytes(stream.getvalue())
    with pytest.raises(UsageError, match=r"is a Keras model, .*keras\.saving\.load_model\(file\)"):
        target_of(tmp_path / "m.keras")
    with pytest.raises(UsageError, match="no such file or folder; load the model"):
        target_of(tmp_path / "nothing.pt")


def test_a_keras_3_file_is_told_its_two_lines():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.9.0"}))
        archive.writestr("model.weights.h5", b"")
    assert "model = keras.saving.load_model(file)" in why_not_keras(stream.getvalue())
