"""Runs in the tensorflow environment: what Keras does with files of strangers, and what our loader does with them.

``python keras_case.py FOLDER``: tries the files of FOLDER/given, and prints a JSON object of what was found. The
payloads touch a file in FOLDER.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorflow as tf

from tests.auditing.disguises import keras_file, keras_layer, keras_model, npy_of_objects, zipped
from trustml.backends.tensorflow.model_adapter import load_keras

layers = tf.keras.layers
FOLDER = Path(sys.argv[1])
SENTINEL = FOLDER / "sentinel"


def small() -> Any:
    return tf.keras.Sequential([tf.keras.Input((3,)), layers.Dense(2)])


def ran(load: Any) -> bool:
    """Whether loading a file, or calling what was loaded, runs its payload."""
    SENTINEL.unlink(missing_ok=True)
    try:
        load()(np.zeros((1, 3), np.float32))
    except Exception:
        pass
    return SENTINEL.exists()


def by_keras(path: Path) -> Any:
    return tf.keras.models.load_model(path, compile=False, safe_mode=True)


def write_legacy(path: Path) -> None:
    """Write an HDF5 file of a lambda under a name of the new format."""
    source = f"lambda inputs: (__import__('os').system('touch {SENTINEL}'), inputs)[1]"
    model = tf.keras.Sequential([tf.keras.Input((3,)), layers.Lambda(eval(source))])
    model.save(path.with_suffix(".h5"), save_format="h5")
    path.with_suffix(".h5").rename(path)
    SENTINEL.unlink(missing_ok=True)


def write_pickled(path: Path) -> None:
    weights = zipped({"__root__.npy": npy_of_objects(SENTINEL), "layers/dense.npy": npy_of_objects(SENTINEL)})
    layer = keras_layer("keras.layers", "Dense", {"units": 2, "name": "dense"})
    config = json.dumps(keras_model(layer))
    path.write_bytes(zipped({"metadata.json": "{}", "config.json": config, "model.weights.npz": weights}))


def write_module(path: Path) -> None:
    """Name a module that is imported for it."""
    (FOLDER / "theirs_keras.py").write_text(f"open({str(SENTINEL)!r}, 'w')\n")
    sys.path.insert(0, str(FOLDER))
    path.write_bytes(keras_file(keras_layer("theirs_keras", "Mine", registered_name=None)))


def write_function(path: Path) -> None:
    """Call a function of TensorFlow that writes a file."""
    content = b"x"
    first = tf.keras.Input((), dtype=tf.string)
    small().save(path)
    model = tf.keras.Model(first, tf.strings.length(first))
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = members["config.json"].replace(b"strings.length", b"io.write_file")
    members["config.json"] = config
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_weights(change: Any) -> bytes:
    """Lay out a file of ours whose HDF5 weights are changed."""
    small().save(FOLDER / "plain.keras")
    with zipfile.ZipFile(FOLDER / "plain.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO(members["model.weights.h5"])
    with h5py.File(stream, "r+") as file:
        change(file)
    members["model.weights.h5"] = stream.getvalue()
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return found.getvalue()


def dataset_of(file: h5py.File) -> tuple[h5py.Group, str]:
    """Give the first array of the weights, by its group and name."""
    names: list[str] = []
    file.visititems(lambda name, one: names.append(name) if isinstance(one, h5py.Dataset) else None)
    group, _, name = names[0].rpartition("/")
    return file[group], name


def external(file: h5py.File) -> None:
    group, name = dataset_of(file)
    shape = group[name].shape
    del group[name]
    group.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def linked(file: h5py.File) -> None:
    group, name = dataset_of(file)
    del group[name]
    group[name] = h5py.ExternalLink("/etc/passwd", "/")


def soft(file: h5py.File) -> None:
    file["again"] = h5py.SoftLink("/nowhere")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
    file.create_virtual_dataset("more", layout)


def huge(file: h5py.File) -> None:
    file.create_dataset("more", (2**40,), "f4", chunks=(2**20,), compression="gzip")


def objects(file: h5py.File) -> None:
    file.create_dataset("more", data=["a"], dtype=h5py.string_dtype())


def cyclic(file: h5py.File) -> None:
    file["more"] = file["/"]


def refusal(content: bytes) -> str:
    path = FOLDER / "evil.keras"
    path.write_bytes(content)
    try:
        load_keras(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "loaded"


def main() -> None:
    """Try all."""
    found: dict[str, Any] = {"by keras": {}, "by trustml": {}}
    for name, write in {
        "a legacy file": write_legacy,
        "pickled weights": write_pickled,
        "a module": write_module,
    }.items():
        path = FOLDER / f"{name.replace(' ', '_')}.keras"
        write(path)
        found["by trustml"][name] = ran(lambda path=path: load_keras(path))
        sys.modules.pop("theirs_keras", None)
        found["by keras"][name] = ran(lambda path=path: by_keras(path))
    write_function(FOLDER / "function.keras")
    found["function"] = refusal((FOLDER / "function.keras").read_bytes())
    SENTINEL.unlink(missing_ok=True)
    found["refused"] = {path.name: refusal(path.read_bytes()) for path in (FOLDER / "given").iterdir()}
    changes = (external, linked, soft, virtual, huge, objects, cyclic)
    found["weights"] = {change.__name__: refusal(with_weights(change)) for change in changes}
    found["plain"] = refusal(with_weights(lambda file: None))
    found["ran"] = SENTINEL.exists()
    print(json.dumps(found))


main()
