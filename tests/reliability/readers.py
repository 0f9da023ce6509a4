"""Whatever reads a file that somebody else may have written: a good file, how it is changed, and the reader."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import wave
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from tests.reliability import mutate
from tests.reliability.mutate import Mutator
from trustml.errors import TrustmlError

TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[PAD]": 0, "[UNK]": 1, "hi": 2, "you": 3}, "unk_token": "[UNK]"},
}  # fmt: skip
ROWS = 24
MODEL = "train.jax.DPSGD.s0"


class BrokenOffError(Exception):
    """A command ended as none may, or let through what is no text."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One reader.

    Attributes
    ----------
    make : callable
        Writes what is read into an empty folder; gives the file that is changed.
    change : Mutator
    read : callable
        Reads what lies at that path, and raises nothing but a `TrustmlError`.
    good : str
        What becomes of the good file.
    """

    make: Callable[[Path], Path]
    change: Mutator
    read: Callable[[Path], object]
    good: Literal["read", "refused"] = "read"


def _labels() -> np.ndarray:
    return np.arange(ROWS) % 2


def _csv(folder: Path) -> Path:
    rows = [f"{number},{number / 7:.3f},{'red' if number % 3 else 'blue'},{number % 2}" for number in range(ROWS)]
    path = folder / "a.csv"
    path.write_text("a,b,c,label\n" + "\n".join(rows) + "\n")
    return path


def _json_lines(folder: Path) -> Path:
    path = folder / "a.jsonl"
    rows = ({"a": number, "b": number / 7, "label": "xy"[number % 2]} for number in range(ROWS))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _parquet(folder: Path) -> Path:
    import pandas as pd

    path = folder / "a.parquet"
    pd.DataFrame({"a": np.arange(ROWS), "c": ["red", "blue"] * (ROWS // 2), "label": _labels()}).to_parquet(path)
    return path


def _npz(folder: Path) -> Path:
    path = folder / "a.npz"
    np.savez(path, inputs=np.random.default_rng(0).normal(size=(ROWS, 3)), labels=_labels())
    return path


def _npz_packed(folder: Path) -> Path:
    path = folder / "a.npz"
    np.savez_compressed(path, inputs=np.zeros((ROWS, 4, 4, 1), np.uint8), labels=_labels())
    return path


def _idx(folder: Path) -> Path:
    for name in ("images", "test_images"):
        (folder / f"{name}_labels").write_bytes(
            b"\0\0\x08\x01" + struct.pack(">I", ROWS) + bytes(_labels().astype("u1"))
        )
        (folder / name).write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", ROWS, 4, 4) + bytes(ROWS * 16))
    return folder / "images"


def _gzipped_idx(folder: Path) -> Path:
    path = _idx(folder)
    path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    return path


def _images(kind: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from PIL import Image

        generator = np.random.default_rng(0)
        for number in range(6):
            place = folder / "images" / "ab"[number % 2] / f"{number}.{kind}"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 255, (8, 8, 3), np.uint8)).save(place)
        return folder / "images" / "a" / f"0.{kind}"

    return make


def _clips(folder: Path) -> Path:
    for number in range(6):
        place = folder / "clips" / "ab"[number % 2] / f"{number}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(place), "wb") as stream:
            stream.setparams((1, 2, 800, 0, "NONE", ""))
            stream.writeframes(np.arange(800, dtype="<i2").tobytes())
    return folder / "clips" / "a" / "0.wav"


def _series(folder: Path) -> Path:
    rows = [",".join(f"{number + step / 7:.2f}" for step in range(5)) + f":{number % 2}" for number in range(ROWS)]
    path = folder / "a.ts"
    path.write_text(
        "\n".join(["@problemName made", "@timeStamps false", "@classLabel true 0 1", "@data", *rows]) + "\n"
    )
    return path


def _texts(folder: Path) -> Path:
    path = folder / "a.tsv"
    path.write_text("label\ttext\n" + "".join(f"{'ab'[n % 2]}\thi you {n}\n" for n in range(ROWS)))
    return path


def _tokenizer(folder: Path) -> Path:
    _texts(folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(TOKENIZER))
    return path


def _scenario(folder: Path) -> Path:
    path = folder / "a.toml"
    path.write_text(
        'name = "a"\nbackends = ["jax", "torch"]\nseeds = [0, 1]\n\n[data]\nkind = "Csv"\npath = "a.csv"\n'
        'label = "label"\ntest_fraction = 0.5\n\n[[model.layers]]\nkind = "Dense"\nunits = 2\n\n'
        '[[training]]\nkind = "Plain"\nepochs = 1\n\n'
        '[[training]]\nkind = "DPSGD"\nepsilon = 3.0\nepochs = 2\nbatch_size = 16\n\n[[explanations.methods]]\n'
        'kind = "Saliency"\n\n[execution]\nthreads = 1\ntimeout = 60.0\n'
    )
    return path


def _load(source: Callable[[Path], object]) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        from trustml.data.datasets import load_dataset

        return load_dataset(source(path))

    return read


def _source(kind: str, **fields: object) -> Callable[[Path], object]:
    def made(path: Path) -> object:
        from trustml.scenario import sources

        place = path.parent.parent if kind in ("Images", "Audio") else path
        return getattr(sources, kind)(path=str(place), test_fraction=0.5, **fields)

    return made


def _idx_source(path: Path) -> object:
    from trustml.scenario.sources import Idx

    test = path.with_name("test_images")
    return Idx(images=str(path), labels=f"{path}_labels", test_images=str(test), test_labels=f"{test}_labels")


def _text_source(path: Path) -> object:
    from trustml.scenario.sources import Text

    tokens = str(path) if path.name == "tokenizer.json" else None
    return Text(path=str(path.parent / "a.tsv"), length=6, test_fraction=0.5, tokenizer=tokens)


def _read_scenario(path: Path) -> object:
    from trustml.scenario.check import check_scenario
    from trustml.scenario.read import read_scenario

    return check_scenario(read_scenario(path))


def _drafted(path: Path) -> object:
    from trustml.cli.init import make_draft

    return make_draft(str(path), labels=("label",)).text(path.parent)


def _network(folder: Path) -> Path:
    from trustml.models.layers import Architecture, Dense
    from trustml.models.network_files import encode_network

    weights = {"0.kernel": np.ones((3, 2), np.float32), "0.bias": np.zeros(2, np.float32)}
    path = folder / "a.safetensors"
    path.write_bytes(encode_network(Architecture(layers=(Dense(units=2),)), weights, (3,), kind="made"))
    return path


def _read_network(path: Path) -> object:
    from trustml.models.network_files import read_network

    return read_network(path)


def _checkpoint_folder(folder: Path) -> Path:
    from safetensors.numpy import save

    def dense(name: str, out: int, given: int) -> dict[str, np.ndarray]:
        return {
            f"bert.{name}.weight": np.ones((out, given), np.float32),
            f"bert.{name}.bias": np.zeros(out, np.float32),
        }

    def norm(name: str) -> dict[str, np.ndarray]:
        return {f"bert.{name}.{part}": np.ones(8, np.float32) for part in ("weight", "bias")}

    layer = "encoder.layer.0"
    weights = {
        **{f"bert.embeddings.{name}_embeddings.weight": np.ones((rows, 8), np.float32)
           for name, rows in (("word", 9), ("position", 16), ("token_type", 2))},
        **norm("embeddings.LayerNorm"),
        **{key: array for part in ("query", "key", "value")
           for key, array in dense(f"{layer}.attention.self.{part}", 8, 8).items()},
        **dense(f"{layer}.attention.output.dense", 8, 8), **norm(f"{layer}.attention.output.LayerNorm"),
        **dense(f"{layer}.intermediate.dense", 8, 8), **dense(f"{layer}.output.dense", 8, 8),
        **norm(f"{layer}.output.LayerNorm"), **dense("pooler.dense", 8, 8),
        "classifier.weight": np.ones((2, 8), np.float32), "classifier.bias": np.zeros(2, np.float32),
    }  # fmt: skip
    (folder / "model.safetensors").write_bytes(save(weights))
    path = folder / "config.json"
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 9,
             "max_position_embeddings": 16, "type_vocab_size": 2, "intermediate_size": 8}  # fmt: skip
    kind = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    path.write_text(json.dumps({**kind, **sizes, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}))
    return path


def _read_checkpoint_folder(path: Path) -> object:
    from trustml.importing.model import import_model

    return import_model(path.parent, example=np.zeros((2, 4), np.float32))


def _onnx(folder: Path) -> Path:
    from onnx import TensorProto, helper, numpy_helper

    kernel = numpy_helper.from_array(np.ones((3, 2), np.float32), "kernel")
    node = helper.make_node("MatMul", ["x", "kernel"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 3), ("y", 2))]
    graph = helper.make_graph([node], "a", ends[:1], ends[1:], [kernel])
    path = folder / "a.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    return path


def _read_onnx(path: Path) -> object:
    from trustml.importing.model import import_model

    return import_model(path, example=np.zeros((2, 3), np.float32))


def _keras(folder: Path) -> Path:
    from tests.auditing.disguises import keras_file, keras_layer, keras_model

    path = folder / "a.keras"
    path.write_bytes(keras_file(keras_model(keras_layer("keras.layers", "Dense", {"units": 2}))))
    return path


def _read_keras(path: Path) -> object:
    from trustml.models.keras_files import read_keras_file

    return read_keras_file(path)


def _pt2(folder: Path) -> Path:
    from tests.auditing.disguises import zipped

    module = {"graph": {"inputs": [], "outputs": [], "nodes": []}, "signature": {}, "module_call_graph": []}
    version = {"major": 8, "minor": 1}
    graph = {"graph_module": module, "opset_version": {"aten": 10}, "range_constraints": {}, "schema_version": version}
    path = folder / "a.pt2"
    path.write_bytes(zipped({"a/archive_format": "pt2", "a/models/model.json": json.dumps(graph)}))
    return path


def _read_pt2(path: Path) -> object:
    from trustml.models.pt2_files import read_pt2_file

    return read_pt2_file(path)


def _any_model(path: Path) -> object:
    from trustml.auditing.model_files import refuse_model_file
    from trustml.models.deployed_files import refuse_deployed_file

    refuse_model_file(path)
    return refuse_deployed_file(path)


def _read_endpoint(protocol: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        from trustml.auditing import endpoints

        post, endpoints._post = endpoints._post, lambda endpoint, content: path.read_bytes()
        try:
            url = "http://127.0.0.1:9" + ("/invocations" if protocol == "mlflow" else "")
            model = "" if protocol == "mlflow" else "digits"
            asked = endpoints.Endpoint(url, protocol=protocol, model=model, retries=0)  # type: ignore[arg-type]
            return endpoints.ask_endpoint(asked, np.zeros((3, 4), np.float32))
        finally:
            endpoints._post = post

    return read


def _answer(content: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "answer.json"
        path.write_text(json.dumps(content))
        return path

    return make


def command(*arguments: str) -> None:
    """Call a command as the terminal does, and look at how it ends and at what it lets through.

    Raises
    ------
    BrokenOffError
    """
    from trustml.cli.main import _main

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = _main(list(arguments))
    said = out.getvalue() + err.getvalue()
    if code not in (0, 1, 2, 4) or "Internal error" in said or "Traceback" in said:
        raise BrokenOffError(f"{arguments[0]} ended with {code}: {err.getvalue()[-300:]}")
    if code == 2 and not err.getvalue().strip():
        raise BrokenOffError(f"{arguments[0]} refused and said nothing")
    strange = {letter for letter in said if not letter.isprintable() and letter not in "\n\t\u2028\xa0"}
    if strange and not (strange <= {"\r"} and "\r" not in out.getvalue()):
        raise BrokenOffError(f"{arguments[0]} printed {sorted(strange)!r}")


def _run_reader(name: str, change: Mutator, *commands: tuple[str, ...]) -> Reader:
    """Commands that read a run in which one file was changed, some other one each time."""
    calls = iter(range(10**9))

    def make(folder: Path) -> Path:
        from tests.records import stored

        shutil.copytree(stored("private"), folder / "run")
        found = sorted((folder / "run").glob(name))
        assert found, name
        return found[0]

    def read(path: Path) -> None:
        asked = commands[next(calls) % len(commands)]
        run = next(parent for parent in path.parents if (parent / "jobs").is_dir())
        command(asked[0], *(word.replace("RUN", str(run)).replace("ROOT", str(run.parent)) for word in asked[1:]))

    return Reader(make=make, change=change, read=read)


_SHORT = (("show", "RUN"), ("show", "RUN", "--json"), ("compare", "RUN"), ("ledger", "RUN"), ("list", "--runs", "ROOT"),
          ("show", "RUN", "--privacy"))  # fmt: skip
_LONG = (("ledger", "RUN", "--verify"), ("audit", "RUN"), ("verify", "RUN"), ("report", "RUN", "-o", "ROOT/r.html"))


def _page(path: Path) -> None:
    """The report of a run of which some file was changed holds none of the markup."""
    run = next(parent for parent in path.parents if (parent / "jobs").is_dir())
    page = run.parent / "r.html"
    page.unlink(missing_ok=True)
    command("report", str(run), "-o", str(page))
    if page.exists() and mutate.MARKUP in page.read_text(errors="replace"):
        raise BrokenOffError("the report holds markup of the record")


def _bundle(folder: Path) -> Path:
    from tests.records import stored

    shutil.copytree(stored("private"), folder / "run")
    path = folder / "a.zip"
    command("bundle", str(folder / "run"), "-o", str(path))
    return path


def _signature(folder: Path) -> Path:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from trustml.evidence.signing import sign, statement_of

    path = folder / "signature.json"
    path.write_bytes(
        sign(statement_of({"manifest.json": "0" * 64}, name="a"), Ed25519PrivateKey.from_private_bytes(bytes(32)))
    )
    return path


def _read_signature(path: Path) -> object:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from trustml.evidence.signing import check_signature

    return check_signature(path.read_bytes(), Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key())


def _key(folder: Path) -> Path:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    path = folder / "key.pem"
    path.write_bytes(public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return path


def _read_key(path: Path) -> object:
    from trustml.evidence.signing import read_private_key, read_public_key

    try:
        read_private_key(path)
    except TrustmlError:
        pass
    return read_public_key(path)


def _audit(folder: Path) -> Path:
    from tests.records import stored

    path = folder / "audit.json"
    shutil.copy(stored("evidence") / "audit.json", path)
    return path


_KSERVE = {"outputs": [{"name": "p", "shape": [3, 2], "datatype": "FP32", "data": [0.5] * 6}]}
_TOKENIZER = {"tokenizer": Reader(make=_tokenizer, change=mutate.of_json, read=_load(_text_source))}
READERS: dict[str, Reader] = {
    **(_TOKENIZER if find_spec("tokenizers") else {}),
    "scenario (TOML)": Reader(make=_scenario, change=mutate.of_text, read=_read_scenario),
    "table (CSV)": Reader(make=_csv, change=mutate.of_text, read=_load(_source("Csv", label="label"))),
    "table (JSON lines)": Reader(make=_json_lines, change=mutate.of_lines, read=_load(_source("Json", label="label"))),
    "table (Parquet)": Reader(make=_parquet, change=mutate.of_bytes, read=_load(_source("Parquet", label="label"))),
    "arrays (npz)": Reader(make=_npz, change=mutate.in_zip(mutate.of_npy), read=_load(_source("Npz"))),
    "arrays (packed npz)": Reader(make=_npz_packed, change=mutate.in_zip(mutate.of_npy), read=_load(_source("Npz"))),
    "images (IDX)": Reader(make=_idx, change=mutate.of_bytes, read=_load(_idx_source)),
    "images (gzipped IDX)": Reader(make=_gzipped_idx, change=mutate.of_bytes, read=_load(_idx_source)),
    "images (PNG)": Reader(make=_images("png"), change=mutate.of_bytes, read=_load(_source("Images"))),
    "images (JPEG)": Reader(make=_images("jpg"), change=mutate.of_bytes, read=_load(_source("Images"))),
    "sound (WAV)": Reader(make=_clips, change=mutate.of_bytes, read=_load(
        _source("Audio", rate=800, seconds=1.0, features="wave"))),
    "series (ts)": Reader(make=_series, change=mutate.of_text, read=_load(_source("Series"))),
    "texts (TSV)": Reader(make=_texts, change=mutate.of_text, read=_load(_text_source)),
    "draft of a CSV": Reader(make=_csv, change=mutate.of_text, read=_drafted),
    "draft of JSON lines": Reader(make=_json_lines, change=mutate.of_lines, read=_drafted),
    "network (safetensors)": Reader(make=_network, change=mutate.of_safetensors, read=_read_network),
    "checkpoint folder": Reader(make=_checkpoint_folder, change=mutate.of_json, read=_read_checkpoint_folder),
    "model (ONNX)": Reader(make=_onnx, change=mutate.of_bytes, read=_read_onnx),
    "model (Keras)": Reader(make=_keras, change=mutate.in_zip(mutate.of_json), read=_read_keras),
    "model (pt2)": Reader(make=_pt2, change=mutate.in_zip(mutate.of_json), read=_read_pt2),
    "model of any kind": Reader(make=_keras, change=mutate.of_bytes, read=_any_model, good="refused"),
    "answer (KServe)": Reader(make=_answer(_KSERVE), change=mutate.of_json,
        read=_read_endpoint("kserve-v2")),
    "answer (TF Serving)": Reader(make=_answer({"predictions": [[0.5, 0.5]] * 3}), change=mutate.of_json,
        read=_read_endpoint("tf-serving")),
    "answer (MLflow)": Reader(make=_answer({"predictions": [[0.5, 0.5]] * 3}), change=mutate.of_json,
        read=_read_endpoint("mlflow")),
    "signature": Reader(make=_signature, change=mutate.of_json, read=_read_signature),
    "key": Reader(make=_key, change=mutate.of_bytes, read=_read_key),
    "audit": Reader(make=_audit, change=mutate.of_json, read=lambda path: command("verify", str(path))),
    "bundle": Reader(make=_bundle, change=mutate.in_zip(mutate.of_json),
        read=lambda path: command("verify", str(path))),
    "run: manifest": _run_reader("manifest.json", mutate.of_json, *_SHORT),
    "run: job": _run_reader("jobs/train*/job.json", mutate.of_json, *_SHORT, *_LONG),
    "run: result": _run_reader("jobs/train*/result.json", mutate.of_json, *_SHORT, *_LONG),
    "run: ledger": _run_reader("jobs/train*/ledger.jsonl", mutate.of_lines, *_SHORT, *_LONG),
    "run: weights": _run_reader("jobs/train*/weights.safetensors", mutate.of_safetensors, *_LONG),
    "run: predictions": _run_reader("jobs/train*/predictions.npz", mutate.in_zip(mutate.of_npy), *_SHORT, *_LONG),
    "run: held-out examples": _run_reader("heldout.npz", mutate.in_zip(mutate.of_npy), *_SHORT, *_LONG),
    "run: table": _run_reader("measures.parquet", mutate.of_bytes, *_SHORT, *_LONG),
    "run: statements": _run_reader("privacy.json", mutate.of_json, *_SHORT, *_LONG),
    "run: events": _run_reader("events.jsonl", mutate.of_lines, *_SHORT),
    "run: manifest to a report": Reader(
        make=_run_reader("manifest.json", mutate.of_json).make, change=mutate.of_json, read=_page),
    "run: statements to a report": Reader(
        make=_run_reader("privacy.json", mutate.of_json).make, change=mutate.of_json, read=_page),
}  # fmt: skip
