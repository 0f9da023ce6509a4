"""``trustml bench``."""

from __future__ import annotations

import datetime
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustml.cli.main import FAILED, INTERRUPTED, OK
from trustml.cli.output import console, data_stream, file_option, json_option, json_text, renamed, root_option

if TYPE_CHECKING:
    from trustml_bench.results import Result
    from trustml_bench.selection import Selection

KINDS = (
    "plain_step",
    "noisy_step",
    "noise",
    "private_step",
    "head_epoch",
    "feature_epoch",
    "integrated_gradients",
    "smooth_grad",
    "occlusion",
    "round",
    "shadows",
)


@click.command("bench", short_help="Time trustml beside other libraries on this machine.")
@click.option("--full", is_flag=True, help="Also batches of 64, compilers on and off, and slow engines; hours.")
@click.option("--large", is_flag=True, help="Networks of real size in place of small ones.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only this kind of work; repeatable.")
@click.option("--network", "networks", multiple=True, metavar="NAME", help="Only this network; repeatable.")
@click.option("--engine", "engines", multiple=True, metavar="TEXT", help="Only engines with this in their name.")
@click.option("--repeats", type=click.IntRange(1, 1000), default=7, show_default=True, help="Turns of each engine.")
@click.option(
    "--allocator",
    type=click.Choice(["tuned", "default", "both"]),
    help="Setting of malloc. By default all is run tuned, and untuned what a bar compares so.",
)
@root_option
@click.option(
    "--result", "place", type=click.Path(dir_okay=False, path_type=Path), help="By default RUNS/benchmarks/<UTC>.json."
)
@click.option(
    "--resume", is_flag=True, help="Keep what the file of --result holds, and measure the workloads that it lacks."
)
@click.option("--out", "old_place", hidden=True, type=click.Path(dir_okay=False, path_type=Path), help="Now --result.")
@click.option(
    "--from", "earlier", type=click.Path(dir_okay=False, path_type=Path), help="Show this result; run nothing."
)
@click.option(
    "--against", type=click.Path(dir_okay=False, path_type=Path), help="Exit with 1 where a ratio is worse than there."
)
@click.option(
    "--allowance",
    type=click.FloatRange(0, 10),
    default=0.15,
    show_default=True,
    help="How much worse a ratio may be. Times of one engine drift by 10 to 25 % between runs on a shared machine; "
    "taking turns removes what slows both of a ratio alike, and this is for the rest. Beyond it counts only what the "
    "ratio's 90 % interval leaves out too.",
)
@click.option(
    "--write-docs", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write the result as a Markdown page."
)
@click.option(
    "--parts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Show this profile of benchmarks/large_step_parts.py in the page of --write-docs.",
)
@click.option("--list", "only_list", is_flag=True, help="List what would be run, and run nothing.")
@json_option
@file_option
def command(
    full: bool,
    large: bool,
    kinds: tuple[str, ...],
    networks: tuple[str, ...],
    engines: tuple[str, ...],
    repeats: int,
    allocator: str | None,
    root: Path,
    place: Path | None,
    resume: bool,
    old_place: Path | None,
    earlier: Path | None,
    against: Path | None,
    allowance: float,
    page: Path | None,
    parts: Path | None,
    only_list: bool,
    as_json: bool,
    file: Path | None,
) -> int:
    """Time every engine in a process of its own; engines of one workload live together and take turns.

    Prints times, and the bars with their verdicts. The file is written after every workload, so Ctrl-C keeps
    what was measured. Bars that are not met do not change the exit code; --against does.
    """
    from trustml_bench.results import read_result
    from trustml_bench.selection import Selection

    wanted = Selection(
        full=full, large=large, kinds=kinds, networks=networks, engines=engines, allocator=allocator or ""
    )
    if parts is not None and page is None:
        raise click.UsageError("--parts is shown in a page; name it by --write-docs")
    before = read_result(against) if against else None
    place = renamed(old_place, place, was="--out", now="--result")
    chosen = full or large or kinds or networks or engines or allocator
    if earlier is not None and (chosen or place or resume or only_list):
        raise click.UsageError("--from shows a result as it is; leave out what chooses what to run")
    if resume and place is None:
        raise click.UsageError("--resume goes on with a file; name it by --result")
    if only_list:
        return _list(wanted, file)
    interrupted = False
    if earlier is not None:
        result = read_result(earlier)
    else:
        path = place or root / "benchmarks" / f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}.json"
        result, interrupted = _run(wanted, path, repeats, resume=resume)
    if page is not None:
        from trustml.report.documents import write_document
        from trustml_bench.page import performance_page
        from trustml_bench.parts import read_profile

        text = performance_page(result, read_profile(parts) if parts else None)
        write_document(page, text, what="--write-docs")
    with data_stream(file) as stream:
        if as_json:
            stream.write(json_text(result) + "\n")
        else:
            from trustml_bench.tables import print_result

            print_result(console(stream), result)
    if interrupted:
        return INTERRUPTED
    return _gate(before, result, allowance) if before is not None else OK


def _run(wanted: Selection, path: Path, turns: int, *, resume: bool) -> tuple[Result, bool]:
    """Measure; on Ctrl-C give what there is."""
    from trustml.cli.progress import show_progress
    from trustml_bench.results import read_result
    from trustml_bench.selection import choose_groups, options_of
    from trustml_bench.session import run_benchmark

    groups = choose_groups(wanted)
    earlier = read_result(path) if resume and path.exists() else None
    # Also where SIGINT was ignored when we were started, as a shell does for what it puts into the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    line = " ".join(["trustml bench", *options_of(wanted), *([f"--repeats {turns}"] if turns != 7 else [])])
    try:
        with show_progress(sys.stderr) as listener:
            result = run_benchmark(groups, path=path, turns=turns, listener=listener, command=line, earlier=earlier)
    except KeyboardInterrupt:
        if not path.exists():
            raise
        click.echo(f"interrupted; {path} holds what was measured", err=True)
        return read_result(path), True
    click.echo(f"result: {path}", err=True)
    return result, False


def _gate(before: Result, now: Result, allowance: float) -> int:
    from trustml_bench.gate import compare_results, passes
    from trustml_bench.tables import print_compared

    compared = compare_results(before, now, allowance=allowance)
    print_compared(console(sys.stderr), compared, before=before, now=now, allowance=allowance)
    return OK if passes(compared) else FAILED


def _list(wanted: Selection, file: Path | None) -> int:
    from trustml_bench.selection import choose_groups
    from trustml_bench.tables import print_groups

    with data_stream(file) as stream:
        print_groups(console(stream), choose_groups(wanted))
    return OK


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
