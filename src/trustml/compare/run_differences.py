"""In what runs differ before anything was measured: scenario, data, versions, machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from trustml.record.schema import Manifest

Part: TypeAlias = Literal["scenario", "data", "versions", "machine"]
ABSENT = "-"
_LONGEST = 80


@dataclass(frozen=True, kw_only=True)
class RunDifference:
    """One fact that is not the same in all runs.

    Attributes
    ----------
    part : {"scenario", "data", "versions", "machine"}
    field : str
        Its path, such as ``training.DPSGD.epsilon``.
    values : tuple of str
        Of each run, in their order; ``-`` where a run has none.
    """

    part: Part
    field: str
    values: tuple[str, ...]


def run_differences(manifests: Sequence[Manifest]) -> list[RunDifference]:
    """Compare what runs were asked for and where they ran, field by field; nothing where all are alike.

    What a run has none of, such as a regime, is one difference, not one for each of its fields.
    """
    facts: dict[Part, list[Any]] = {
        "scenario": [_scenario(one) for one in manifests],
        "data": [_data(one) for one in manifests],
        "versions": [dict(one.versions) for one in manifests],
        "machine": [dict(one.hardware) for one in manifests],
    }
    return [
        RunDifference(part=part, field=field, values=values)
        for part, each in facts.items()
        for field, values in _differences(each, "")
    ]


_ABSENT: Any = object()


def _differences(parts: Sequence[Any], path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    named = [_by_name(part) for part in parts]
    if all(isinstance(part, Mapping) for part in named):
        for key in dict.fromkeys(key for part in named for key in part):
            where = f"{path}.{key}" if path else str(key)
            yield from _differences([part.get(key, _ABSENT) for part in named], where)
        return
    values = tuple(_text(part) for part in parts)
    if len(set(values)) > 1:
        yield path, values


def _scenario(manifest: Manifest) -> dict[str, Any]:
    scenario = {name: value for name, value in manifest.scenario.items() if name not in ("name", "description")}
    layers = scenario.get("model", {}).get("layers", ())
    return {**scenario, "model": " ".join(map(_layer, layers))}


def _layer(layer: Mapping[str, Any]) -> str:
    """A layer, or what a node holds, with its width: what tells architectures apart at a glance."""
    inner = layer.get("layer", layer)
    width = next((str(inner[name]) for name in ("units", "filters", "width", "groups") if name in inner), "")
    return f"{inner.get('kind', '?')}{f'({width})' if width else ''}"


def _data(manifest: Manifest) -> dict[str, Any]:
    data = manifest.data
    return {
        "sha256": data.fingerprint[:16],
        "training examples": data.train_examples,
        "held-out examples": data.test_examples,
        "shape": list(data.input_shape),
    }


def _by_name(part: Any) -> Any:
    """Give a list of structs by their names, or kinds, so that one which was added does not shift the others."""
    if isinstance(part, list | tuple) and all(isinstance(one, Mapping) for one in part):
        names = [str(one.get("name") or one.get("kind")) for one in part]
        if len(set(names)) == len(names):
            return dict(zip(names, part, strict=True))
    return part


def _text(value: Any) -> str:
    if value is _ABSENT:
        return ABSENT
    if isinstance(value, Mapping):
        return str(value.get("kind") or "there")
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
