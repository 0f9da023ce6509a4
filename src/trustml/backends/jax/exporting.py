"""Models of JAX as StableHLO for deployment, and such files asked again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import jax
import jax.export
import numpy as np
from jax import Array

from trustml.backends.contract import Deployed, FileRequest
from trustml.backends.jax.network import native_model
from trustml.data.dataset import Floats, Ints
from trustml.errors import UsageError
from trustml.models.exported import STATEMENT

_PLATFORMS = ("cpu", "cuda", "tpu")
_CALLED = re.compile(r"custom_call(?: @([\w.$-]+)\()?")
_KNOWN_CALLS = frozenset({"Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "shape_assertion"})
_LEAVING = ("stablehlo.infeed", "stablehlo.outfeed", "stablehlo.send", "stablehlo.recv")
_FIX = "load it in a module of your own, where you trust it, and name module:attribute"


def export_stablehlo(wanted: FileRequest) -> None:
    """Write a program with a free batch size and its gradient, for processors, GPUs and TPUs; its statement beside."""
    function, params = native_model(wanted.model)

    def logits(inputs: Array) -> Array:
        return function(params, inputs)

    # Where the code lies that it was made from is nobody's business.
    jax.config.update("jax_hlo_source_file_canonicalization_regex", ".*")
    rows = jax.export.symbolic_shape("batch, " + ", ".join(map(str, wanted.model.input_shape)))
    made = jax.export.export(jax.jit(logits), platforms=_PLATFORMS)(jax.ShapeDtypeStruct(rows, np.float32))
    wanted.path.write_bytes(made.serialize(vjp_order=1))
    beside(wanted.path).write_text(wanted.statement, encoding="utf-8")


def beside(path: Path) -> Path:
    """Where the statement of a file lies that can hold none."""
    return path.with_name(f"{path.name}.{STATEMENT}")


class StableHloProgram:
    """See :class:`trustml.backends.contract.Deployed`; it takes inputs as they are laid out here anyway."""

    def __init__(self, path: Path, *, as_given: bool = False) -> None:
        self._program = jax.export.deserialize(bytearray(path.read_bytes()))
        _refuse_more_than_arithmetic(self._program, path)
        self._gradient = self._program.vjp() if self._program.has_vjp() else None
        if self._gradient is not None:
            _refuse_more_than_arithmetic(self._gradient, path)
        self.gradients, self.rounded = self._gradient is not None, False
        side = beside(path)
        self.statement = side.read_text(encoding="utf-8") if side.is_file() else ""
        self._call = jax.jit(self._program.call)

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        return np.asarray(self._call(inputs))

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of the target logit, shape (n, *x)."""
        if self._gradient is None:
            raise NotImplementedError("the program was written without its gradient")
        chosen = np.eye(self._program.out_avals[0].shape[1], dtype=np.float32)[targets]
        (found,) = self._gradient.call(inputs, chosen)
        return np.asarray(found)


def _refuse_more_than_arithmetic(program: jax.export.Exported, path: Path) -> None:
    text = program.mlir_module()
    called = next((name or "something" for name in _CALLED.findall(text) if name not in _KNOWN_CALLS), "")
    leaving = next((name for name in _LEAVING if name in text), "")
    if called or leaving or program.ordered_effects or program.unordered_effects:
        what = f"calls {called[:80]!r}" if called else f"has {leaving or 'effects'}"
        raise UsageError(f"{path}: {what}, which does more than compute; {_FIX}")


EXPORTERS: dict[str, Callable[[FileRequest], None]] = {"stablehlo": export_stablehlo}
OPENERS: dict[str, Callable[..., Deployed]] = {"stablehlo": StableHloProgram}
