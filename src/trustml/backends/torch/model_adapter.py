"""Somebody's ``torch.nn.Module``, asked for outputs and input gradients and left as it was."""

from __future__ import annotations

import copy
import importlib.util
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trustml.backends.contract import LiveModel
from trustml.data.dataset import Floats, Ints
from trustml.errors import UsageError
from trustml.models.native import Lent
from trustml.record.files import arrays_digest


class TorchLiveModel:
    """See :class:`trustml.backends.contract.LiveModel`.

    Parameters
    ----------
    module : torch.nn.Module
        It may be on any device; every submodule goes back to its own mode after each call.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def outputs(self, inputs: npt.NDArray[Any]) -> Floats:
        """Return what the module returns; of a tuple the first, of an object with ``logits`` those."""
        with evaluating(self._module), torch.no_grad():
            found = _tensor_of(self._module(self._to_tensor(inputs)))
        return found.float().cpu().numpy()

    def input_gradients(self, inputs: Floats, columns: Ints) -> Floats:
        """Gradient of each example's column, (n, *x); the gradients kept in the parameters are not touched."""
        tensor = self._to_tensor(inputs)
        if not tensor.is_floating_point():
            raise TypeError("its inputs are integers, which have no gradient")
        with evaluating(self._module), torch.enable_grad():
            tensor = tensor.detach().requires_grad_()
            outputs = _tensor_of(self._module(tensor))
            chosen = outputs.reshape(len(outputs), -1).gather(1, self._to_columns(columns)).sum()
            (gradient,) = torch.autograd.grad(chosen, tensor)
        return gradient.float().cpu().numpy()

    @contextmanager
    def randomised(self, seed: int) -> Iterator[LiveModel]:
        """Give the module, or a copy, with shuffled parameters; buffers, such as running means, stay."""
        try:
            module, kept = copy.deepcopy(self._module), None
        except Exception:  # as a class that Keras has not been told of, or an array that is no leaf
            module, kept = self._module, [parameter.detach().clone() for parameter in self._module.parameters()]
        generator = np.random.default_rng(seed)
        try:
            with torch.no_grad():
                for parameter in module.parameters():
                    order = torch.from_numpy(generator.permutation(parameter.numel())).to(parameter.device)
                    parameter.copy_(parameter.reshape(-1)[order].reshape(parameter.shape))
            yield TorchLiveModel(module)
        finally:
            if kept is not None:
                with torch.no_grad():
                    for parameter, values in zip(module.parameters(), kept, strict=True):
                        parameter.copy_(values)

    def digest(self) -> str:
        """Identify the module by its parameters and buffers."""
        module = self._module.module if isinstance(self._module, ByParts) else self._module
        state = ((name, value) for name, value in module.state_dict().items() if isinstance(value, Tensor))
        # numpy has no bfloat16; every one of its values is a float32.
        return arrays_digest(
            (name, (value.float() if value.dtype == torch.bfloat16 else value).detach().cpu().numpy())
            for name, value in state
        )

    def library_attributions(
        self, inputs: Floats, columns: Ints, *, baseline: Floats, n_steps: int, rows: int = 256
    ) -> dict[str, Floats]:
        """Captum's integrated gradients, if Captum is installed."""
        if importlib.util.find_spec("captum") is None:
            return {}
        import captum.attr

        tensor, base = self._to_tensor(inputs), self._to_tensor(baseline)
        with evaluating(self._module):
            found = captum.attr.IntegratedGradients(self._flat).attribute(
                tensor,
                baselines=base,
                target=self._to_columns(columns)[:, 0],
                n_steps=n_steps,
                method="gausslegendre",
                internal_batch_size=max(len(inputs), min(rows, 256)),
            )
        return {"Captum": found.detach().float().cpu().numpy()}

    def _flat(self, inputs: Tensor) -> Tensor:
        outputs = _tensor_of(self._module(inputs))
        return outputs.reshape(len(outputs), -1)

    def _to_tensor(self, inputs: npt.NDArray[Any]) -> Tensor:
        floating = (values for values in self._module.parameters() if values.is_floating_point())
        first = next(floating, torch.empty(0))
        tensor = torch.from_numpy(np.array(inputs, order="C")).to(first.device)
        return tensor.to(first.dtype) if tensor.is_floating_point() else tensor

    def _to_columns(self, columns: Ints) -> Tensor:
        device = next((values.device for values in self._module.parameters()), None)
        return torch.from_numpy(np.array(columns, np.int64))[:, None].to(device)


class ByParts(nn.Module):
    """A module that is given the parts of its input, as one of their stack (n, parts, ...).

    Parameters
    ----------
    module : torch.nn.Module
        It gets them by their names, or as one mapping if it is a model of Keras or its one argument is another.
    parts : tuple of str
    """

    def __init__(self, module: nn.Module, parts: tuple[str, ...]) -> None:
        super().__init__()
        self.module, self._parts = module, parts
        self._as_mapping = _takes_mapping(module, parts)

    def forward(self, inputs: Tensor) -> Any:
        """Return what the module returns."""
        named = {name: inputs[:, number] for number, name in enumerate(self._parts)}
        return self.module(named) if self._as_mapping else self.module(**named)


def _takes_mapping(module: nn.Module, parts: tuple[str, ...]) -> bool:
    if any(kind.__module__.split(".")[0] == "keras" for kind in type(module).__mro__):
        return True
    arguments = inspect.signature(module.forward).parameters.values()
    if any(one.kind is one.VAR_KEYWORD or one.name in parts for one in arguments):
        return False
    return sum(one.kind is one.POSITIONAL_OR_KEYWORD and one.default is one.empty for one in arguments) == 1


def by_parts(model: Any, parts: tuple[str, ...]) -> Any:
    """Give a module of named parts as one of a single array."""
    return ByParts(model, parts)


def live_model(model: Any) -> LiveModel:
    """Wrap a ``torch.nn.Module``."""
    return TorchLiveModel(model)


class _FlatOutputs(nn.Module):
    """A module whose outputs are (n, c), and whose inputs come with their channels first."""

    def __init__(self, module: nn.Module, *, channels_first: bool) -> None:
        super().__init__()
        self.module, self._channels_first = module, channels_first

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (n, c)."""
        if inputs.ndim == 4 and not self._channels_first:
            inputs = inputs.permute(0, 2, 3, 1)
        outputs = _tensor_of(self.module(inputs))
        return outputs.reshape(len(outputs), -1)


def lent_model(model: nn.Module, *, channels_first: bool) -> Lent:
    """Lend a copy of a module, in evaluation mode and float32.

    Raises
    ------
    UsageError
        If it cannot be copied.
    """

    def make() -> nn.Module:
        try:
            copied = copy.deepcopy(model)
        except Exception as error:  # whatever a stranger's module raises
            raise UsageError(
                f"model: a {type(model).__name__} could not be copied ({type(error).__name__}); give a function of "
                "inputs, for methods that ask for outputs alone"
            ) from None
        return _FlatOutputs(copied, channels_first=channels_first).eval()

    return Lent(make=make)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module, and all its parts, into evaluation mode for a while."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
    except NotImplementedError:  # of torch.export: fixed in the mode that it was exported in
        pass
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _tensor_of(found: Any) -> Tensor:
    for candidate in (found, getattr(found, "logits", None), found[0] if isinstance(found, tuple | list) else None):
        if isinstance(candidate, Tensor):
            return candidate
    raise TypeError(f"the module returns {type(found).__name__}, not a tensor of outputs")
