"""What a shell may complete: runs, scenarios and fields. A mistake in it must never show at somebody's prompt."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import CompletionItem


def complete_runs(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the runs in the folder of runs, the newest first."""
    from trustml.record.store import newest_first

    root = context.params.get("root") or Path("runs")
    names = ["latest"]
    with suppress(OSError):
        names += [run.path.name for run in newest_first(Path(root))]
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="dir")]


def complete_scenarios(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the ready scenarios, and files."""
    from trustml.scenario.ready import ready_scenarios

    ready = [CompletionItem(name, help="ready") for name in ready_scenarios() if name.startswith(incomplete)]
    return [*ready, CompletionItem(incomplete, type="file")]


def complete_fields(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Fields of a scenario, as far as a value: those of all kinds that may stand in a place."""
    if "=" in incomplete:
        return []
    from trustml.scenario.fields import fields_below

    found = fields_below(incomplete)
    while len(found) == 1 and found[0].endswith("."):  # else the shell takes it for a whole word
        found = fields_below(found[0])
    return [CompletionItem(path if path.endswith(".") else f"{path}=") for path in found]
