"""DeepLIFT's rescale rule, where Captum's DeepLIFT departs from it.

Captum 0.9.0 has no rule for GELU, SiLU and maxima over all places, which then pass their plain gradients. It takes
contributions of a MaxPool back by ``max_unpool2d``, which keeps one where overlapping windows share their largest
value. Where all differences of a MaxPool's input vanish, it gives every example the gradient of the first (issue
1276). And a module directly before another with a rule reads its gradient before that rule has changed it, so that
rule is lost: between a ReLU and a MaxPool, in either order, the later one passes plain gradients (issue 1104). For a
like reason a value that a module with a rule takes, and another module too, as at a residual connection, loses what
the other sends back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from captum.attr._core import deep_lift
from torch import Tensor, nn
from torch.nn import functional

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.torch.captum_calls import seeded
from trustml.backends.torch.own_layers import GraphModule
from trustml.backends.torch.resizing import GlobalMax, places
from trustml.data.dataset import Floats
from trustml.models.layers import (
    GELU,
    Architecture,
    Dropout,
    GlobalMaxPool,
    LayerSpec,
    LeakyReLU,
    MaxPool,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)

_NONLINEAR = (ReLU, LeakyReLU, Softplus, Tanh, Sigmoid)
"""Elementwise layers that Captum has a rule for."""


def deep_lift_variants(module: nn.Module, request: ExplainRequest, run: Callable[[nn.Module], Floats]) -> Attributions:
    """Give what `run` gives with Captum's DeepLIFT as it is and, if that departs from the definition, fixed."""
    found = {"native": run(module)}
    if departs(request.model.architecture):
        with _mended_rules(), seeded(request.seed):
            found["completed"] = run(apart(module))
    return found


def departs(architecture: Architecture) -> bool:
    """Whether Captum's DeepLIFT may depart from the rescale rule for these layers."""
    nodes = architecture.nodes
    plain = GELU | SiLU | MaxPool | GlobalMaxPool
    if any(isinstance(node.layer, plain) for node in nodes) or shares_input(architecture, _NONLINEAR):
        return True
    layers = {node.name: node for node in nodes}
    for node in nodes:
        if not isinstance(node.layer, _NONLINEAR):
            continue
        before = layers.get(node.inputs[0])
        while before is not None and isinstance(before.layer, Dropout):
            before = layers.get(before.inputs[0])
        if before is not None and isinstance(before.layer, _NONLINEAR):
            return True
    return False


def shares_input(architecture: Architecture, kinds: tuple[type[LayerSpec], ...]) -> bool:
    """Whether a layer of these kinds takes a value that another node takes, too."""
    uses = Counter(name for node in architecture.nodes for name in node.inputs)
    return any(isinstance(node.layer, kinds) and uses[node.inputs[0]] > 1 for node in architecture.nodes)


class _Copy(nn.Module):
    """Its output is another tensor than its input, so that hooks on both do not meet."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.clone()


def apart(module: nn.Module) -> nn.Module:
    """Give the same layers with a copy between each two."""
    if isinstance(module, GraphModule):
        return GraphModule(module.nodes, list(module.children()), apart=True).eval()
    return nn.Sequential(*(part for layer in module.children() for part in (layer, _Copy()))).eval()


@contextmanager
def _mended_rules() -> Iterator[None]:
    """Let Captum treat GELU by the rescale rule, and maxima by a sum over windows."""
    rules = deep_lift.SUPPORTED_NON_LINEAR
    before = dict(rules)
    rules[nn.GELU] = rules[nn.SiLU] = deep_lift.nonlinear
    rules[nn.MaxPool2d] = _max_pool
    rules[GlobalMax] = _global_max
    try:
        yield
    finally:
        rules.clear()
        rules.update(before)


def _max_pool(
    module: nn.MaxPool2d, inputs: Tensor, outputs: Tensor, grad_input: Tensor, grad_output: Tensor, eps: float = 1e-10
) -> Tensor:
    """Captum's rule, but for what it loses; rows are the examples, then their baselines."""
    contributions = _parts_of_a_maximum(outputs, grad_output)
    _, found = functional.max_pool2d(inputs, module.kernel_size, module.stride, return_indices=True)
    spread = torch.zeros_like(inputs).flatten(2)
    spread.scatter_add_(2, found.flatten(2), contributions.flatten(2))
    return _multipliers(inputs, spread.view_as(inputs), grad_input, eps)


def _global_max(
    module: nn.Module, inputs: Tensor, outputs: Tensor, grad_input: Tensor, grad_output: Tensor, eps: float = 1e-10
) -> Tensor:
    """The same of one window for each channel; equal values share what is theirs."""
    shape = [*outputs.shape, *[1] * len(places(inputs))] if inputs.ndim == 4 else [len(inputs), 1, inputs.shape[2]]
    largest = (inputs == outputs.view(shape)).float()
    largest = largest / largest.sum(dim=places(inputs), keepdim=True)
    spread = largest * _parts_of_a_maximum(outputs, grad_output).view(shape)
    return _multipliers(inputs, spread, grad_input, eps)


def _parts_of_a_maximum(outputs: Tensor, grad_output: Tensor) -> Tensor:
    """Contributions of what is above the baseline's maximum, and of what is below it."""
    output, output_baseline = outputs.chunk(2)
    larger = torch.max(output, output_baseline)
    return grad_output * torch.cat([larger - output_baseline, output - larger])


def _multipliers(inputs: Tensor, contributions: Tensor, grad_input: Tensor, eps: float) -> Tensor:
    """Contributions over differences; where there is no difference, the gradient."""
    of_example, of_baseline = contributions.chunk(2)
    example, baseline = inputs.chunk(2)
    difference = example - baseline
    multiplier = torch.where(difference.abs() < eps, grad_input.chunk(2)[0], (of_example + of_baseline) / difference)
    return torch.cat([multiplier, multiplier])
