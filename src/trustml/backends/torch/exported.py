"""Somebody's ``torch.nn.Module`` as a program of calls (:mod:`trustml.importing.program`), by ``torch.export``."""

from __future__ import annotations

import copy
import importlib.util
import io
import logging
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from trustml.backends.contract import Model
from trustml.backends.torch.model_adapter import evaluating
from trustml.backends.torch.network import TorchNetwork
from trustml.data.dataset import Floats
from trustml.errors import UsageError
from trustml.importing.program import Call, Constant, Program, Ref, Source
from trustml.importing.refusals import CannotCarryError
from trustml.models.layers import Architecture
from trustml.models.weights import Weights

EXAMPLES = 5
"""Examples that a module is traced with."""
_INNER = "module."


def source(module: nn.Module, example: Any) -> Source:
    """Trace a module and keep it for comparison.

    Parameters
    ----------
    module : torch.nn.Module
        It is left as it was.
    example : tensor or array, or the only one of a sequence or mapping
        Inputs as the module takes them, of any number of examples.

    Raises
    ------
    UsageError
        If it cannot be traced, or changes what it holds.
    """
    wrapped = _OneOutput(_in_single_precision(module))
    given = _tensor_of(example)
    rows = torch.cat([given] * -(-EXAMPLES // len(given)))[:EXAMPLES].clone()
    with evaluating(wrapped), torch.no_grad(), _quiet():
        try:
            exported = _functional(torch.export.export(wrapped, (rows,)))
        except _SeveralOutputsError as error:
            raise UsageError(CannotCarryError("outputs", str(error)).line("the model")) from None
        except Exception as error:  # whatever somebody's module does
            if isinstance(error.__cause__, _SeveralOutputsError) or "_SeveralOutputs" in str(error):
                raise UsageError(CannotCarryError("outputs").line("the model")) from None
            raise UsageError(CannotCarryError("control_flow", _first_line(error)).line("the model")) from None
        signature = exported.graph_signature
        if changed := [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]:
            name = changed[0].removeprefix(_INNER)
            raise UsageError(CannotCarryError("mutated", name).line("the model"))
        program = _program(exported, tuple(rows.shape))
    return Source(
        program=program,
        kind=f"torch.nn.Module ({type(module).__name__})",
        original=_outputs(wrapped),
        logits=_logits(wrapped),
        remarks=_remarks(module),
        example=given.numpy(),
    )


def network(architecture: Architecture, input_shape: tuple[int, ...], weights: Weights) -> Callable[[Floats], Floats]:
    """Build a carried network and give its logits."""
    return TorchNetwork(Model(architecture=architecture, input_shape=input_shape, weights=weights)).logits


def _functional(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Give the program without operators that change what they take, and with sums of products written out."""
    sums = torch.ops.aten.einsum.default
    has_sums = any(node.target is sums for node in exported.graph.nodes)
    table = {sums: torch.export.default_decompositions()[sums]} if has_sums else {}
    return exported.run_decompositions(table)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch tells of a module that it cannot trace from the terminal: the error says it in one line."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        silence = redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO())
        with warnings.catch_warnings(), silence[0], silence[1]:
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


_CLASSES = {
    "bert": "BertForSequenceClassification",
    "distilbert": "DistilBertForSequenceClassification",
    "gpt2": "GPT2LMHeadModel",
    "vit": "ViTForImageClassification",
    "resnet": "ResNetForImageClassification",
}


def written_by(path: Path, config: Mapping[str, Any]) -> Callable[[npt.NDArray[Any]], Floats] | None:
    """Give what transformers makes of a folder, as a function of inputs; None where it is not installed.

    Its code alone runs, on safetensors alone. Tokens of padding are masked.
    """
    if importlib.util.find_spec("transformers") is None:
        return None
    import transformers  # type: ignore[import-not-found]

    kind = str(config["model_type"])
    found = getattr(transformers, _CLASSES[kind]).from_pretrained(
        path, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
    )
    padding = int(config.get("pad_token_id") or 0)

    def outputs(inputs: npt.NDArray[Any]) -> Floats:
        given = _tensor_of(inputs)
        masked = {"attention_mask": (given != padding).long()} if kind in ("bert", "distilbert") else {}
        with evaluating(found), torch.no_grad():
            logits: Tensor = found(given, **masked).logits
            return logits.numpy()

    return outputs


class _SeveralOutputsError(Exception):
    """A module that does not return one tensor."""


class _OneOutput(nn.Module):
    """A module that returns one tensor: of an object with ``logits`` those."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.module(inputs)
        logits = getattr(found, "logits", None)
        if isinstance(logits, Tensor):
            return logits
        if isinstance(found, Mapping):
            found = list(found.values())
        if isinstance(found, tuple | list) and len(found) == 1:
            (found,) = found
        if not isinstance(found, Tensor):
            count = f"{len(found)} outputs" if isinstance(found, tuple | list) else type(found).__name__
            raise _SeveralOutputsError(f"_SeveralOutputs: it returns {count}")
        return found


def _in_single_precision(module: nn.Module) -> nn.Module:
    """Give the module, or a copy where its weights are of another type or elsewhere."""
    kept = [*module.parameters(), *module.buffers()]
    if all(one.device.type == "cpu" and (one.dtype == torch.float32 or not one.is_floating_point()) for one in kept):
        return module
    return copy.deepcopy(module).cpu().float()


def _tensor_of(example: Any) -> Tensor:
    if isinstance(example, Mapping):
        example = list(example.values())
    if isinstance(example, tuple | list) and example and hasattr(example[0], "shape"):
        if len(example) > 1:
            raise UsageError(CannotCarryError("outputs", f"{len(example)} inputs").line("the model"))
        (example,) = example
    found = example.detach().cpu() if isinstance(example, Tensor) else torch.from_numpy(np.array(example))
    if found.ndim < 2 or not len(found):
        raise UsageError(
            f"example: has shape {tuple(found.shape)}; give inputs (examples, ...) as the model takes them"
        )
    return found.float() if found.is_floating_point() else found.long()


def _outputs(module: nn.Module) -> Callable[[npt.NDArray[Any]], Floats]:
    def outputs(inputs: npt.NDArray[Any]) -> Floats:
        with evaluating(module), torch.no_grad():
            found: Tensor = module(_tensor_of(inputs))
            return found.float().numpy()

    return outputs


_ENDINGS = (
    torch.ops.aten._softmax.default,
    torch.ops.aten._log_softmax.default,
    torch.ops.aten.sigmoid.default,
    torch.ops.aten.sigmoid_.default,
)


class _LastEnding(TorchDispatchMode):
    """Keeps what the last softmax or sigmoid took and gave."""

    taken = given = torch.empty(0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = args[0].clone() if func in _ENDINGS else None
        found = func(*args, **(kwargs or {}))
        if taken is not None:
            self.taken, self.given = taken, found
        return found


def _logits(module: nn.Module) -> Callable[[npt.NDArray[Any]], Floats | None]:
    """What the module itself has before the softmax or sigmoid that gives its output, seen while it computes."""

    def logits(inputs: npt.NDArray[Any]) -> Floats | None:
        with evaluating(module), torch.no_grad(), _LastEnding() as seen:
            found: Tensor = module(_tensor_of(inputs))
        same = found.data_ptr() == seen.given.data_ptr() and found.numel() == seen.given.numel()
        plain = found.is_contiguous() and seen.given.is_contiguous()
        return seen.taken.reshape(found.shape).float().numpy() if same and plain else None

    return logits


def _remarks(module: nn.Module) -> tuple[str, ...]:
    """What an import does not keep: other types of numbers, and weights that do not train."""
    weights = list(module.parameters())
    kinds = sorted({str(one.dtype).removeprefix("torch.") for one in [*weights, *module.buffers()]
                    if one.is_floating_point() and one.dtype != torch.float32})  # fmt: skip
    found = []
    if kinds:
        found.append(f"held against a float32 copy: the module is of {', '.join(kinds)}, and rounds otherwise itself")
    if fixed := sum(not one.requires_grad for one in weights):
        found.append(f"{fixed} of {len(weights)} weights do not train in the module (requires_grad); here all do")
    return tuple(found)


def _program(exported: torch.export.ExportedProgram, shape: tuple[int, ...]) -> Program:
    known = _constants(exported)
    calls: list[Call] = []
    (given,) = exported.graph_signature.user_inputs
    (output,) = exported.graph_signature.user_outputs
    for node in exported.graph.nodes:
        if node.op != "call_function" or node.name in known:
            continue
        if _is_constant(node, known):
            values = fx.node.map_arg((node.args, node.kwargs), lambda one: known[one.name][0])
            known[node.name] = (node.target(*values[0], **values[1]), "")
            continue
        calls.append(_call(node, known))
    if output in known:
        raise UsageError(CannotCarryError("standstill").line("the model"))
    return Program(
        calls=tuple(calls), input=str(given), input_shape=shape, output=str(output), batch=EXAMPLES
    )  # fmt: skip


def _constants(exported: torch.export.ExportedProgram) -> dict[str, tuple[Any, str]]:
    """Weights and other tensors by the names of their placeholders, each with the name that its first use has."""
    signature, found = exported.graph_signature, {}
    names: dict[Any, str] = {}
    lifted = {**signature.inputs_to_lifted_tensor_constants, **signature.inputs_to_lifted_custom_objs}
    for placeholder, name in {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **lifted}.items():
        value = exported.state_dict.get(name, exported.constants.get(name))
        key = (value.data_ptr(), value.shape) if isinstance(value, Tensor) and value.numel() else name
        origin = names.setdefault(key, name.removeprefix(_INNER))
        found[placeholder] = (value, "" if placeholder in lifted else origin)
    return found


def _is_constant(node: fx.Node, known: Mapping[str, Any]) -> bool:
    return all(one.name in known for one in node.all_input_nodes) and not node.is_impure()


def _call(node: fx.Node, known: Mapping[str, tuple[Any, str]]) -> Call:
    def given(found: Any) -> Any:
        if isinstance(found, fx.Node):
            if found.name not in known:
                return Ref(found.name)
            value, origin = known[found.name]
            return Constant(value.detach().cpu().numpy(), origin) if isinstance(value, Tensor) else value
        if isinstance(found, list | tuple):
            return [given(one) for one in found]
        return found

    stack = node.meta.get("nn_module_stack") or {}
    place = list(stack.values())[-1][0] if stack else ""
    place = "" if place == _INNER[:-1] else place.removeprefix(_INNER)
    if node.target is operator.getitem:
        arguments = {"list": given(node.args[0]), "index": node.args[1]}
        return Call(name=node.name, operator="getitem", arguments=arguments, place=place)
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return Call(name=node.name, operator=str(node.target), arguments={"self": given(node.args)}, place=place)
    arguments = {one.name: one.default_value for one in schema.arguments if one.has_default_value()}
    arguments |= {one.name: given(value) for one, value in zip(schema.arguments, node.args, strict=False)}
    arguments |= {name: given(value) for name, value in node.kwargs.items()}
    return Call(name=node.name, operator=schema.name.rpartition("::")[2], arguments=arguments, place=place)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
