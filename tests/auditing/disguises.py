"""Contents of files that a stranger could hand over: each would run or reach something if some reader trusted it.

A content is made for a sentinel: where its code runs, the sentinel is there. Nothing here is ever given to what would
run it, but by the test that shows what Keras itself does.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Content: TypeAlias = Callable[[Path], bytes]
HDF5 = b"\x89HDF\r\n\x1a\n"
IDX_OF_MANY = b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 2**20, 2**20)


class _Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self._command,)


def pickled(sentinel: Path, protocol: int = 4) -> bytes:
    return pickle.dumps(_Runs(f"touch {sentinel}"), protocol=protocol)


def zipped(members: dict[str, bytes | str], *, compressed: bool = False) -> bytes:
    stream = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def npy_of_objects(sentinel: Path) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([_Runs(f"touch {sentinel}")], dtype=object), allow_pickle=True)
    return stream.getvalue()


def npy_of_many(sentinel: Path) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + bytes(64)


ARRAYS = ("inputs", "labels", "targets", "test_labels", "logits", "test_logits", "step", "owners", "names")


def npz_of_objects(sentinel: Path) -> bytes:
    return zipped({f"{name}.npy": npy_of_objects(sentinel) for name in ARRAYS})


def npz_of_pickles(sentinel: Path) -> bytes:
    return zipped({f"{name}.npy": pickled(sentinel) for name in ARRAYS})


def npz_of_many(sentinel: Path) -> bytes:
    return zipped({f"{name}.npy": npy_of_many(sentinel) for name in ARRAYS}, compressed=True)


def npz_of_a_bomb(sentinel: Path) -> bytes:
    """One gigabyte of nothing in a megabyte, whose header says so, a hundred times."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(1 << 20))
    content = bytearray(stream.getvalue())
    for place in (content.find(b"PK\x01\x02") + 24, 22):  # the uncompressed size, in both places
        content[place : place + 4] = struct.pack("<I", 0xFFFFFFF0)
    return bytes(content)


def deep(sentinel: Path) -> bytes:
    return b'{"a":' * 100_000 + b"1" + b"}" * 100_000


def tar_of_pickles(sentinel: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("../outside", "data.pkl"):
            entry = tarfile.TarInfo(name)
            entry.size = len(pickled(sentinel))
            archive.addfile(entry, io.BytesIO(pickled(sentinel)))
    return stream.getvalue()


def safetensors_of_many(sentinel: Path) -> bytes:
    header = json.dumps({"0.kernel": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    return struct.pack("<Q", len(header)) + header


def parquet_of_objects(sentinel: Path) -> bytes:
    """A table whose stored type is an extension that older readers unpickle."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    told = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickled(sentinel)}
    schema = pa.schema([pa.field(name, pa.int64(), metadata=told) for name in ("a", "job", "measure")])
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pydict({name: [0, 1] for name in schema.names}, schema=schema), stream)
    return stream.getvalue()


def parquet_of_many(sentinel: Path) -> bytes:
    """Columns of one repeated value: many gigabytes from two megabytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, stream = 1 << 22, io.BytesIO()
    nothing = {f"a{number}": pa.nulls(rows) for number in range(320)}
    pq.write_table(pa.table({**nothing, "label": np.zeros(rows, np.int8)}), stream, row_group_size=rows)
    return stream.getvalue()


def torch_zip(sentinel: Path) -> bytes:
    return zipped({"model/data.pkl": pickled(sentinel, 2), "model/version": "3\n", "model/data/0": bytes(16)})


def torchscript(sentinel: Path) -> bytes:
    code = f"import os\nos.system('touch {sentinel}')\n"
    members = {"model/data.pkl": pickled(sentinel, 2), "model/constants.pkl": pickled(sentinel, 2)}
    return zipped({**members, "model/code/__torch__.py": code, "model/version": "3\n"})


PLAIN: dict[str, Content] = {
    "nothing": lambda sentinel: b"",
    "one byte": lambda sentinel: b"\x80",
    "a pickle": pickled,
    "a pickle of protocol 0": lambda sentinel: pickled(sentinel, 0),
    "a pickle of protocol 2": lambda sentinel: pickled(sentinel, 2),
    "a gzipped pickle": lambda sentinel: gzip.compress(pickled(sentinel)),
    "a tar of pickles": tar_of_pickles,
    "a script": lambda sentinel: f"#!/bin/sh\ntouch {sentinel}\n".encode(),
    "a module": lambda sentinel: f"import os\nos.system('touch {sentinel}')\nscenario = model = None\n".encode(),
    "an array of objects": npy_of_objects,
    "an array of 2**40": npy_of_many,
    "arrays of objects": npz_of_objects,
    "arrays that are pickles": npz_of_pickles,
    "arrays of 2**40": npz_of_many,
    "arrays with a false size": npz_of_a_bomb,
    "a PyTorch file": torch_zip,
    "a TorchScript program": torchscript,
    "an exported program": lambda sentinel: zipped({"serialized_exported_program.json": "{}", "version": "1"}),
    "a skops file": lambda sentinel: zipped({"schema.json": json.dumps({"__class__": "system", "__module__": "os"})}),
    "names that leave the folder": lambda sentinel: zipped({f"../{sentinel.name}": "", str(sentinel): ""}),
    "a zip in a zip": lambda sentinel: zipped({"config.json": zipped({"config.json": "{}"})}),
    "a zip cut off": lambda sentinel: npz_of_objects(sentinel)[:-40],
    "an HDF5 file": lambda sentinel: HDF5 + bytes(100) + pickled(sentinel),
    "an ONNX model": lambda sentinel: b"\x08\x07\x12\x07pytorch:" + b'\x12\x08location\x12\x0b/etc/passwd"',
    "weights of 2**40": safetensors_of_many,
    "weights with a header of 2**62": lambda sentinel: struct.pack("<Q", 2**62) + b"{",
    "a table of objects": parquet_of_objects,
    "a table cut off": lambda sentinel: parquet_of_objects(sentinel)[:-8],
    "images of 2**71 bytes": lambda sentinel: IDX_OF_MANY,
    "gzipped images of 2**71 bytes": lambda sentinel: gzip.compress(IDX_OF_MANY),
    "a deep JSON": deep,
    "a JSON of another kind": lambda sentinel: b'{"format": 1e999, "run": ["x"], "jobs": {}}',
    "a list": lambda sentinel: b"[1, 2, 3]",
    "no text": lambda sentinel: bytes(range(256)) * 8,
    "a text of no UTF-8": lambda sentinel: b'{"run": "\xff\xfe"}\n',
    "an XML with an entity": lambda sentinel: b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "a program": lambda sentinel: b"\x7fELF\x02\x01\x01" + bytes(64),
}


def keras_layer(module: str | None, name: str, config: Any = None, **more: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": {} if config is None else config, **more}


def keras_model(*layers: dict[str, Any]) -> dict[str, Any]:
    first = keras_layer("keras.layers", "InputLayer", {"batch_input_shape": [None, 3], "name": "first"})
    config = {"name": "model", "layers": [first, *layers]}
    return keras_layer("keras", "Sequential", config, registered_name=None)


def keras_file(config: Any, **members: bytes | str) -> bytes:
    """Lay out a ``.keras`` file; its weights are none."""
    text = config if isinstance(config, str) else json.dumps(config)
    named = {name.replace("__", "."): content for name, content in members.items()}
    metadata = json.dumps({"keras_version": "2.14.0"})
    return zipped({"metadata.json": metadata, "config.json": text, "model.weights.h5": HDF5 + bytes(64), **named})


def _of(module: str | None, name: str, config: Any = None, **more: Any) -> Content:
    return lambda sentinel: keras_file(keras_model(keras_layer(module, name, config, **more)))


def _dense(**config: Any) -> Content:
    return _of("keras.layers", "Dense", {"units": 2, **config})


def _calls(function: str, layer: str = "TFOpLambda", **keywords: Any) -> Content:
    nodes = [["first", 0, 0, keywords]]
    return _of("keras.src.layers.core.tf_op_layer", layer, {"function": function}, inbound_nodes=nodes)


def _member(name: str, content: bytes = b"") -> Content:
    return lambda sentinel: keras_file(keras_model()) if not name else _with(name, content or pickled(sentinel))


def _with(name: str, content: bytes) -> bytes:
    stream = io.BytesIO(keras_file(keras_model()))
    with zipfile.ZipFile(stream, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a name is there twice
        archive.writestr(name, content)
    return stream.getvalue()


def _without_weights_but_npz(sentinel: Path) -> bytes:
    members = {"metadata.json": "{}", "config.json": json.dumps(keras_model())}
    return zipped({**members, "model.weights.npz": npy_of_objects(sentinel)})


KERAS: dict[str, Content] = {
    "weights that are pickled": _without_weights_but_npz,
    "pickled weights beside others": lambda sentinel: _with("model.weights.npz", npz_of_objects(sentinel)),
    "a lambda": _of("keras.layers", "Lambda", {"function": ["4wEAAA==", None, None], "function_type": "lambda"}),
    "a lambda of a function's name": _of("keras.layers", "Lambda", {"function": "system", "function_type": "function"}),
    "a lambda without its module": _of(None, "Lambda", {"function": ["4wEAAA==", None, None]}),
    "a marshalled activation": _dense(activation={"class_name": "__lambda__", "config": {"value": "4wEAAA=="}}),
    "the function os.system": _dense(activation=keras_layer("os", "function", "system", registered_name="system")),
    "a builtin function": _dense(activation=keras_layer("builtins", "function", "eval", registered_name="eval")),
    "a class of another module": _of("subprocess", "Popen", {"args": ["true"]}),
    "a module of this folder": _of("theirs", "Layer"),
    "a class by its registered name": _of("keras.layers", "Nothing", registered_name="Dense"),
    "a custom object": _of("theirs", "Mine", registered_name="Custom>Mine"),
    "a registered name that is no class": _of("keras.layers", "Dense", {"units": 2}, registered_name="Custom>Dense"),
    "load_model as a layer": _of("keras.models", "load_model"),
    "get_file as a layer": _of("keras.utils", "get_file", {"origin": "http://127.0.0.1:9/"}),
    "an experimental name": _of("keras.src.saving.saving_lib", "load_model"),
    "a type": _of("keras.layers", "InputLayer", {"type_spec": {"class_name": "__typespec__", "spec_name": "Popen"}}),
    "a type without a class": _of("keras.layers", "InputLayer", {"type_spec": {"spec_name": "Popen", "module": "os"}}),
    "a SavedModel as a layer": _of("keras.layers", "TFSMLayer", {"filepath": "/tmp/theirs"}),
    "a vocabulary in a file": _of("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
    "a vocabulary of integers": _of("keras.layers", "IntegerLookup", {"vocabulary": "/etc/passwd"}),
    "a vocabulary of texts": _of("keras.layers", "TextVectorization", {"vocabulary": "/etc/passwd"}),
    "a graph's operation": _of(None, "TensorFlowOpLayer", {"node_def": "op: 'WriteFile'", "constants": {}}),
    "write_file": _calls("io.write_file", filename="/tmp/theirs", contents="x"),
    "read_file": _calls("io.read_file", filename="/etc/passwd"),
    "load_op_library": _calls("load_op_library", library_filename="/tmp/theirs.so"),
    "py_function": _calls("py_function", func="os.system", Tout="float32"),
    "numpy_function": _calls("numpy_function", func="os.system", Tout="float32"),
    "raw operations": _calls("raw_ops.WriteFile", filename="/tmp/theirs", contents="x"),
    "old operations": _calls("compat.v1.io.write_file", filename="/tmp/theirs", contents="x"),
    "Keras as a function": _calls("keras.models.load_model", filepath="/tmp/theirs"),
    "a SavedModel as a function": _calls("saved_model.load", export_dir="/tmp/theirs"),
    "a slice that writes": _calls("io.write_file", "SlicingOpLambda", filename="/tmp/theirs", contents="x"),
    "a method": _of("keras.src.layers.core.tf_op_layer", "InstanceMethod", {"method_name": "numpy"}),
    "a class method": _of("keras.src.layers.core.tf_op_layer", "ClassMethod", {"cls_ref": "RaggedTensor"}),
    "a function without a name": _of("keras.src.layers.core.tf_op_layer", "TFOpLambda", {"function": ["io"]}),
    "within a wrapper": _of("keras.layers", "TimeDistributed", {"layer": keras_layer(None, "Lambda")}),
    "within a bidirectional layer": _of("keras.layers", "Bidirectional", {"layer": keras_layer("os", "system")}),
    "within a list of cells": _of("keras.layers", "StackedRNNCells", {"cells": [keras_layer("os", "system")]}),
    "within an initialiser": _dense(kernel_initializer=keras_layer("os", "system")),
    "within a regulariser": _dense(kernel_regularizer=keras_layer("os", "system")),
    "within a model's compilation": lambda sentinel: keras_file(
        keras_model({**keras_model(), "compile_config": {"loss": keras_layer("os", "system")}})
    ),
    "within a node": _calls("math.add", y={"class_name": "__lambda__", "config": {"value": "4wEAAA=="}}),
    "an object that is no text": _of("keras.layers", "Dense", {"units": {"class_name": ["os"], "config": {}}}),
    "a deep configuration": lambda sentinel: keras_file('{"a":' * 50_000 + "1" + "}" * 50_000),
    "a configuration that is a list": lambda sentinel: keras_file([keras_model()]),
    "a configuration that is no JSON": lambda sentinel: keras_file(pickled(sentinel, 0).decode("latin-1")),
    "another file": _member("theirs.py", b"import os"),
    "a file outside": _member("../theirs.py", b"import os"),
    "an asset": _member("assets/layers/string_lookup/vocabulary.txt", b"x"),
    "a file twice": _member("config.json", b"{}"),
    "a later Keras": lambda sentinel: zipped(
        {
            "metadata.json": json.dumps({"keras_version": "3.5.0"}),
            "config.json": json.dumps(keras_model()),
            "model.weights.h5": HDF5,
        }
    ),
    "no weights": lambda sentinel: zipped({"metadata.json": "{}", "config.json": json.dumps(keras_model())}),
    "an HDF5 file with a zip behind": lambda sentinel: HDF5 + bytes(600) + keras_file(keras_model()),
    "a script with a zip behind": lambda sentinel: b"#!/bin/sh\n" + keras_file(keras_model()),
}
"""``.keras`` files that are ZIP archives, and do more than compute, or are no model."""
