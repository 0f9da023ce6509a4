"""A ``torch.nn.Module`` of somebody's own code: built, and looked at before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from trustml.backends.torch.own_layers import lay_out_group_norms
from trustml.errors import UsageError
from trustml.models.layers import NativeModule
from trustml.models.native import OwnNetwork, load_callable
from trustml.models.weights import Weights

_EXAMPLES, _PERTURBED = 6, 2
_MOVED = 1e-5
"""Of the largest output: float32 in another order of adding moves less, and another example's part more."""


class OwnModule(nn.Module):
    """The network, which gives one tensor of outputs, and gets its inputs laid out as PyTorch lays them out.

    Ours get images channels-last in memory, of which a stranger's ``view`` gives no rows, nor does one behind a
    convolution. Strides may say so of one channel, too, where both layouts are the same; hence no ``contiguous``.

    Parameters
    ----------
    module : Module
        May return a tensor, a tuple that begins with one, or an object with ``logits``.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (n, ...)."""
        return _tensor_of(self.module(inputs.reshape(-1).view(inputs.shape)))


def _tensor_of(found: Any) -> Tensor:
    for one in (found, getattr(found, "logits", None), found[0] if isinstance(found, tuple | list) else None):
        if isinstance(one, Tensor):
            return one
    raise UsageError(f"model: it returns {type(found).__name__}; return a tensor of outputs")


def own_module(layer: NativeModule, shape: tuple[int, ...]) -> OwnModule:
    """Call the code, and let lazy layers see an input of that shape.

    Raises
    ------
    UsageError
        If it gives no module.
    """
    found = load_callable(layer)()
    if not isinstance(found, nn.Module):
        raise UsageError(f"model: {layer.module} gives {type(found).__name__}; return a torch.nn.Module")
    for name, value in (*found.named_parameters(), *found.named_buffers()):
        if value.is_complex():  # whose imaginary part float32 drops
            raise UsageError(f"model: {name} is {value.dtype}; hold its real and imaginary parts as two of float32")
    module = OwnModule(found.to(torch.float32))
    lay_out_group_norms(module)
    if any(is_lazy(one) for one in (*found.parameters(), *found.buffers())):
        with torch.no_grad():
            module(torch.zeros(_laid_out((1, *shape))))
    return module


def own_part(module: nn.Module) -> nn.Module | None:
    """Give the network of somebody's own code that a built module holds, if it holds one."""
    first = next(iter(module.children()), None)
    return first.module if isinstance(first, OwnModule) else None


def look_at(layer: NativeModule, input_shape: tuple[int, ...], seeds: Sequence[int]) -> OwnNetwork:
    """Build it once for each seed, and try it on random numbers; see :class:`OwnNetwork`."""
    weights, buffers = [], []
    for seed in (*seeds, max(seeds) + 1):  # one more, to see whether buffers are drawn
        torch.manual_seed(seed)
        module = own_module(layer, input_shape)
        weights.append(_weights_of(module.module))
        buffers.append({name: value.clone() for name, value in module.module.named_buffers()})
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(_laid_out((_EXAMPLES, *input_shape)), generator=generator)
    parameters = _parameters_of(module.module)
    with torch.no_grad():
        outputs = module.eval()(inputs)
    if outputs.ndim < 2 or len(outputs) != _EXAMPLES:
        raise UsageError(
            f"model: it gives shape {tuple(outputs.shape)} for {_EXAMPLES} examples; return outputs (n, classes)"
        )
    moves = _moving_buffers(module, inputs)
    _refuse_drawn({name: [one[name] for one in buffers] for name in buffers[0] if name not in moves})
    _require_no_memory(module.module, inputs)
    network = OwnNetwork(
        weights=tuple(weights[:-1]),
        outputs=tuple(outputs.shape[1:]),
        mixes=_mixing_layer(module.module, inputs),
        moves=moves,
        draws=_draws(module, inputs),
    )
    _require_same_parameters(module.module, parameters)
    return network


_Parameters: TypeAlias = dict[str, tuple[nn.Parameter, Tensor]]
"""By name: which one it is, and its value."""


def _parameters_of(module: nn.Module) -> _Parameters:
    return {name: (one, one.detach().clone()) for name, one in module.named_parameters()}


def _require_same_parameters(module: nn.Module, before: _Parameters) -> None:
    """Refuse parameters that calls made, or wrote to: they are not those that are trained and stored."""
    for name, one in module.named_parameters():
        if name not in before or before[name][0] is not one:
            problem = "is made when it is called, and would be neither trained nor stored"
            raise UsageError(f"model: {name} {problem}; make it in __init__, or as a layer such as LazyLinear")
        if not torch.equal(one.detach(), before[name][1]):
            raise UsageError(f"model: {name} is written to when it is called, without noise; leave weights to training")


def _require_no_memory(module: nn.Module, inputs: Tensor) -> None:
    """Refuse a network in which a batch changes what comes of the next; gradients on, as while it trains.

    Raises
    ------
    UsageError
    """
    for training in (True, False):
        module.train(training)
        found = []
        for rows in (3.0 * inputs + 1.0, inputs, inputs):
            with _without_moving(module):
                found.append(_outputs_of_layers(module, rows)[-1][1])
        if not torch.allclose(found[1], found[2], rtol=0.0, atol=0.0, equal_nan=True):
            raise UsageError(
                "model: the same batch gives other outputs again, under one seed: it keeps something of the batch "
                "before, or draws by another generator than torch's; keep nothing between calls"
            )


def _refuse_drawn(buffers: dict[str, list[Tensor]]) -> None:
    """Refuse a buffer that is another one each time that the network is built."""
    for name, (first, *others) in buffers.items():
        if any(not torch.equal(first, other) for other in others):
            raise UsageError(
                f"model: buffer {name} is drawn anew each time and is no weight; draw it by a seed of its own, or make "
                "it a parameter"
            )


def _laid_out(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a batch as the network takes it: channels of images come first."""
    return (shape[0], shape[3], *shape[1:3]) if len(shape) == 4 else shape


def _weights_of(module: nn.Module) -> Weights:
    found: Weights = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            problem = "does not train (requires_grad=False), and every weight would be trained and get noise"
            raise UsageError(f"model: {name} {problem}; let it train, make it a buffer, or import the model")
        if name.rpartition(".")[2] in ("kernel", "recurrent_kernel"):
            raise UsageError(f"model: {name} has the name of a weight that is laid out otherwise here; call it weight")
        found[name] = parameter.detach().numpy().astype(np.float32).copy()
    if not found:
        raise UsageError("model: it has no parameters; register them as torch.nn.Parameter")
    return found


def _mixing_layer(module: nn.Module, inputs: Tensor) -> str:
    """Name the first layer by which one example changes what comes of another, in either mode; empty if none does."""
    other = inputs.clone()
    other[_PERTURBED] = 3.0 * other[_PERTURBED] + 1.0
    for training in (True, False):
        module.train(training)
        with _without_moving(module):  # with gradients, as while it trains
            before, after = _outputs_of_layers(module, inputs), _outputs_of_layers(module, other)
        if not _moved(before[-1][1], after[-1][1]):
            continue
        for (name, first), (_, second) in zip(before, after, strict=False):
            if _moved(first, second):
                return f"{name or 'the network'} ({type(module.get_submodule(name)).__name__})"
    return ""


def _outputs_of_layers(module: nn.Module, inputs: Tensor) -> list[tuple[str, Tensor]]:
    """Outputs of all layers by name, in the order in which they were computed; the last is the network's own."""
    found: list[tuple[str, Tensor]] = []

    def keeping(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim and len(output) == _EXAMPLES:
                found.append((name, output.detach().clone()))

        return keep

    handles = [layer.register_forward_hook(keeping(name)) for name, layer in module.named_modules() if name]
    torch.manual_seed(0)  # the same masks of dropout
    try:
        found.append(("", _tensor_of(module(inputs)).detach().clone()))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _moved(before: Tensor, after: Tensor) -> bool:
    """Whether outputs of examples that were left alone are others."""
    same = [row for row in range(_EXAMPLES) if row != _PERTURBED]
    gap = (before[same].float() - after[same].float()).abs().max() if before.numel() else torch.zeros(())
    return bool(gap > _MOVED * max(1e-3, float(before.float().abs().max())) or not gap.isfinite())


def _moving_buffers(module: OwnModule, inputs: Tensor) -> tuple[str, ...]:
    """Names of buffers that a step of training changes."""
    before = {name: value.clone() for name, value in module.module.named_buffers()}
    with _without_moving(module):
        module.train()
        torch.manual_seed(0)
        module(inputs).sum().backward()
        moved = tuple(name for name, value in module.module.named_buffers() if not torch.equal(value, before[name]))
    module.zero_grad(set_to_none=True)
    return moved


def _draws(module: OwnModule, inputs: Tensor) -> bool:
    with _without_moving(module), torch.no_grad():
        module.train()
        return not torch.equal(module(inputs), module(inputs))


@contextmanager
def _without_moving(module: nn.Module) -> Iterator[None]:
    """Put buffers back to what they were."""
    before = [(value, value.clone()) for value in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for value, kept in before:
                value.copy_(kept)
