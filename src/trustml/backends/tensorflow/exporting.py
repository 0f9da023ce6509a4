"""Models of TensorFlow as files for deployment, and such files asked again."""

from __future__ import annotations

import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trustml.backends.contract import Deployed, FileRequest, Model
from trustml.backends.tensorflow.graph_files import copied_graph, refuse_graph
from trustml.backends.tensorflow.lite_files import read_metadata, refuse_lite_file, with_metadata, with_signature
from trustml.backends.tensorflow.lite_gradients import input_gradients, layers_without_rule
from trustml.backends.tensorflow.model_adapter import load_keras, shuffled_in_place
from trustml.backends.tensorflow.network import build_keras, target_gradients
from trustml.backends.tensorflow.own_layers import GlobalMean, Pad, PlainGroupNorm
from trustml.backends.tensorflow.recurrent import GatedRecurrence, UnrolledRecurrence
from trustml.backends.tensorflow.resizing import Scaled
from trustml.backends.tensorflow.tfjs_files import TfjsModel, write_tfjs
from trustml.data.dataset import Floats, Ints
from trustml.errors import UsageError
from trustml.models.exported import ADDED_VARIABLE, STATEMENT


def export_keras(wanted: FileRequest) -> None:
    """Write a ``.keras`` file of Keras's own layers; the statement is one more file in the archive.

    Raises
    ------
    UsageError
        If a layer is none of Keras's.
    """
    built = build_keras(wanted.model)
    stock = tf.keras.models.clone_model(built, clone_function=_of_keras)
    stock.set_weights(built.get_weights())
    stock.save(wanted.path, save_format="keras")
    with zipfile.ZipFile(wanted.path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(STATEMENT, wanted.statement)


def export_savedmodel(wanted: FileRequest) -> None:
    """Write a SavedModel whose ``serving_default`` takes a batch of any size; the statement is an asset."""
    module, built = tf.Module(), _for_graphs(wanted.model, _WITHOUT_MASKS)
    kept = wanted.path.with_name(STATEMENT)
    kept.write_text(wanted.statement, encoding="utf-8")
    module.model, module.statement = built, tf.saved_model.Asset(str(kept))
    module.__call__ = _logits(wanted.model, built)
    tf.saved_model.save(module, str(wanted.path), signatures={"serving_default": module.__call__})
    kept.unlink()


def export_tflite(wanted: FileRequest) -> dict[str, str]:
    """Write a TensorFlow Lite file of built-in operators; the statement is a buffer of its metadata.

    One that is not rounded has its gradient as a second signature, where there is a rule of every layer.

    Returns
    -------
    dict of str to str
        Layers without a rule.
    """
    _sees_litert()  # so that its version is among those of the record
    built = _for_graphs(wanted.model, _WITHOUT_MASKS | _WITHOUT_LOOPS)
    converter = _lite_converter(_logits(wanted.model, built), built)
    if wanted.quantised:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if wanted.calibration is not None:
        rows = wanted.calibration
        converter.representative_dataset = lambda: ([row[None]] for row in rows)
    content = converter.convert()
    without = {} if wanted.quantised else layers_without_rule(wanted.model, built)
    if not wanted.quantised and not without:
        gradient = _lite_converter(_gradient(wanted.model, built), built).convert()
        content = with_signature(content, gradient, GRADIENT)
    wanted.path.write_bytes(with_metadata(content, STATEMENT, wanted.statement))
    return without


def _lite_converter(function: tf.types.experimental.GenericFunction, built: tf.keras.Model) -> tf.lite.TFLiteConverter:
    return tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], built)


def export_tfjs(wanted: FileRequest) -> None:
    """Write a graph model of TensorFlow.js."""
    built = _for_graphs(wanted.model, _WITHOUT_MASKS)
    write_tfjs(wanted, _logits(wanted.model, built).get_concrete_function())


def _for_graphs(model: Model, others: dict[type[tf.keras.layers.Layer], type[tf.keras.layers.Layer]]) -> tf.keras.Model:
    """Build a model for runtimes that know graphs alone, with other layers in the place of some."""
    built = build_keras(model)
    if not any(type(layer) in others for layer in built.layers):
        return built
    plain = tf.keras.models.clone_model(
        built, clone_function=lambda layer: others.get(type(layer), type(layer)).from_config(layer.get_config())
    )
    plain.set_weights(built.get_weights())
    return plain


_WITHOUT_MASKS: dict[type[tf.keras.layers.Layer], type[tf.keras.layers.Layer]] = {
    tf.keras.layers.GroupNormalization: PlainGroupNorm
}
"""Group norms of Keras weight each value by a mask of ones: TensorFlow Lite cannot repeat what it becomes, and
TensorFlow.js has no gradient of it."""
_WITHOUT_LOOPS: dict[type[tf.keras.layers.Layer], type[tf.keras.layers.Layer]] = {GatedRecurrence: UnrolledRecurrence}
"""TensorFlow Lite has no lists of tensors whose sizes follow from the batch."""


def _of_keras(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """Give the layer of Keras that computes what a layer does."""
    keras = tf.keras.layers
    match layer:
        case Pad(value=0.0):
            return keras.ZeroPadding2D(layer.padding, name=layer.name)
        case GlobalMean():
            return _OF_RANK[len(layer.input_shape)](name=layer.name)
        case Scaled():
            return keras.Rescaling(layer.value, name=layer.name)
    if not type(layer).__module__.startswith("keras."):
        raise UsageError(
            f"{layer.name}: {type(layer).__name__} is no layer of Keras {version('keras')}, and whoever opens a "
            ".keras file has no other; export to savedmodel or tflite"
        )
    return type(layer).from_config(layer.get_config())


_OF_RANK = {3: tf.keras.layers.GlobalAveragePooling1D, 4: tf.keras.layers.GlobalAveragePooling2D}


def _logits(model: Model, built: tf.keras.Model) -> tf.types.experimental.GenericFunction:
    signature = [tf.TensorSpec([None, *model.input_shape], tf.float32, name="inputs")]

    def logits(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": built(inputs, training=False)}

    return tf.function(logits, input_signature=signature, autograph=False)


def _gradient(model: Model, built: tf.keras.Model) -> tf.types.experimental.GenericFunction:
    signature = [
        tf.TensorSpec([None, *shape], tf.float32, name=name)
        for name, shape in zip(_GIVEN, (model.input_shape, built.output_shape[1:]), strict=True)
    ]

    def gradient(inputs: tf.Tensor, directions: tf.Tensor) -> dict[str, tf.Tensor]:
        return {GRADIENT: input_gradients(model, built, inputs, directions)}

    return tf.function(gradient, input_signature=signature, autograph=False)


GRADIENT = "gradient"
"""Signature, and its output: the gradient by the inputs of the sum of logits times directions, of their shape."""
_GIVEN = ("inputs", "directions")


class _KerasFile:
    """See :class:`trustml.backends.contract.Deployed`; as the others here, it takes inputs as they are laid out."""

    gradients, rounded = True, False

    def __init__(self, path: Path, *, as_given: bool = False) -> None:
        self._call = load_keras(path)
        with zipfile.ZipFile(path) as archive:
            self.statement = archive.read(STATEMENT).decode() if STATEMENT in archive.namelist() else ""

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        return np.asarray(self._call(tf.constant(inputs), training=False))

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of the target logit, shape (n, *x)."""
        return target_gradients(partial(self._call, training=False), tf.constant(inputs), targets).numpy()


class _SavedModel:
    """See :class:`trustml.backends.contract.Deployed`."""

    gradients, rounded = True, False

    def __init__(self, path: Path, *, as_given: bool = False) -> None:
        # From a copy of what was looked at: the folder may hold another by now.
        with tempfile.TemporaryDirectory(prefix="trustml-saved-") as place:
            copied = copied_graph(path, Path(place) / "model")
            refuse_graph(copied, shown=path)
            loaded = _loaded(copied, shown=path)
            asset = copied / "assets" / STATEMENT
            self.statement = asset.read_text(encoding="utf-8") if asset.is_file() else ""
        self._loaded, self._call = loaded, loaded.signatures["serving_default"]

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        return np.asarray(self._outputs(tf.constant(inputs)))

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of the target logit, shape (n, *x)."""
        return target_gradients(self._outputs, tf.constant(inputs), targets).numpy()

    def _outputs(self, tensor: tf.Tensor) -> tf.Tensor:
        (found,) = self._call(tensor).values()
        return found

    @contextmanager
    def randomised(self, seed: int) -> Iterator[Deployed]:
        """Shuffle each variable in place; then restore."""
        variables = list(self._call.variables)
        with shuffled_in_place(variables, np.random.default_rng(seed)):
            yield self


def _loaded(copied: Path, *, shown: Path) -> Any:
    """Load the copy of a SavedModel; what is said of its files is said of those in the folder that was named."""
    try:
        return tf.saved_model.load(str(copied))
    except (tf.errors.OpError, OSError, ValueError) as error:
        line = str(error).strip().partition("\n")[0].rpartition("}} ")[2]  # behind TensorFlow's own node
        said = line.replace(str(copied), str(shown))
        raise UsageError(f"{shown}: cannot be loaded ({said[:400]}); it may be damaged, name another") from None


def _sees_litert() -> bool:
    """See the packages of LiteRT, as TensorFlow Lite is called by now, where they lie beside the environment."""
    folder = os.environ.get(ADDED_VARIABLE.format("LITERT"), "")
    if folder and folder not in sys.path:
        sys.path.append(folder)
    return bool(folder)


def _interpreter_type() -> Any:
    """Interpreter of LiteRT, else TensorFlow's own; never both, as two copies of XNNPACK end a process."""
    return import_module("ai_edge_litert.interpreter").Interpreter if _sees_litert() else tf.lite.Interpreter


class _LiteFile:
    """See :class:`trustml.backends.contract.Deployed`: what TensorFlow Lite computes; gradients by the file's own."""

    def __init__(self, path: Path, *, as_given: bool = False) -> None:
        content = path.read_bytes()
        refuse_lite_file(content, path)
        self.statement = read_metadata(content, STATEMENT)
        self._interpreter = _interpreter_type()(model_content=content, num_threads=1)
        self.rounded = any(one["dtype"] == np.int8 for one in self._interpreter.get_tensor_details())
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        signature = self._interpreter.get_signature_list().get(GRADIENT, {})
        self.gradients = sorted(signature.get("inputs", ())) == sorted(_GIVEN) and signature["outputs"] == [GRADIENT]
        self._rows = -1

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        if len(inputs) != self._rows:
            self._interpreter.resize_tensor_input(self._input["index"], inputs.shape)
            self._interpreter.allocate_tensors()
            self._rows = len(inputs)
        self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(inputs, np.float32))
        self._interpreter.invoke()
        return np.array(self._interpreter.get_tensor(self._output["index"]), np.float32)

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of the target logit, shape (n, *x), by the signature that the file has for it."""
        if not self.gradients:
            raise NotImplementedError("the file was written without its gradient, and TensorFlow Lite has none")
        directions = np.eye(self._output["shape"][-1], dtype=np.float32)[targets]
        given = {"inputs": np.ascontiguousarray(inputs, np.float32), "directions": directions}
        return self._interpreter.get_signature_runner(GRADIENT)(**given)[GRADIENT]


EXPORTERS: dict[str, Callable[[FileRequest], dict[str, str] | None]] = {
    "keras": export_keras,
    "savedmodel": export_savedmodel,
    "tflite": export_tflite,
    "tfjs": export_tfjs,
}
OPENERS: dict[str, Callable[..., Deployed]] = {
    "keras": _KerasFile,
    "savedmodel": _SavedModel,
    "tflite": _LiteFile,
    "tfjs": TfjsModel,
}
