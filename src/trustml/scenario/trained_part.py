"""Which weights of a network a regime trains: what it names, found in the architecture."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from trustml.errors import ScenarioError
from trustml.models.adapters import DOWN, UP, with_adapters
from trustml.models.layer_types import LAYER_TYPES
from trustml.models.layers import Architecture, Dense, GroupNorm, LayerNorm, RMSNorm
from trustml.models.native import native_of
from trustml.models.shapes import Shape, node_of, weight_shapes
from trustml.models.token_layers import Unembedding
from trustml.scenario.trainable import Head, LoRA, Named, NormsAndBiases, Trainable

_MOST_NAMED = 12


@dataclass(frozen=True, kw_only=True)
class TrainedPart:
    """What is trained of which network.

    Attributes
    ----------
    architecture : Architecture
        The scenario's, with pairs beside its layers where there are any.
    trained : tuple of str
        Names of the weights that move, in order.
    beside : tuple of str
        Nodes that have a pair.
    scale : float
        Of the pairs.
    """

    architecture: Architecture
    trained: tuple[str, ...]
    beside: tuple[str, ...] = ()
    scale: float = 1.0


def trained_part(
    trainable: Sequence[Trainable], architecture: Architecture, input_shape: Shape, *, field: str = "trainable"
) -> TrainedPart:
    """Find the weights that are trained; nothing given means all of them.

    Raises
    ------
    ScenarioError
        If something given matches nothing; it names what there is.
    """
    shapes = weight_shapes(architecture, input_shape)
    if native_of(architecture) is not None:
        _require_names(trainable, tuple(shapes), field=field)
    if not trainable:
        return TrainedPart(architecture=architecture, trained=tuple(shapes))
    whole: set[str] = set()
    pairs: list[tuple[int, LoRA]] = []
    for index, one in enumerate(trainable):
        if isinstance(one, LoRA):
            pairs.append((index, one))
        else:
            whole |= _matching(one, architecture, tuple(shapes), field=f"{field}.{index}")
    if not pairs:
        return TrainedPart(architecture=architecture, trained=tuple(name for name in shapes if name in whole))
    if len(pairs) > 1:
        raise ScenarioError(f"{field}.{pairs[1][0]}", "is a second LoRA", fix="give one, with all its targets")
    index, lora = pairs[0]
    beside = _targets(lora, architecture, whole, field=f"{field}.{index}.targets")
    adapted = with_adapters(architecture, beside, rank=lora.rank, scale=lora.scale)
    moving = whole | {f"{name}.{part}" for name in beside for part in (DOWN, UP)}
    names = tuple(name for name in weight_shapes(adapted, input_shape) if name in moving)
    return TrainedPart(architecture=adapted, trained=names, beside=beside, scale=lora.scale)


def _require_names(trainable: Sequence[Trainable], names: tuple[str, ...], *, field: str) -> None:
    """Refuse what only layers tell: own code has names of weights alone, and says of none what it is."""
    for index, one in enumerate(trainable):
        if not isinstance(one, Named):
            problem = f"{type(one).__name__} is found by layers, and the model is own code, which tells names alone"
            raise ScenarioError(f"{field}.{index}", problem, fix=f"use Named with patterns of {_listed(names)}")


def trained_shapes(trainable: Sequence[Trainable], architecture: Architecture, input_shape: Shape) -> dict[str, Shape]:
    """Shapes of the weights that are trained, in order; of a pair both."""
    part = trained_part(trainable, architecture, input_shape)
    shapes = weight_shapes(part.architecture, input_shape)
    return {name: shapes[name] for name in part.trained}


def _matching(
    one: Head | NormsAndBiases | Named, architecture: Architecture, names: tuple[str, ...], *, field: str
) -> set[str]:
    match one:
        case Named():
            found = set()
            for place, pattern in enumerate(one.patterns):
                matches = set(fnmatch.filter(names, pattern))
                if not matches:
                    problem = f"{pattern!r} matches no weight of the model"
                    raise ScenarioError(f"{field}.patterns.{place}", problem, fix=f"choose among {_listed(names)}")
                found |= matches
            return found
        case Head():
            last = architecture.nodes[-1].layer
            if isinstance(last, Unembedding):
                problem = f"the outputs have no weights of their own, but the table of {last.of!r}"
                raise ScenarioError(field, problem, fix=f"name it by Named(patterns=('{last.of}.*',))")
            head = [node.name for node in architecture.nodes if LAYER_TYPES[type(node.layer)].has_weights][-1]
            return {name for name in names if node_of(name) == head}
    norms = {node.name for node in architecture.nodes if isinstance(node.layer, GroupNorm | LayerNorm | RMSNorm)}
    found = {name for name in names if node_of(name) in norms or name.endswith("bias")}
    if not found:
        raise ScenarioError(field, "the model has neither norms nor biases", fix=f"choose among {_listed(names)}")
    return found


def _targets(lora: LoRA, architecture: Architecture, whole: set[str], *, field: str) -> tuple[str, ...]:
    dense = [node.name for node in architecture.nodes if isinstance(node.layer, Dense)]
    free = [name for name in dense if f"{name}.kernel" not in whole]
    for place, pattern in enumerate(lora.targets):
        if not fnmatch.filter(free, pattern):
            there = f"choose among {_listed(free)}" if free else "leave LoRA out"
            problem = f"{pattern!r} matches no dense layer whose kernel is not trained as a whole"
            raise ScenarioError(f"{field}.{place}", problem, fix=there)
    return tuple(name for name in free if any(fnmatch.fnmatchcase(name, pattern) for pattern in lora.targets))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
