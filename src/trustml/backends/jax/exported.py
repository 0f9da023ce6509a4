"""Somebody's module of Flax NNX, or function of JAX, as a program of calls (:mod:`trustml.importing.program`).

It is traced to JAX's own primitives. Layers of NNX whose primitives do not say what they are (norms, attention, tables
of tokens) are seen as one call each; everything else, whatever module it lies in, is read from what it computes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from trustml.backends.contract import Model
from trustml.backends.jax.network import JaxNetwork
from trustml.data.dataset import Floats
from trustml.errors import UsageError
from trustml.importing.calls import Writer
from trustml.importing.jax_primitives import write
from trustml.importing.jax_writer import Operand, PrimitiveWriter
from trustml.importing.nnx_layers import NNX_LAYERS
from trustml.importing.program import Array, Constant, Program, Ref, Source
from trustml.importing.refusals import CannotCarryError
from trustml.models.layers import Architecture
from trustml.models.weights import Weights

EXAMPLES = 5
"""Examples that a function is traced with."""
_ROWS = 8
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_CALLS = ("jit", "pjit", "xla_call", "core_call", "closed_call", "core_closed_call", "remat", "remat2", "checkpoint",
          "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")  # fmt: skip
"""Primitives that compute what their jaxpr does of what they are given, not of parts or steps of it."""
_OF_A_LAYER = core.Primitive("layer")


@_OF_A_LAYER.def_abstract_eval
def _shape_of_a_layer(*given: Any, number: int, shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.core.ShapedArray(shape, dtype)


@dataclass(kw_only=True)
class _Function:
    """What is traced.

    Attributes
    ----------
    kind : str
    call : callable
        Of inputs alone.
    names : dict of int to str
        Names of arrays by their identity.
    layers : list of (layer, place)
        Those that a traced call of a layer numbers.
    whole : callable
        The same without layers seen as one call.
    kept : list
        Arrays, so that no other takes their identity.
    """

    kind: str
    call: Callable[[Any], Any]
    whole: Callable[[Any], Any]
    names: dict[int, str] = field(default_factory=dict)
    layers: list[tuple[Any, str]] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)

    def name(self, place: str, array: Any) -> None:
        """Remember whose an array is."""
        self.kept.append(array)
        self.names[id(array)] = place


def source(model: Any, example: Any) -> Source:
    """Trace a module or a function, and keep it for comparison.

    Parameters
    ----------
    model : flax.nnx.Module, or object with ``function`` and ``params``
        It is left as it was; a module is traced in evaluation mode.
    example : array, or the only one of a sequence or mapping
        Inputs as it takes them, of any number of examples.

    Raises
    ------
    UsageError
        If it cannot be traced, or changes what it holds.
    """
    given = _array_of(example)
    function = _of_params(model) if hasattr(model, "params") and hasattr(model, "function") else _of_nnx(model)
    rows = np.concatenate([given] * -(-EXAMPLES // len(given)))[:EXAMPLES]
    program = _program(function, rows)
    whole = jax.jit(lambda inputs: _one_output(function.whole(inputs)))
    return Source(
        program=program,
        kind=function.kind,
        original=lambda inputs: _asked(whole, inputs),
        example=given,
    )


def network(architecture: Architecture, input_shape: tuple[int, ...], weights: Weights) -> Callable[[Floats], Floats]:
    """Build a carried network and give its logits; a few rows are filled up, so that it is compiled once."""
    found = JaxNetwork(Model(architecture=architecture, input_shape=input_shape, weights=weights))

    def logits(inputs: Floats) -> Floats:
        missing = max(0, _ROWS - len(inputs))
        return found.logits(np.concatenate([inputs, np.repeat(inputs[:1], missing, axis=0)]))[: len(inputs)]

    return logits


def _asked(whole: Callable[[Any], Any], inputs: Array) -> Floats:
    """Give the outputs of the original, which may take only so many examples."""
    try:
        return np.asarray(whole(_array_of(inputs)), np.float32)
    except UsageError:
        raise
    except Exception as error:  # whatever somebody's function does
        told = f"asked for {len(inputs)} examples: {_first_line(error)}"
        raise UsageError(CannotCarryError("control_flow", told).line("the model")) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _array_of(example: Any) -> Array:
    if isinstance(example, Mapping):
        example = list(example.values())
    if isinstance(example, tuple | list) and example and hasattr(example[0], "shape"):
        if len(example) > 1:
            raise UsageError(CannotCarryError("outputs", f"{len(example)} inputs").line("the model"))
        (example,) = example
    try:
        found = np.asarray(example)
    except (TypeError, ValueError) as error:
        raise UsageError(f"example: is no array ({_first_line(error)}); give inputs (examples, ...)") from None
    if found.dtype.kind not in "fiub":
        raise UsageError(f"example: holds {found.dtype}; give inputs (examples, ...) of numbers")
    if found.ndim < 2 or not len(found):
        raise UsageError(f"example: has shape {found.shape}; give inputs (examples, ...) as the model takes them")
    return found.astype(np.float32 if found.dtype.kind == "f" else np.int32)


def _one_output(found: Any) -> Any:
    if isinstance(found, tuple | list) and len(found) == 1:
        (found,) = found
    if not hasattr(found, "shape"):
        count = f"{len(found)} outputs" if isinstance(found, tuple | list | dict) else type(found).__name__
        raise UsageError(CannotCarryError("outputs", f"it returns {count}").line("the model"))
    return found


def _of_params(model: Any) -> _Function:
    def call(inputs: Any) -> Any:
        return model.function(params, inputs)

    params = jax.tree_util.tree_map_with_path(_parameter, model.params)
    function = _Function(kind="JAX function", call=call, whole=call)
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        keys = [str(getattr(one, "key", getattr(one, "name", getattr(one, "idx", one)))) for one in path]
        function.name(".".join(one for one in keys if one != "params"), leaf)
    return function


def _parameter(path: Any, leaf: Any) -> Any:
    try:
        return jnp.asarray(leaf)
    except Exception:  # a text, a function, an object
        told = f"params{jax.tree_util.keystr(path)} is a {type(leaf).__name__}"
        raise UsageError(f"model: {told}; give arrays and numbers alone, and keep the rest in the function") from None


def _of_nnx(model: Any) -> _Function:
    """Take a copy of a module, whose layers of a kind that is known are seen as one call each."""
    nnx = importlib.import_module("flax.nnx")
    seen, whole = (nnx.merge(*nnx.split(model)) for _ in range(2))
    for one in (seen, whole):
        one.eval()
    function = _Function(kind=f"Flax NNX module ({type(model).__name__})", call=seen, whole=whole)
    for path, variable in nnx.to_flat_state(nnx.state(seen)):
        function.name(".".join(map(str, path)), variable.get_value())
    for path, layer in nnx.iter_modules(seen):
        kind = type(layer)
        if kind is getattr(nnx, kind.__name__, None) and kind.__name__ in NNX_LAYERS and _is_usual(layer):
            function.layers.append((layer, ".".join(map(str, path))))
            one_call = _as_one_call(kind, len(function.layers) - 1, function.layers[-1][1])
            object.__setattr__(layer, "__class__", one_call)
    return function


def _is_usual(layer: Any) -> bool:
    """Whether an attention attends as Flax's own does; other layers always are."""
    attends = getattr(layer, "attention_fn", None)
    return attends is None or str(getattr(attends, "__module__", "")).startswith("flax.")


def _as_one_call(kind: type[Any], number: int, place: str) -> type[Any]:
    """Give the class of a layer with a call that is one primitive."""
    attends = kind.__name__ == "MultiHeadAttention"

    def called(
        self: Any,
        *given: Any,
        mask: Any = None,
        use_running_average: bool | None = None,
        decode: bool | None = None,
        deterministic: bool | None = None,
        rngs: Any = None,
        out_sharding: Any = None,
    ) -> Any:
        told = "norm" if mask is not None and not attends else "attention" if decode else ""
        if told or use_running_average is False:
            raise UsageError(CannotCarryError(told or "running").line(f"{place!r} ({kind.__name__})"))
        arrays = [jnp.asarray(one) for one in given if one is not None]
        while attends and len(arrays) < 3:
            arrays.append(arrays[-1])
        masks = [] if mask is None else [jnp.asarray(mask)]

        def alone(*own: Any) -> Any:
            return kind.__call__(self, *own[: len(arrays)], **({"mask": own[-1]} if masks else {}))

        shape = jax.eval_shape(alone, *arrays, *masks)
        return _OF_A_LAYER.bind(*arrays, *masks, number=number, shape=shape.shape, dtype=shape.dtype)

    return type(kind.__name__, (kind,), {"__call__": called})


def _program(function: _Function, rows: Array) -> Program:
    try:
        traced = jax.make_jaxpr(lambda inputs: _one_output(function.call(inputs)))(rows)
    except UsageError:
        raise
    except Exception as error:  # whatever somebody's module does
        key = "mutated" if type(error).__name__ == "TraceContextError" else "control_flow"
        raise UsageError(CannotCarryError(key, _first_line(error)).line("the model")) from None
    writer = Writer({}, input_shape=tuple(rows.shape[1:]))
    model = PrimitiveWriter(writer=writer, shapes={writer.input.name: tuple(rows.shape)})
    reading = _Reading(function=function, model=model)
    constants = [Constant(np.asarray(one), function.names.get(id(one), "")) for one in traced.consts]
    (output,) = reading.read(traced.jaxpr, [*constants, writer.input])
    if not isinstance(output, Ref):
        raise UsageError(CannotCarryError("standstill").line("the model"))
    return writer.program(output.name)


@dataclass(kw_only=True)
class _Reading:
    """Reads a jaxpr, and those within it, in the order of their equations."""

    function: _Function
    model: PrimitiveWriter

    def read(self, jaxpr: Any, given: Sequence[Operand]) -> list[Operand]:
        """Give the outputs of a jaxpr, whose constants and inputs are given."""
        values: dict[Any, Operand] = dict(zip([*jaxpr.constvars, *jaxpr.invars], given, strict=True))

        def value(variable: Any) -> Operand:
            return Constant(np.asarray(variable.val)) if isinstance(variable, core.Literal) else values[variable]

        for equation in jaxpr.eqns:
            name = equation.primitive.name
            try:
                found = self._equation(equation, [value(one) for one in equation.invars])
            except UsageError:
                raise
            except CannotCarryError as error:
                raise UsageError(error.line(repr(name))) from None
            except Exception as error:  # of another form than any that was thought of
                told = f"{type(error).__name__}: {_first_line(error)}"
                raise UsageError(CannotCarryError("arguments", told).line(repr(name))) from error
            values.update(zip(equation.outvars, found, strict=True))
        return [value(one) for one in jaxpr.outvars]

    def _equation(self, equation: Any, given: list[Operand]) -> list[Operand]:
        name, params = equation.primitive.name, equation.params
        follows = any(isinstance(one, Ref) for one in given)
        if name == _OF_A_LAYER.name:
            return [self._layer(params["number"], given, tuple(params["shape"]))]
        inner = next((params[one] for one in _INNER if one in params), None) if name in _CALLS else None
        if inner is not None:
            closed = isinstance(inner, core.ClosedJaxpr)
            constants = [Constant(np.asarray(one), self._origin(one)) for one in (inner.consts if closed else [])]
            return self.read(inner.jaxpr if closed else inner, [*constants, *given])
        if not follows:
            return list(_computed(equation, given))
        shapes = [tuple(one.aval.shape) for one in equation.outvars]
        if not shapes:  # such as a print
            return []
        if name == "div" and jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.integer):
            raise CannotCarryError("operator", "a division of whole numbers")
        if len(shapes) > 1:
            return self._several(name, given, params, shapes)
        return [write(self.model, name, given, params, shapes[0])]

    def _several(self, name: str, given: list[Operand], params: Any, shapes: list[tuple[int, ...]]) -> list[Operand]:
        if name != "split":
            whole = self.model.call(name, {"args": given})
            return [self.model.call("getitem", {"list": whole, "index": n}, one) for n, one in enumerate(shapes)]
        sizes, axis = [int(one) for one in params["sizes"]], int(params["axis"])
        whole = self.model.call("split", {"self": given[0], "split_sizes": sizes, "dim": axis})
        return [self.model.call("getitem", {"list": whole, "index": n}, one) for n, one in enumerate(shapes)]

    def _layer(self, number: int, given: list[Operand], shape: tuple[int, ...]) -> Operand:
        layer, place = self.function.layers[number]
        kind = type(layer).__mro__[1]
        if not any(isinstance(one, Ref) for one in given):
            found = kind.__call__(layer, *(jnp.asarray(one.array) for one in given))  # type: ignore[union-attr]
            return Constant(np.asarray(found))
        self.model.place = place
        try:
            written = NNX_LAYERS[kind.__name__](self.model, layer, given, place)
        except CannotCarryError as error:
            raise UsageError(error.line(f"{place!r} ({kind.__name__})")) from None
        finally:
            self.model.place = ""
        self.model.shapes[written.name] = shape
        return written

    def _origin(self, array: Any) -> str:
        return self.function.names.get(id(array), "")


def _computed(equation: Any, given: Sequence[Operand]) -> Iterator[Constant]:
    """Compute what follows from no input; another shape of a weight is that weight still."""
    arrays = [jnp.asarray(one.array) for one in given if isinstance(one, Constant)]
    found = equation.primitive.bind(*arrays, **equation.primitive.get_bind_params(equation.params))
    origin = given[0].origin if len(given) == 1 and isinstance(given[0], Constant) else ""
    kept = origin if equation.primitive.name in ("reshape", "transpose", "squeeze", "broadcast_in_dim", "copy") else ""
    for one in found if equation.primitive.multiple_results else [found]:
        yield Constant(np.asarray(one), kept)
