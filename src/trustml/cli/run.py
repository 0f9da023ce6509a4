"""``trustml run``."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from trustml.cli.completing import complete_fields, complete_runs, complete_scenarios
from trustml.cli.init import label_option, make_draft, write_draft
from trustml.cli.main import INTERRUPTED, OK, PARTIAL, interrupted_by_signals
from trustml.cli.output import (
    console,
    data_stream,
    file_option,
    json_option,
    json_text,
    old_root_option,
    renamed,
    root_option,
)

if TYPE_CHECKING:
    from trustml.api import Run
    from trustml.launch.forecast import Forecast

_SCENARIOS = (".py", ".toml")
_EXIT = {"success": OK, "partial": PARTIAL, "interrupted": INTERRUPTED}


@click.command("run", short_help="Run a scenario or a data file, or go on with a run.")
@click.argument("scenario", required=False, shell_complete=complete_scenarios)
@label_option
@root_option
@old_root_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    shell_complete=complete_fields,
    help="Override a field: training.1.epsilon=3, or 1,3,8 for a sweep; with --resume execution.timeout=7200, say.",
)
@click.option(
    "--grid",
    "grids",
    multiple=True,
    metavar="FIELD=A,B,C",
    shell_complete=complete_fields,
    help="Train a regime with each of these values: training.1.epsilon=1,3,8; repeated, with each combination.",
)
@click.option(
    "--sample",
    metavar="N",
    help="With --grid: draw N settings instead of all combinations, also from ranges such as 0.01..1:log; random:N not "
    "by a Sobol sequence.",
)
@click.option(
    "--tune",
    "mean_runs",
    type=click.FloatRange(min=1, max=1000),
    metavar="RUNS",
    help="With --grid: a random number of runs, RUNS in the mean; keep the best alone, and tell what choosing cost.",
)
@click.option("--backend", "backends", multiple=True, metavar="NAME", help="Only this backend; may be repeated.")
@click.option("--seeds", type=click.IntRange(1, 10_000), help="Train every model with this many seeds.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute.")
@click.option("--devices", type=click.IntRange(1, 1024), help="Deal private batches out over so many devices.")
@click.option(
    "--resume", metavar="RUN", shell_complete=complete_runs, help="Go on with this run: do only what is missing."
)
@click.option("--allow-overrun", is_flag=True, help="With --resume: retrain past the target epsilon, and report it.")
@click.option("--trust-code", is_flag=True, help="With --resume: run code that the record names as its model.")
@click.option(
    "--reuse", is_flag=True, help="Take plain jobs over from runs of the folder that did the same with --reuse."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, with time and memory as earlier runs had them.")
@click.option("--detach", is_flag=True, help="Plan it, print the run's name, and leave it to a process of its own.")
@json_option
@file_option
def command(
    scenario: str | None,
    labels: tuple[str, ...],
    root: Path,
    old_root: Path | None,
    settings: tuple[str, ...],
    grids: tuple[str, ...],
    sample: str | None,
    mean_runs: float | None,
    backends: tuple[str, ...],
    seeds: int | None,
    device: str | None,
    devices: int | None,
    resume: str | None,
    allow_overrun: bool,
    trust_code: bool,
    reuse: bool,
    dry_run: bool,
    detach: bool,
    as_json: bool,
    file: Path | None,
) -> int:
    """Run SCENARIO: a .py or .toml file, the name of a ready scenario such as `digits`, or a data file.

    For data, `trustml init` is done first: its scenario is written here and run; --label names what to learn.

    Prints the comparison, or with --json every event as a line of JSON, the last one
    {"event": "done", "run": ..., "path": ..., "status": ...}. Exit code 4 means that some jobs failed, or all; the
    others' results are whole, and `trustml run --resume RUN` does what is missing, with --set execution.timeout=...,
    execution.memory_limit=... or execution.parallel_jobs=... under other limits.
    """
    from trustml.scenario.sweep import grid_override

    root = renamed(old_root, root, was="--out", now="--runs") or root
    grid = [grid_override(text) for text in grids]
    drawn = [] if sample is None else [f"sample={sample}"]
    overrides = [*settings, *(grid if mean_runs is None else []), *drawn, *_shortcuts(backends, seeds, device, devices)]
    _check_drawn(sample=sample, reuse=reuse, tuned=mean_runs is not None, resumed=resume is not None)
    if mean_runs is not None and (not grids or resume is not None or dry_run or detach):
        raise click.UsageError("--tune goes with --grid; it cannot be resumed, detached or tried without running")
    if resume is None and scenario is None:
        raise click.UsageError("name a scenario, such as `trustml run digits`, or a run to go on with (--resume)")
    if resume is not None and (scenario is not None or backends or seeds or device or devices):
        raise click.UsageError(
            "--resume goes on with the scenario as it was recorded; leave SCENARIO, --backend, --seeds, --device and "
            "--devices out"
        )
    _check_labels(labels, scenario)
    if trust_code and resume is None:
        raise click.UsageError("--trust-code goes with --resume: what you run by its own name you trust")
    _check_modes(resumed=resume is not None, allow_overrun=allow_overrun, dry_run=dry_run, detach=detach)
    interrupted_by_signals()
    if scenario is not None and is_data(scenario):
        where = write_draft(make_draft(scenario, labels=labels, backends=backends), None)
        click.echo(f"wrote {where}, which is run now; all of it is yours to change", err=True)
        scenario = str(where)
    with data_stream(file) as stream:
        if dry_run:
            _foretell(str(scenario), root, overrides, as_json=as_json, stream=stream)
            return OK
        if detach:
            _detach(scenario, root, overrides, resume, _flags(allow_overrun, trust_code, reuse), as_json, stream)
            return OK
        if mean_runs is not None:
            return _tune(str(scenario), root, overrides, grid, mean_runs, stream=None if as_json else stream)
        return _run(scenario, root, overrides, resume, (allow_overrun, trust_code, reuse), as_json, stream)


def _shortcuts(backends: tuple[str, ...], seeds: int | None, device: str | None, devices: int | None) -> list[str]:
    """Settings for the options that stand for a field."""
    found = [f"backends=[{', '.join(repr(name) for name in backends)}]"] if backends else []
    if seeds:
        found.append(f"seeds=[{', '.join(map(str, range(seeds)))}]")
    found += [f"execution.devices={devices}"] if devices else []
    return [*found, f"execution.device='{device}'"] if device else found


def _flags(allow_overrun: bool, trust_code: bool, reuse: bool) -> list[str]:
    given = {"--allow-overrun": allow_overrun, "--trust-code": trust_code, "--reuse": reuse}
    return [flag for flag, wanted in given.items() if wanted]


def _check_labels(labels: tuple[str, ...], scenario: str | None) -> None:
    """Refuse labels of what is no data file."""
    if labels and (scenario is None or not is_data(scenario)):
        gone = scenario is not None and Path(scenario).suffix not in _SCENARIOS and not Path(scenario).exists()
        raise click.UsageError(
            f"{scenario}: no such file; check the path"
            if gone
            else "--label goes with a data file; a scenario names its own in data.label"
        )


def _check_drawn(*, sample: str | None, reuse: bool, tuned: bool, resumed: bool) -> None:
    """Refuse what does not go with tuning, or with a run whose settings are drawn already."""
    if reuse and tuned:
        raise click.UsageError("--reuse goes without --tune, whose runs are private")
    if sample is not None and (tuned or resumed):
        raise click.UsageError(
            "--sample goes with --grid: --tune draws from its grid, and --resume goes on with what was drawn"
        )


def _check_modes(*, resumed: bool, allow_overrun: bool, dry_run: bool, detach: bool) -> None:
    """Refuse ways to run that do not go together."""
    if dry_run and resumed:
        raise click.UsageError("--dry-run is for a run that has not begun; `trustml show` tells what is missing of one")
    if allow_overrun and not resumed:
        raise click.UsageError("--allow-overrun goes with --resume")
    if detach and dry_run:
        raise click.UsageError("--dry-run does nothing that could be detached; leave one of them out")


def _foretell(scenario: str, root: Path, overrides: list[str], *, as_json: bool, stream: Any) -> None:
    from trustml.launch.forecast import forecast
    from trustml.scenario.read import read_scenario
    from trustml.scenario.ready import find_scenario

    found = forecast(read_scenario(find_scenario(scenario), overrides=overrides), root=root)
    if as_json:
        stream.write(json_text(found) + "\n")
    else:
        _print_forecast(console(stream), found)


def _print_forecast(out: Any, found: Forecast) -> None:
    from trustml.launch.forecast import together_line
    from trustml.report.documents import titled_table

    out.print(f"{found.train_examples:,} examples to train on, {found.test_examples:,} held out; nothing was written")
    some_known = found.unknown < len(found.jobs)
    table = titled_table(
        "what would be done",
        *("job", ">steps", ">noise"),
        *((">seconds", ">peak MiB", ">as of earlier jobs") if some_known else ()),
    )
    for job in found.jobs:
        cells = [
            job.id,
            "" if job.steps is None else f"{job.steps:,}",
            "" if job.noise_multiplier is None else f"{job.noise_multiplier:.4g}",
        ]
        if some_known:
            cells += [
                "unknown" if job.seconds is None else f"{job.seconds:.0f}",
                "unknown" if job.memory is None else f"{job.memory / 2**20:.0f}",
                str(job.earlier or ""),
            ]
        table.add_row(*cells)
    out.print(table)
    how_long = f"{found.seconds:.0f} seconds as earlier ones took" if some_known else "no earlier run tells how long"
    if some_known and found.unknown:
        how_long += f", and {found.unknown} of which nothing is known"
    out.print(f"{len(found.jobs)} jobs one after another: {how_long}")
    for of in dict.fromkeys(one.of for one in found.sweep):
        fields: dict[str, list[str]] = {}
        for one in found.sweep:
            if one.of == of:
                fields.setdefault(one.field, []).append(str(one.value))
        each = [f"{name} ({', '.join(dict.fromkeys(values))})" for name, values in fields.items()]
        settings = len({one.regime for one in found.sweep if one.of == of})
        whole = settings == math.prod(len(set(values)) for values in fields.values())
        what = f"a sweep of {of} over" if whole else f"{settings} settings of {of} drawn from"
        out.print(f"{what} {' x '.join(each)}", soft_wrap=True)
    for group in found.together:
        out.print(together_line(group), soft_wrap=True)
    for skip in found.skips:
        out.print(f"left out: {skip.cell} in {skip.backend}: {skip.reason}", soft_wrap=True, markup=False)
    for warning in found.warnings:
        out.print(f"warning: {warning}", soft_wrap=True, markup=False)


def is_data(name: str) -> bool:
    """Whether a name is that of data rather than of a scenario; a ready one comes before a folder of its name."""
    from trustml.scenario.ready import ready_scenarios

    path = Path(name)
    there = path.suffix not in _SCENARIOS and path.exists() and not (path / "manifest.json").exists()
    return there and name not in ready_scenarios()


def _run(
    scenario: str | None,
    root: Path,
    overrides: list[str],
    resume: str | None,
    allowed: tuple[bool, bool, bool],
    as_json: bool,
    stream: Any,
) -> int:
    from trustml import api
    from trustml.cli.progress import show_progress

    with show_progress(sys.stderr) as progress:

        def listener(event: dict[str, Any]) -> None:
            progress(event)
            if as_json:
                try:
                    stream.write(json_text(event) + "\n")
                    stream.flush()
                except BrokenPipeError:  # nobody listens any more, as after `| head -1`
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                    raise KeyboardInterrupt from None

        overrun, trust, reuse = allowed
        if resume is not None:
            run = api.resume(
                resume, root=root, overrides=overrides, allow_overrun=overrun, trust_code=trust, reuse=reuse,
                listener=listener,
            )  # fmt: skip
        else:
            run = api.run(str(scenario), out=root, overrides=overrides, reuse=reuse, listener=listener)
    return print_ended(run, root=root, stream=None if as_json else stream)


def _tune(
    scenario: str, root: Path, overrides: list[str], grid: list[str], mean_runs: float, *, stream: IO[str] | None
) -> int:
    from trustml.cli.progress import show_progress
    from trustml.tuning import tune

    with show_progress(sys.stderr) as progress:
        best = tune(scenario, grid=grid, mean_runs=mean_runs, out=root, overrides=overrides, listener=progress)
    if best is None:
        click.echo("no run was drawn, or none has a score: nothing is released, and nothing was kept", err=True)
        return PARTIAL
    return print_ended(best, root=root, stream=stream)


def print_ended(run: Run, *, root: Path, stream: IO[str] | None) -> int:
    """Print what a run measured, if there is a stream for it, and how it ended; give the exit code."""
    from trustml.report.summary import print_summary
    from trustml.report.tables import print_comparison, print_problems

    manifest = run.manifest
    if stream is not None:
        out = console(stream)
        print_comparison(out, [(manifest, run.measures())])
        out.print()
        print_summary(out, run.summary())
    err = console(sys.stderr)
    print_problems(err, manifest)
    err.verbatim(f"status: {manifest.status}   run: {manifest.run}   in: {run.path}")
    if manifest.status != "success":
        err.verbatim(f"go on with: trustml run --resume {manifest.run} --runs {root}")
    return _EXIT.get(manifest.status, PARTIAL)


def _detach(
    scenario: str | None,
    root: Path,
    overrides: list[str],
    resume: str | None,
    flags: list[str],
    as_json: bool,
    stream: IO[str],
) -> None:
    """Plan a run here, where errors are seen, and leave it to a process of its own."""
    from trustml.launch.detached import start_detached
    from trustml.launch.prepare import prepare_run
    from trustml.record.store import find_run
    from trustml.scenario.read import read_scenario
    from trustml.scenario.ready import find_scenario

    if resume is None:
        wanted = read_scenario(find_scenario(str(scenario)), overrides=overrides)
        run, arguments = prepare_run(wanted, root=root, overrides=overrides), ["--trust-code"]
    else:
        run, arguments = find_run(resume, root=root), [word for one in overrides for word in ("--set", one)]
    runner = start_detached(run, arguments=[*arguments, *flags])
    name = run.path.name
    if as_json:
        pid = None if runner is None else runner.pid
        stream.write(json_text({"event": "detached", "run": name, "path": str(run.path), "pid": pid}) + "\n")
    else:
        stream.write(f"{name}\n")
    click.echo(f"watch it: trustml attach {name} --runs {root}   end it: trustml cancel {name} --runs {root}", err=True)
