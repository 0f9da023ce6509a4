"""In what runs differ before anything was measured: scenario, data, versions, machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

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

    What a run has none of, such as a regime, is one difference, not one for each of its fields; a field that is empty
    is none where others have no such field, as another kind of data, or an older record.
    """
    facts: dict[Part, list[Any]] = {
        "scenario": [_scenario(one) for one in manifests],
        "data": [_data(one) for one in manifests],
        "versions": [
            {**one.versions, **{f"source {name}".replace("_", " "): text for name, text in one.source.items()}}
            for one in manifests
        ],
        "machine": [dict(one.hardware) for one in manifests],
    }
    return [
        RunDifference(part=part, field=field, values=values)
        for part, each in facts.items()
        for field, values in _differences(each, "")
    ]


_ABSENT: Any = object()


def _differences(parts: Sequence[Any], path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if len({_exact(part) for part in parts}) == 1 or (_ABSENT in parts and all(_is_nothing(part) for part in parts)):
        return
    named = [_by_name(part) for part in parts]
    if path == "model.layers" and len({_layers(part) for part in parts}) > 1:
        yield path, tuple(_layers(part) for part in parts)
        return
    there = [part for part in parts if part is not _ABSENT]
    if 1 < len(there) < len(parts) and all(isinstance(part, Mapping) for part in there):
        yield path, tuple(map(_text, parts))
        for field, values in _differences(there, path):
            found = iter(values)
            yield field, tuple(ABSENT if part is _ABSENT else next(found) for part in parts)
        return
    if all(isinstance(part, Mapping) for part in named):
        for key in dict.fromkeys(key for part in named for key in part):
            where = f"{path}.{key}" if path else str(key)
            yield from _differences([part.get(key, _ABSENT) for part in named], where)
        return
    if all(isinstance(part, list | tuple) for part in parts) and len({len(part) for part in parts}) == 1:
        if any(isinstance(one, Mapping) for part in parts for one in part):
            for number, each in enumerate(zip(*parts, strict=True)):
                yield from _differences(each, f"{path}.{number}")
            return
    yield path, _told_apart(parts)


def fields_of(part: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Give each field of what was asked for that holds something, by its path, with its value in words."""
    named = _by_name(part)
    if path == "model.layers":
        yield path, _layers(part)
    elif isinstance(named, Mapping):
        for key, value in named.items():
            yield from fields_of(value, f"{path}.{key}" if path else str(key))
    elif not _is_nothing(part):
        yield path, _text(part)


def _is_nothing(part: Any) -> bool:
    return part is _ABSENT or part is None or (isinstance(part, str | Sequence | Mapping) and not part)


def _exact(part: Any) -> bytes:
    """A value as it is recorded: what is shortened for readers is never compared."""
    return b"" if part is _ABSENT else msgspec.json.encode(part, order="deterministic")


def _told_apart(parts: Sequence[Any]) -> tuple[str, ...]:
    """Texts of values; whole where shortened they would be the same."""
    short = tuple(_text(part) for part in parts)
    return short if len(set(short)) == len({_exact(part) for part in parts}) else tuple(map(_whole, parts))


def _whole(part: Any) -> str:
    return ABSENT if part is _ABSENT else _exact(part).decode()


def _scenario(manifest: Manifest) -> dict[str, Any]:
    return {name: value for name, value in manifest.scenario.items() if name not in ("name", "description")}


def _layers(layers: Any) -> str:
    """Kinds and widths of layers: what tells architectures apart at a glance."""
    return " ".join(map(_layer, layers)) if isinstance(layers, list | tuple) else _text(layers)


def _layer(layer: Any) -> str:
    inner = layer.get("layer", layer) if isinstance(layer, Mapping) else None
    if not isinstance(inner, Mapping):
        return _text(layer)
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
        names = [one.get("name") or one.get("kind") for one in part]
        if all(names) and len(set(map(str, names))) == len(names):
            return dict(zip(map(str, names), part, strict=True))
    return part


def _text(value: Any) -> str:
    if value is _ABSENT:
        return ABSENT
    if isinstance(value, Mapping):
        if value.get("kind"):
            return str(value["kind"])
        text = ", ".join(f"{name}: {_text(one)}" for name, one in value.items() if not _is_nothing(one))
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(map(_text, value))}]"
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
