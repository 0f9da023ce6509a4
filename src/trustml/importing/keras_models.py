"""``.keras`` files as programs of calls, read from their configuration and weights without Keras.

Nothing of the configuration is imported or called: a layer is known by its name, or refused. Weights are HDF5, for
which ``h5py`` is needed; links out of the file are not followed. Where Keras 3 is installed, it computes what the
original gives.
"""

from __future__ import annotations

import importlib
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.importing.calls import Writer
from trustml.importing.keras_layers import ACTIVATED, LAYERS, Config, LayerWriter, Shape
from trustml.importing.program import Array, Constant, Ref, Source
from trustml.importing.refusals import CannotCarryError
from trustml.models.keras_files import CONFIG, WEIGHTS, read_keras_file


def keras_source(path: Path, example: Array | None) -> Source:
    """Read a ``.keras`` file as a program.

    Raises
    ------
    EnvironmentMissingError
        If ``h5py`` is not installed.
    UsageError
        If it is none, or holds a layer that is not carried.
    """
    content = read_keras_file(path, any_version=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        config, weights = json.loads(archive.read(CONFIG)), archive.read(WEIGHTS)
    if config.get("class_name") not in ("Functional", "Sequential", "Model"):
        raise UsageError(CannotCarryError("operator", str(config.get("class_name"))[:60]).line("the model"))
    try:
        model = _Model(config["config"], _arrays(path, weights))
        output = model.read()
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, OSError, RuntimeError) as error:
        told = f"{type(error).__name__}: {error}"[:160]
        problem = f"its {CONFIG} or weights are not as Keras writes them ({told})"
        raise UsageError(f"{path}: {problem}; save it anew") from None
    original, why_not = _original(content)
    return Source(
        program=model.writer.program(output),
        kind=f"Keras ({path.name})",
        original=original,
        why_not=why_not,
        example=model.writer.example() if example is None else example,
    )


def _original(content: bytes) -> tuple[Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]] | None, str]:
    """Give what Keras makes of a file that was looked through, as a function of inputs; or why it cannot be asked."""
    try:
        keras = importlib.import_module("keras")
        if not str(keras.__version__).startswith("3."):
            return None, "Keras 3 is not installed here"
        with tempfile.TemporaryDirectory() as folder:  # what was looked through, whatever lies at the path by now
            file = Path(folder) / "model.keras"
            file.write_bytes(content)
            model = keras.saving.load_model(str(file), compile=False, safe_mode=True)
    except ImportError:
        return None, "Keras 3 with PyTorch, JAX or TensorFlow under it (KERAS_BACKEND) is not installed here"
    except Exception as error:  # of Keras, such as of a file of another version
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        return None, f"this Keras does not load the file ({first})"

    def outputs(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        found = keras.ops.convert_to_numpy(model(keras.ops.convert_to_tensor(inputs), training=False))
        return np.asarray(found, np.float32)

    return outputs, ""


def _arrays(path: Path, content: bytes) -> dict[str, Array]:
    """Read every array of an HDF5 file, and nothing beyond it."""
    try:
        h5py = importlib.import_module("h5py")
    except ImportError:
        raise EnvironmentMissingError(f"{path}: its weights are HDF5, which needs h5py; pip install h5py") from None
    found: dict[str, Array] = {}
    with h5py.File(io.BytesIO(content), "r") as file:
        waiting = [("", file)]
        while waiting:
            name, group = waiting.pop()
            for key in group:
                if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                    raise UsageError(
                        f"{path}: its weights are links to elsewhere, which are not followed; save it anew"
                    )
                one = group[key]
                place = f"{name}/{key}".lstrip("/")
                if isinstance(one, h5py.Group):
                    waiting.append((place, one))
                elif one.external:
                    raise UsageError(f"{path}: its weights lie in other files, which are not read; save it anew")
                else:
                    found[place] = np.asarray(one[()])
    return found


class _Model(LayerWriter):
    """A model's layers in turn."""

    def __init__(self, config: Config, arrays: Mapping[str, Array]) -> None:
        self._arrays, self._layers = arrays, config["layers"]
        self._sequential = "input_layers" not in config
        self._config = config
        self._counts: dict[str, int] = {}
        self._values: dict[tuple[str, int], tuple[Ref, Shape]] = {}
        first = next((one for one in self._layers if one["class_name"] == "InputLayer"), None)
        shape = first["config"] if first else self._layers[0]["config"]
        batch = shape.get("batch_shape") or shape.get("batch_input_shape")
        if batch is None or any(size is None for size in batch[1:]):
            raise UsageError(CannotCarryError("axes", "inputs of no fixed shape").line("the model"))
        super().__init__(Writer(arrays, input_shape=tuple(batch[1:])))

    def read(self) -> str:
        """Write all calls, and give the name of the last."""
        before: tuple[Ref, Shape] = (self.writer.input, self.writer.input_shape)
        waiting: list[tuple[Config, list[Constant], int, Any]] = []
        for layer in self._layers:
            kind, name = layer["class_name"], _name(layer)
            if kind == "InputLayer":
                self._values[name, 0] = before
                continue
            weights = self._weights(kind)
            if self._sequential:
                before = self._layer(layer, weights, [before])
            else:
                waiting += [(layer, weights, number, node) for number, node in enumerate(layer["inbound_nodes"])]
        if self._sequential:
            return before[0].name
        while waiting:  # a layer that is used twice may wait for what comes later in the list
            known = (one for one in waiting if all(place in self._values for place in _places(one[3])))
            ready = next(known, None)
            if ready is None:
                raise ValueError(f"{_name(waiting[0][0])[:60]!r} waits for what follows from it, or is not there")
            layer, weights, number, node = ready
            waiting.remove(ready)
            inputs = [self._values[place] for place in _places(node)]
            self._values[_name(layer), number] = self._layer(layer, weights, inputs)
        ends = self._config["output_layers"]
        ends = ends if isinstance(ends[0], list) else [ends]
        if len(ends) != 1:
            raise UsageError(CannotCarryError("outputs", f"{len(ends)} outputs").line("the model"))
        return self._values[ends[0][0], ends[0][1]][0].name

    def _weights(self, kind: str) -> list[Constant]:
        """Weights of the next layer of a class, in Keras's order."""
        snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", kind)).lower()
        number = self._counts.get(snake, 0)
        self._counts[snake] = number + 1
        name = f"{snake}_{number}" if number else snake
        for base in (f"layers/{name}/vars", f"_layer_checkpoint_dependencies/{name}/vars"):
            count = 0
            while f"{base}/{count}" in self._arrays:
                count += 1
            if count:
                return [Constant(self._arrays[f"{base}/{place}"], name) for place in range(count)]
        return []

    def _layer(
        self, layer: Config, weights: list[Constant], inputs: Sequence[tuple[Ref, Shape]]
    ) -> tuple[Ref, Shape]:  # fmt: skip
        kind, name, config = layer["class_name"], _name(layer), layer["config"]
        self.place = name
        if kind not in LAYERS:
            raise UsageError(CannotCarryError("operator", kind[:60]).line(f"{name[:60]!r}"))
        if config.get("data_format") == "channels_first":
            raise UsageError(CannotCarryError("axes", "channels first").line(f"{name[:60]!r}"))
        # The layer is named by its first weight.
        named = [Constant(one.array, f"{name}.{n}.bias" if n else f"{name}.weight") for n, one in enumerate(weights)]
        try:
            found = LAYERS[kind](self, config, named, inputs)
            activation = config.get("activation")
            if activation not in (None, "linear") and kind in ACTIVATED:
                found = self.activated(found, activation), found[1]
        except CannotCarryError as error:
            raise UsageError(error.line(f"{name[:60]!r} ({kind})")) from None
        return found


def _name(layer: Config) -> str:
    return str(layer["config"].get("name", layer["class_name"]))


def _places(node: Any) -> list[tuple[str, int]]:
    """Values that a layer takes, by name and call: Keras 3 writes tensors, Keras 2 lists of names."""
    if not isinstance(node, Mapping):
        return [(place[0], place[1]) for place in node]
    found = node["args"][0] if len(node["args"]) == 1 else node["args"]
    tensors = found if isinstance(found, list) else [found]
    places = [one["config"]["keras_history"] for one in tensors]
    return [(place[0], place[1]) for place in places]
