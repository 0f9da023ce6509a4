"""Somebody's Keras model, asked for outputs and input gradients and left as it was."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trustml.backends.contract import LiveModel
from trustml.data.dataset import Floats, Ints
from trustml.errors import UsageError
from trustml.models.keras_files import WEIGHTS, read_keras_file
from trustml.models.native import Lent
from trustml.record.files import arrays_digest


@contextmanager
def shuffled_in_place(variables: list[tf.Variable], generator: np.random.Generator) -> Iterator[None]:
    """Shuffle the values of each variable for as long as the context lasts."""
    before = [np.array(variable) for variable in variables]
    try:
        for variable, values in zip(variables, before, strict=True):
            variable.assign(values.ravel()[generator.permutation(values.size)].reshape(values.shape))
        yield
    finally:
        for variable, values in zip(variables, before, strict=True):
            variable.assign(values)


class KerasLiveModel:
    """See :class:`trustml.backends.contract.LiveModel`; the model is always called with ``training=False``.

    Parameters
    ----------
    model : keras.Model
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def outputs(self, inputs: npt.NDArray[Any]) -> Floats:
        """Return what the model returns."""
        return np.asarray(_tensor_of(self._model(_tensor(inputs), training=False)), np.float32)

    def input_gradients(self, inputs: Floats, columns: Ints) -> Floats:
        """Gradient of each example's column, (n, *x)."""
        tensor = _tensor(inputs)
        if not tensor.dtype.is_floating:
            raise TypeError("its inputs are integers, which have no gradient")
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            outputs = _tensor_of(self._model(tensor, training=False))
            flat = tf.reshape(outputs, (len(inputs), -1))
            chosen = tf.reduce_sum(tf.gather(flat, np.asarray(columns, np.int64), axis=1, batch_dims=1))
        gradient = tape.gradient(chosen, tensor)
        if gradient is None:
            raise TypeError("its outputs have no gradient with respect to its inputs")
        return np.asarray(gradient, np.float32)

    @contextmanager
    def randomised(self, seed: int) -> Iterator[LiveModel]:
        """Shuffle the trained weights in place, because a copy of a subclassed model cannot be had; then restore."""
        with shuffled_in_place(list(self._model.trainable_weights), np.random.default_rng(seed)):
            yield self

    def digest(self) -> str:
        """Identify the model by its weights in their order: their names count how many layers a process has made."""
        return arrays_digest((f"{number:06d}", np.array(v)) for number, v in enumerate(self._model.weights))

    def library_attributions(
        self, inputs: Floats, columns: Ints, *, baseline: Floats, n_steps: int, rows: int = 256
    ) -> dict[str, Floats]:
        """None: the libraries that trustml knows for TensorFlow use other rules of quadrature."""
        return {}


def live_model(model: Any) -> LiveModel:
    """Wrap a Keras model."""
    return KerasLiveModel(model)


class _FlatOutputs(tf.keras.Model):
    """A model whose outputs are (n, c), and whose inputs come with their channels last."""

    def __init__(self, model: Any, *, channels_first: bool) -> None:
        super().__init__()
        self.model, self._channels_first = model, channels_first

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Outputs (n, c), in evaluation mode."""
        if self._channels_first:
            inputs = tf.transpose(inputs, (0, 3, 1, 2))
        outputs = _tensor_of(self.model(inputs, training=False))
        size = int(np.prod(outputs.shape[1:]))
        return tf.reshape(outputs, (-1, size))


def lent_model(model: Any, *, channels_first: bool) -> Lent:
    """Lend a Keras model, which is called with ``training=False``."""
    return Lent(make=lambda: _FlatOutputs(model, channels_first=channels_first))


def load_keras(path: Path) -> Any:
    """Load a ``.keras`` file without its optimizer; what could do anything but compute is refused.

    Raises
    ------
    UsageError
    """
    content = read_keras_file(path)
    if problem := why_not_weights(content):
        raise UsageError(f"{path}: {problem}; load it in a module of your own, and name module:attribute")
    # From a copy of what was looked at: the file may be another one by now.
    with tempfile.TemporaryDirectory(prefix="trustml-keras-") as folder:
        copied = Path(folder) / "model.keras"
        copied.write_bytes(content)
        return tf.keras.models.load_model(copied, compile=False, safe_mode=True)


def why_not_weights(content: bytes) -> str:
    """Tell why the weights of a ``.keras`` file are not read: other files, objects, or more than the file holds."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            weights = archive.read(WEIGHTS)
        with h5py.File(io.BytesIO(weights), "r") as file:
            return _why_not_group(file, len(weights))
    except (OSError, ValueError, RuntimeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        return f"its weights cannot be read ({(str(error).splitlines() or [''])[0][:100]})"


def _why_not_group(file: h5py.File, size: int) -> str:
    seen, total, waiting = set(), 0, [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                return f"its weights hold a link, {name[:80]!r}, which may lead into another file"
            found = group[name]
            place = h5py.h5o.get_info(found.id).addr
            if place in seen:
                return f"its weights hold {name[:80]!r} twice"
            seen.add(place)
            if isinstance(found, h5py.Group):
                waiting.append(found)
            elif not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
                return f"its weights hold {name[:80]!r}, whose numbers lie in another file"
            elif found.dtype.kind not in "fiub":
                return f"its weights hold {name[:80]!r}, which is no array of numbers"
            else:
                total += found.size * found.dtype.itemsize
    return f"its weights announce {total} bytes in a file of {size}" if total > size else ""


def _tensor(inputs: npt.NDArray[Any]) -> tf.Tensor:
    values = np.asarray(inputs)
    return tf.constant(values.astype(np.float32) if values.dtype == np.float64 else values)


def _tensor_of(found: Any) -> tf.Tensor:
    if isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    elif isinstance(found, list | tuple) and len(found) == 1:
        found = found[0]
    if isinstance(found, dict | list | tuple):
        raise TypeError(f"the model has {len(found)} outputs; audit a model of one output")
    return found
