"""A run as MLflow knows runs: one for the whole, and below it one for each model, with parameters and metrics."""

from __future__ import annotations

import datetime
import itertools
import math
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trustml.compare.table import read_measures, read_statements, rows_of
from trustml.errors import RecordError
from trustml.measures.row import Row
from trustml.models.tasks import facts_of
from trustml.plan.job import short_model
from trustml.record.files import UNREADABLE, plain_bytes
from trustml.record.schema import JobRecord, Manifest, regimes_of, task_of
from trustml.record.store import AUDIT, AUDIT_REPORT, CURVES, MANIFEST, MEASURES, PRIVACY, RunDirectory
from trustml.report.summary import summary, worded

ARTIFACTS = (MANIFEST, MEASURES, PRIVACY, CURVES, AUDIT, AUDIT_REPORT)
"""What goes along, where it is there: all of it is released, and none of it is data or weights."""
_LONGEST_VALUE = 500
"""Letters of a parameter that every server takes."""
_LONGEST_TAG = 5_000
_LONGEST_KEY = 240
"""Letters of a name, so that ``.high`` goes behind it within the 250 that servers take."""
_ENDS = ("", ".low", ".high")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number.

    Attributes
    ----------
    key : str
    value : float
    step : int
        Round of a federated training; 0 for what is measured once.
    """

    key: str
    value: float
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class ExportedRun:
    """What a server is told of one run.

    Attributes
    ----------
    name : str
    begun, ended : int
        Milliseconds since 1970.
    whole : bool
        Whether it ended well.
    params, tags : dict of str
    metrics : tuple of Metric
    artifacts : dict of bytes
    """

    name: str
    begun: int
    ended: int
    whole: bool
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: tuple[Metric, ...]
    artifacts: Mapping[str, bytes] = field(default_factory=dict)


def exported_runs(run: RunDirectory, *, artifacts: bool = True) -> tuple[ExportedRun, tuple[ExportedRun, ...]]:
    """Give a run and its models as MLflow knows them.

    Parameters
    ----------
    run : RunDirectory
    artifacts : bool
        Whether `ARTIFACTS` go along.

    Returns
    -------
    parent, children : ExportedRun and tuple of ExportedRun

    Raises
    ------
    RecordError
        If the run has not been measured, or cannot be read.
    """
    manifest, table, statements = run.manifest(), read_measures(run), read_statements(run)
    begun, ended = _milliseconds(manifest.created), _milliseconds(manifest.ended or manifest.created)
    said = [
        f"{question} {answer.sentence}"
        for question, answers in worded(summary(manifest, table, statements))
        for answer in answers
    ]
    tags = {
        "trustml.run": manifest.run,
        "trustml.status": manifest.status,
        "mlflow.note.content": "\n\n".join(said),
        **{f"trustml.{name}": text for name, text in manifest.source.items()},
    }
    rows = rows_of(table)
    parent = ExportedRun(
        name=manifest.run,
        begun=begun,
        ended=ended,
        whole=manifest.status == "success",
        params=_params(manifest.scenario),
        tags=_short_tags(tags),
        metrics=tuple(_metrics([row for row in rows if not row.job])),
        artifacts=_artifacts(run) if artifacts else {},
    )
    trained = [record for record in manifest.jobs if record.kind == "train"]
    return parent, tuple(_child(run, manifest, record, rows, begun) for record in trained)


def _child(run: RunDirectory, manifest: Manifest, record: JobRecord, rows: list[Row], begun: int) -> ExportedRun:
    own = [row for row in rows if row.job == record.id or row.model == record.id]
    about: dict[str, object] = {"framework": record.backend, "regime": record.regime, "seed": record.seed}
    tags = {"trustml.run": manifest.run, "trustml.job": record.id, "trustml.status": record.status}
    for row in own:
        if row.measure == "epsilon" and row.value is not None:  # an epsilon says nothing without these
            promised: dict[str, object] = {"delta": row.delta, "unit": row.privacy_unit, "relation": row.relation}
            promised |= {"sampling": row.sampling, "accountant": row.accountant}
            tags |= {f"trustml.epsilon.{name}": str(value) for name, value in promised.items()}
    if record.reason:
        tags["trustml.reason"] = record.reason
    return ExportedRun(
        name=short_model(record.id),
        begun=begun,
        ended=begun + round(1000 * record.seconds),
        whole=record.status == "ok",
        params=_params({**about, **regimes_of(manifest).get(record.regime, {})}),
        tags=_short_tags(tags),
        metrics=(*_metrics(own), *_history(run, record)),
    )


def _metrics(rows: list[Row]) -> Iterator[Metric]:
    """Every value with its interval; of a measure of several things, the thing is in its name."""
    times = Counter(row.measure for row in rows)
    named = [
        "/".join(part for part in (row.measure, row.method, row.subject) if part)
        if row.method or times[row.measure] > 1
        else row.measure
        for row in rows
    ]
    alike, taken = Counter(map(_key, named)), set[str]()
    for row, key in zip(rows, named, strict=True):
        if alike[_key(key)] > 1:  # two numbers of one name would be taken for one that changed
            key = "/".join((key, row.regime, row.backend, str(row.seed), row.first, row.second, row.privacy_unit))
        key = _free(key, taken)
        for end, value in zip(_ENDS, (row.value, row.low, row.high), strict=True):
            taken.add(f"{key}{end}")
            if value is not None and math.isfinite(value):
                yield Metric(key=f"{key}{end}", value=value)


def _history(run: RunDirectory, record: JobRecord) -> Iterator[Metric]:
    """Score and loss on held-out examples in training, by round where that is federated, else by step."""
    name = f"jobs/{record.id}/history.npz"
    if not run.file(name).is_file():
        return
    arrays, score = run.arrays(name), facts_of(task_of(run.manifest())).score
    by = "round" if "rounds" in arrays else "step"
    for key, name in ((score, score), ("held_out_loss", "loss")):
        for step, value in zip(arrays[f"{by}s"], arrays[name], strict=True):
            if math.isfinite(value):
                yield Metric(key=f"{key}_by_{by}", value=float(value), step=int(step))


def _params(fields: Mapping[str, Any]) -> dict[str, str]:
    """Fields of a scenario by their paths, as overrides name them."""
    found: dict[str, str] = {}
    for where, value in _by_path(fields):
        found[_free(where, found)] = str(value)[:_LONGEST_VALUE]
    return found


def _by_path(fields: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        where = f"{path}.{name}" if path else str(name)
        parts = value
        if isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
            parts = {str(number): one for number, one in enumerate(value)}
        if isinstance(parts, Mapping) and parts:
            yield from _by_path(parts, where)
        else:
            yield where, value


def _short_tags(tags: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in tags.items():
        if text:
            found[_free(name, found)] = text[:_LONGEST_TAG]
    return found


def _free(text: str, taken: Container[str]) -> str:
    """A name as MLflow takes them that no other is: those that come to the same are numbered."""
    first = found = _key(text)
    for number in itertools.count(2):
        if not any(f"{found}{end}" in taken for end in _ENDS):
            break
        found = f"{first[: _LONGEST_KEY - 6]} {number}"
    return found


def _key(text: str) -> str:
    """A name as MLflow takes them: letters and digits of any script, ``_-. /``; never one that leaves its folder."""
    safe = re.sub(r"[^\w\-. /]", "-", text)[:_LONGEST_KEY]
    return "/".join(part if part.strip(".") else "-" for part in safe.split("/"))


def _artifacts(run: RunDirectory) -> dict[str, bytes]:
    found = {}
    for name in ARTIFACTS:
        try:
            found[name] = plain_bytes(run.path / name)
        except FileNotFoundError:
            continue
        except UNREADABLE as error:
            raise RecordError(f"{run.path / name}: cannot be read ({error})") from None
    return found


def _milliseconds(text: str) -> int:
    try:
        return round(1000 * datetime.datetime.fromisoformat(text).timestamp())
    except ValueError:
        return 0
