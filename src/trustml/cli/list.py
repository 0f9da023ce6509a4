"""``trustml list``."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustml.cli.output import (
    console,
    data_stream,
    file_option,
    json_option,
    json_text,
    print_columns,
    reading_told,
    root_option,
)

if TYPE_CHECKING:
    from trustml.record.heads import ManifestHead
    from trustml.record.index import ListedRun
    from trustml.record.store import RunDirectory

_STATUSES = ("running", "success", "partial", "failed", "interrupted", "damaged", "planning", "unplanned")
_SPANS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, kw_only=True)
class _Filter:
    """What a run must be to be listed; what is empty asks nothing."""

    statuses: tuple[str, ...]
    regimes: tuple[str, ...]
    data: str
    since: datetime.datetime | None
    epsilon_below: float | None
    tags: tuple[str, ...]

    @property
    def asks_of_records(self) -> bool:
        """Whether a run without a readable record cannot be what is looked for."""
        return bool(self.regimes or self.data or self.since or self.epsilon_below is not None or self.tags)

    def takes(self, run: RunDirectory, head: ManifestHead) -> bool:
        """Whether a run is one of those; its status and its epsilons are asked elsewhere."""
        if self.since is not None and _moment(head.created) < self.since:
            return False
        titles = {name.lower() for one in head.scenario.training for name in (one.name, one.kind) if name}
        if any(name.lower() not in titles for name in self.regimes):
            return False
        if self.data and not _is_of(self.data, head):
            return False
        return not self.tags or set(self.tags) <= set(_tags(run))


@click.command("list", short_help="List the runs and the ready scenarios.")
@root_option
@click.option("--status", "statuses", multiple=True, type=click.Choice(_STATUSES), help="Only these; may be repeated.")
@click.option("--regime", "regimes", multiple=True, metavar="NAME", help="Only runs with this regime or kind of one.")
@click.option("--data", default="", metavar="TEXT", help="Only of this data: file, source, or beginning of its hash.")
@click.option("--since", metavar="WHEN", help="Only since then: 2026-03-01, or 12h, 7d, 2w ago.")
@click.option("--epsilon-below", type=float, metavar="X", help="Only runs with a private model of a smaller epsilon.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only runs that `trustml note` put this tag on.")
@json_option
@file_option
def command(
    root: Path,
    statuses: tuple[str, ...],
    regimes: tuple[str, ...],
    data: str,
    since: str | None,
    epsilon_below: float | None,
    tags: tuple[str, ...],
    as_json: bool,
    file: Path | None,
) -> None:
    """List the runs in a folder, and the scenarios that come with trustml.

    Of several filters all must hold.
    """
    from trustml.scenario.ready import ready_scenarios

    wanted = _Filter(
        statuses=statuses,
        regimes=regimes,
        data=data,
        since=None if since is None else _since(since),
        epsilon_below=epsilon_below,
        tags=tags,
    )
    runs = _listed(root, wanted)
    with data_stream(file) as stream:
        if as_json:
            stream.write(json_text({"runs": runs, "scenarios": ready_scenarios()}) + "\n")
            return
        out = console(stream)
        if runs:
            jobs = [f"{run['jobs_ok']}/{run['jobs']}" if "jobs" in run else run["problem"] for run in runs]
            labels = [", ".join(run.get("tags", ())) for run in runs]
            names = ("run", "status", "created", "jobs", "tags")[: 5 if any(labels) else 4]
            lines = [
                (run["run"], run["status"], run.get("created", ""), last, label)[: len(names)]
                for run, last, label in zip(runs, jobs, labels, strict=True)
            ]
            print_columns(out, names, lines)
        else:
            out.print(f"no such runs in {root}" if statuses or wanted.asks_of_records else f"no runs in {root}")
        out.print(f"ready scenarios: {', '.join(ready_scenarios())}   (trustml run NAME)", soft_wrap=True)


def _left_at_work(listed: Sequence[ListedRun]) -> dict[str, list[str]]:
    """Nodes that still work for runs whose launcher is gone."""
    cut_off = [
        one.directory
        for one in listed
        if one.head is not None and one.head.status == "running" and not one.directory.is_executed()
    ]
    if not cut_off:
        return {}
    from trustml.launch.places.ticket import left_at_work

    return {name: [one.node for one in found] for name, found in left_at_work(cut_off).items()}


def _listed(root: Path, wanted: _Filter) -> list[dict[str, Any]]:
    from trustml.record.index import listed_runs, run_name
    from trustml.record.removal import unplanned_runs

    runs: list[dict[str, Any]] = []
    listed = listed_runs(root)
    small = _Epsilons(root, wanted.epsilon_below, runs=len(listed))
    left = _left_at_work(listed)
    for one in listed:
        directory, head = one.directory, one.head
        if head is None:
            if not wanted.asks_of_records:
                runs.append({"run": directory.name, "status": "damaged", "problem": one.problem})
            continue
        nodes = left.get(directory.name, [])
        status = "running" if nodes else directory.shown_status(head.status)
        if wanted.statuses and status not in wanted.statuses:
            continue
        if not wanted.takes(directory, head) or not small.holds(directory):
            continue
        runs.append(
            {
                "run": directory.name,
                "status": status,
                "created": head.created,
                "scenario": head.scenario.name,
                "jobs_ok": sum(job.status == "ok" for job in head.jobs),
                "jobs": len(head.jobs),
                "tags": _tags(directory),
                **({"left_on": nodes} if nodes else {}),
            }
        )
    place = str(root.resolve())
    planned = {run_name(one.directory, place=place) for one in listed}
    for directory in [] if wanted.asks_of_records else unplanned_runs(root, planned=planned):
        name = directory.name
        planning = {"status": "planning", "problem": "its data, weights and batches are being written"}
        broken_off = {"status": "unplanned", "problem": f"interrupted while planning; `trustml rm {name}` removes it"}
        runs.append({"run": name, **(planning if directory.is_executed() else broken_off)})
    return [run for run in runs if not wanted.statuses or run["status"] in wanted.statuses]


def _tags(run: RunDirectory) -> tuple[str, ...]:
    from trustml.record.notes import tags_of

    return tags_of(run)


def _since(text: str) -> datetime.datetime:
    """Read a date, a time, or how long ago."""
    ago = re.fullmatch(r"(\d{1,4})([mhdw])", text.strip())
    if ago is not None:
        span = datetime.timedelta(**{_SPANS[ago[2]]: int(ago[1])})
        return datetime.datetime.now(datetime.UTC) - span
    try:
        found = datetime.datetime.fromisoformat(text.strip())
        return found.astimezone(datetime.UTC)  # of what names no zone, this machine's
    except (ValueError, OverflowError):
        raise click.UsageError(f"--since {text!r}: write a date such as 2026-03-01, or 30m, 12h, 7d, 2w") from None


def _moment(created: str) -> datetime.datetime:
    """When a run was made; long ago where its record does not tell."""
    try:
        found = datetime.datetime.fromisoformat(created)
    except ValueError:
        return datetime.datetime.min.replace(tzinfo=datetime.UTC)
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _is_of(text: str, head: ManifestHead) -> bool:
    """Whether a run is of data that is called so: by its hash, its source, or a file or folder of it."""
    source = head.scenario.data
    paths = [Path(value).name for value in source.values() if isinstance(value, str)]
    names = [str(source.get("kind", "")), head.scenario.name, *paths]
    return head.data.fingerprint.startswith(text.lower()) or any(text.lower() in name.lower() for name in names)


class _Epsilons:
    """Which runs have a private model of a small epsilon: by the index where there is one, else by their statements."""

    def __init__(self, root: Path, limit: float | None, *, runs: int) -> None:
        self._place, self._limit, self._known = str(root.resolve()), limit, self._indexed(root, limit, runs)

    def holds(self, run: RunDirectory) -> bool:
        from trustml.record.index import run_name

        if self._limit is None:
            return True
        if self._known is None:
            return _has_epsilon_below(run, self._limit)
        return self._known.get(run_name(run, place=self._place), self._limit) < self._limit

    @staticmethod
    def _indexed(root: Path, limit: float | None, runs: int) -> dict[str, float] | None:
        from trustml.record.index import FEWEST, IndexUnavailableError

        if limit is None or runs < FEWEST:
            return None
        from trustml.compare.indexed import smallest_epsilons

        try:
            return smallest_epsilons(root, told=reading_told())
        except IndexUnavailableError:
            return None


def _has_epsilon_below(run: RunDirectory, limit: float) -> bool:
    from trustml.compare.table import read_statements
    from trustml.errors import RecordError

    try:
        return any(one.epsilon is not None and one.epsilon < limit for one in read_statements(run))
    except RecordError:  # not measured, or damaged: it is not said to have one
        return False
