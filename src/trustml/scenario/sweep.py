"""Sweeps: one regime becomes several that differ in some fields, and the scenario says in which."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, get_args

import msgspec

from trustml.errors import ScenarioError, UsageError
from trustml.scenario.problems import PlainData, nearest
from trustml.scenario.regimes import PrivateRegime
from trustml.scenario.sampling import NO_TOML, Domain, Range, Sample, drawn, range_of

SweptValue: TypeAlias = float | int | str | bool | None
MOST_REGIMES = 4096
_LONGEST_TITLE = 64


class Swept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one regime of a sweep has in one of the fields that the sweep goes over.

    Parameters
    ----------
    regime : str
        Title of the regime.
    of : str
        Title of the regime that was swept over; its others say the same.
    field : str
        Below the regime: ``epsilon``, ``optimizer.learning_rate``.
    value : float, int, str, bool or None
    """

    regime: str
    of: str
    field: str
    value: SweptValue


def several_values(override: str) -> tuple[str, tuple[SweptValue, ...]] | None:
    """Read ``training.1.epsilon=1,3,8`` as a field of regimes and its values; None where it is one value.

    Values are TOML: text needs quotes here.
    """
    path, _, text = override.partition("=")
    if not path.strip().startswith("training.") or _is_toml(text):
        return None
    try:
        values = tomllib.loads(f"value = [{text}]")["value"]
    except NO_TOML:
        return None
    return (path.strip(), tuple(values)) if len(values) > 1 else None


def grid_override(grid: str) -> str:
    """Give the override that sweeps over ``FIELD=a,b,c``, whose values may be bare words.

    Raises
    ------
    UsageError
        If it names no several values of a regime's field.
    """
    if range_of(grid) is not None:
        return grid.strip()
    path, equals, text = grid.partition("=")
    parts = [part.strip() for part in text.split(",")]
    quoted = [part if _is_toml(part) else msgspec.json.encode(part).decode() for part in parts]
    override = f"{path.strip()}={','.join(quoted)}"
    if not equals or several_values(override) is None:
        raise UsageError(
            f"--grid {grid!r}: write a field of a regime and at least two values, such as training.1.epsilon=1,3,8, "
            "or with --sample a range, such as training.1.optimizer.learning_rate=0.01..1:log"
        )
    return override


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(f"value = {text}")
    except NO_TOML:
        return False
    return True


def expand_sweeps(data: PlainData, grids: Sequence[tuple[str, Domain]], *, sample: Sample | None = None) -> None:
    """Put in place of each regime that grids name one for each combination of their values, or of a sample of them.

    Regimes that no grid names stay as they are, and are trained once.

    Parameters
    ----------
    data : dict
        A scenario with every field; changed in place.
    grids : sequence of (str, tuple or Range)
        Field and values: ``training.1.epsilon``, or ``training.*.optimizer.learning_rate`` for all regimes.
    sample : Sample, optional
        How settings are drawn, where there are ranges; regimes of the same grids get the same settings.

    Raises
    ------
    ScenarioError
        If a grid names no field of a regime, or there are too many combinations.
    """
    regimes: list[PlainData] = list(data["training"])
    of_regime: dict[int, dict[str, Domain]] = {}
    for path, values in grids:
        if isinstance(values, Range) and sample is None:
            raise ScenarioError(
                path, "is given a range", fix="say by --sample how many settings are drawn, or list values"
            )
        for index, field in _named(path, regimes):
            if not isinstance(values, Range):
                _check_values(f"training.{index}.{field}", values)
            fields = of_regime.setdefault(index, {})
            _check_once(f"training.{index}.{field}", values, fields.get(field))
            fields[field] = values
    swept: list[dict[str, Any]] = []
    made: dict[int, list[PlainData]] = {}
    for index, regime in enumerate(regimes):
        fields = of_regime.get(index, {})
        made[index] = _combinations(regime, fields, _settings(fields, sample), swept, path=f"training.{index}")
    count = sum(map(len, made.values()))
    if count > MOST_REGIMES:
        raise ScenarioError(
            grids[0][0].strip(), f"the sweep makes {count} regimes", fix=f"use fewer values: {MOST_REGIMES} at the most"
        )
    data["training"] = [one for group in made.values() for one in group]
    data["sweep"] = [*data.get("sweep", ()), *swept]
    data["chosen_from_data"] = _moved(data.get("chosen_from_data", ()), made)


def _named(path: str, regimes: Sequence[PlainData]) -> list[tuple[int, str]]:
    """Indices of the regimes that a path names, and the field below them."""
    _, index, field = [*path.split(".", 2), "", ""][:3]
    if not field:
        raise ScenarioError(path, "names no field of a regime", fix="write training.1.epsilon, say")
    if index == "*":
        whole = [number for number, regime in enumerate(regimes) if not regime.get("ablation")]
        return [(number, field) for number in whole if _has(regimes[number], field)] or [(0, field)]
    if not index.isdigit() or int(index) >= len(regimes):
        fix = f"use 0 to {len(regimes) - 1}, or * for all"
        raise ScenarioError(path, f"there is no item {index} among {len(regimes)}", fix=fix)
    return [(int(index), field)]


def _has(regime: PlainData, field: str) -> bool:
    place: Any = regime
    for key in field.split("."):
        if not isinstance(place, dict) or key not in place:
            return False
        place = place[key]
    return True


def _settings(fields: Mapping[str, Domain], sample: Sample | None) -> list[tuple[SweptValue, ...]]:
    if sample is not None and fields:
        return drawn(fields, sample)
    return list(itertools.product(*(values for values in fields.values() if not isinstance(values, Range))))


def _check_once(path: str, values: Domain, before: Domain | None) -> None:
    """Refuse a second grid over a field: which of the two is meant nobody knows."""
    if before is not None:
        one, other = (str(values) if isinstance(values, Range) else str(list(values)) for values in (before, values))
        problem = f"is named by two grids, with {one} and with {other}"
        raise ScenarioError(path, problem, fix="give each field one grid; * names all regimes")


def _check_values(field: str, values: Sequence[SweptValue]) -> None:
    for value in values:
        if isinstance(value, list | dict):
            raise ScenarioError(
                field, f"{value!r} is no single value", fix="sweep over numbers, words or true and false"
            )
    if len(set(values)) < len(values):
        raise ScenarioError(field, f"{list(values)} repeats a value", fix="name each once")


def _combinations(
    regime: PlainData,
    fields: Iterable[str],
    settings: Sequence[Sequence[SweptValue]],
    swept: list[dict[str, Any]],
    *,
    path: str,
) -> list[PlainData]:
    """Give a regime for each setting, a value for every field; what each has is added to `swept`."""
    if not fields:
        return [regime]
    title = regime.get("name") or regime["kind"]
    found: list[PlainData] = []
    for values in settings:
        one = msgspec.json.decode(msgspec.json.encode(regime))
        for field, value in zip(fields, values, strict=True):
            _set(one, field, value, path=path)
        words = [f"{field.rpartition('.')[2]}-{_in_a_name(value)}" for field, value in zip(fields, values, strict=True)]
        name = "-".join([title, *words])
        one["name"] = name if len(name) <= _LONGEST_TITLE else f"{title[:50]}-{len(found) + 1}"
        swept += [
            {"regime": one["name"], "of": title, "field": field, "value": value}
            for field, value in zip(fields, values, strict=True)
        ]
        found.append(one)
    return found


def _in_a_name(value: SweptValue) -> str:
    text = str(value).removesuffix(".0")  # whole, as rounded ones may be the same
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in text.replace("+", ""))


def _set(regime: PlainData, field: str, value: SweptValue, *, path: str) -> None:
    *above, last = field.split(".")
    place: Any = regime
    for key in above:
        if not isinstance(place, dict) or key not in place:
            raise ScenarioError(f"{path}.{field}", "is unknown", fix=_choices(key, place))
        place = place[key]
    if not isinstance(place, dict) or last not in place or last in ("name", "kind"):
        raise ScenarioError(
            f"{path}.{field}", f"is no field of {regime['kind']} to sweep over", fix=_choices(last, place)
        )
    place[last] = value


def _choices(key: str, place: Any) -> str:
    if not isinstance(place, dict):
        return "name a field above it"
    return nearest(key, [name for name in place if name not in ("name", "kind")])


def _moved(paths: Sequence[str], made: Mapping[int, Sequence[PlainData]]) -> list[str]:
    """Paths of fields, of which those below a regime name its successors."""
    found: list[str] = []
    for path in paths:
        parts = path.split(".")
        if parts[0] != "training" or len(parts) == 1 or not parts[1].isdigit() or int(parts[1]) not in made:
            found.append(path)
            continue
        before = sum(len(group) for index, group in made.items() if index < int(parts[1]))
        for number in range(len(made[int(parts[1])])):
            found.append(".".join(["training", str(before + number), *parts[2:]]))
    return found


def tuning_candidates(
    data: PlainData, grids: Sequence[tuple[str, tuple[SweptValue, ...]]]
) -> tuple[list[PlainData], dict[str, tuple[SweptValue, ...]]]:
    """Give the one regime of a scenario with each combination of values, all of which must cost the same.

    Returns
    -------
    regimes : list of dict
    tried : dict
        Field to its values.

    Raises
    ------
    ScenarioError
        If the scenario trains more than one private model, or a field changes what a run is charged for.
    """
    for field in ("training", "backends", "seeds"):
        if len(data[field]) != 1:
            raise ScenarioError(field, f"has {len(data[field])} items, and one model is tuned", fix="leave one")
    kind = data["training"][0]["kind"]
    if kind != "DPSGD":
        private = f"what choosing among trainings by {kind} costs is not accounted for by drawing their number"
        why = private if kind in _PRIVATE else "is not private, so nothing is paid for choosing"
        raise ScenarioError("training.0", why, fix="use DPSGD, or a sweep")
    tried: dict[str, tuple[SweptValue, ...]] = {}
    for path, values in grids:
        ((_, field),) = _named(path, data["training"])
        if field.partition(".")[0] not in _CHARGED_ALIKE:
            fix = f"choose among values of {', '.join(_CHARGED_ALIKE)}"
            raise ScenarioError(
                path, "changes what a run is charged for, and all that are tried must cost alike", fix=fix
            )
        _check_values(path, values)
        _check_once(path, values, tried.get(field))
        tried[field] = values
    title = data["training"][0]["name"]
    settings = list(itertools.product(*tried.values()))
    found = _combinations(data["training"][0], tried, settings, [], path="training.0")
    return [one | {"name": title} for one in found], tried


_PRIVATE = frozenset(one.__struct_config__.tag for one in get_args(PrivateRegime))
_CHARGED_ALIKE = ("optimizer", "schedule", "clipping_norm", "ema_decay", "augmentation")


def check_sweep(swept: Sequence[Swept], regimes: Mapping[str, msgspec.Struct]) -> None:
    """Check that what a sweep says of its regimes is so.

    Raises
    ------
    ScenarioError
    """
    for index, one in enumerate(swept):
        if one.regime not in regimes:
            fix = f"name one of {', '.join(regimes)}"
            raise ScenarioError(f"sweep.{index}.regime", f"{one.regime!r} names no regime", fix=fix)
        place: Any = msgspec.to_builtins(regimes[one.regime])
        for key in one.field.split("."):
            place = place.get(key, _ABSENT) if isinstance(place, dict) else _ABSENT
        if place != one.value:
            said = "has no such field" if place is _ABSENT else f"has {place!r} there"
            raise ScenarioError(
                f"sweep.{index}.value", f"{one.regime} {said}, not {one.value!r}", fix="say what it has"
            )


_ABSENT = object()
