"""``python -m tests.reliability.page``: docs/reliability.md, of what the commands wrote in ``benchmarks/results/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.reliability.results import FOLDER, read_result
from tests.reliability.soak import is_flat

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
_RULES = """\
# What a run survives

This page is made by `python -m tests.reliability.page` from what the commands below wrote into `benchmarks/results/`.
Each of them can be run anywhere; they need a checkout, not an installed package.

## What holds, whatever happens

- **Charged before done.** A private step is charged to the ledger, and the ledger is on disk, before it is taken.
  After any crash the charges are at least what was done; a resume that finds fewer refuses in one line.
- **Whole or not at all.** Every file but the ledger and the events takes its place at once. What a writer that was
  killed left half written is removed when the run goes on.
- **Finished stays finished.** A job that ended well is never run again, and its files are checked by their hashes.
- **Nobody beside.** A run is executed by one process, which holds its lock; so do its workers. A second resume waits
  two seconds, then says which process has the run.
- **No orphan.** However the launcher ends, the kernel ends its workers. The one exception: a worker that was *stopped*
  (SIGSTOP) before its first line of Python stays until it is killed by hand; a resume names its number.
  [Warm workers](execution.md#workers-that-are-kept-warm) end so, too; where the process that they are forked from is
  killed, the job at work is an error and the next goes on.
- **One line.** A full disk, a folder that cannot be written, a signal, a file of a stranger: one line that says what to
  do, and an exit code; never a traceback.
- **Ctrl-C, SIGTERM and SIGHUP are one.** `trustml run` and `trustml dashboard` stop what they started and keep what is
  finished; under `nohup` a hang-up is ignored.
- **An audit is of the run as it is.** Where a run goes on, what an audit concluded of it before is removed.
- **Read where nothing can be written.** Commands that read runs do so on a read-only disk; others say so.
- **The clock may be wrong.** Nothing that counts follows the wall clock; a clock that is set back changes the order in
  which runs are listed, and no more.
"""


def page() -> str:
    """The page's text."""
    return "\n".join([_RULES, *_kills(), *_fuzz(), *_soak(), *_indexed(), *_costs(), *_limits()])


def _told(found: dict[str, Any]) -> list[str]:
    return ["```sh", found["command"], "```", ""]


def _kills() -> list[str]:
    found = read_result("kills")
    asked = int(found["command"].partition("--count ")[2].split()[0])
    early = f" The command was ended before it had done {asked}." if found["disturbances"] < asked else ""
    lines = [
        "## Disturbed at random instants", "",
        f"{found['disturbances']} disturbances of {found['runs ended whole']} runs, each of plain, private and "
        "federated training and explanations by the backend of plain numpy. After each: no process was left, finished "
        "jobs were as they were, no charge was taken back or was less than what was told of or saved, and a command "
        "that reads runs did so. At its end each run was whole, nothing was left behind, and `trustml verify` passed."
        + early,
        "",
        *_told(found), "| phase | disturbances |", "| --- | ---: |",
        *(f"| {name} | {count} |" for name, count in found["by phase"].items()), "",
        "| what happened | times |", "| --- | ---: |",
        *(f"| {name} | {count} |" for name, count in found["by disturbance"].items()),
        f"| two resumes at once | {found['two resumes at once']} |",
        f"| the disk was full while at work ({found['disk']}) | {found['disk filled while at work']} |",
        f"| the clock of a life was set back | {found['lives with a clock that went back']} |", "",
        "Kills within private steps, each step watched from outside, are tests of their own: `make test-kills`.", "",
    ]  # fmt: skip
    return lines


def _fuzz() -> list[str]:
    found = read_result("fuzz")
    readers = found["readers"]
    given = sum(one["read"] + one["refused"] + one["faults"] for one in readers.values())
    faults = sum(one["faults"] for one in readers.values())
    return [
        "## Files of strangers", "",
        f"{given:,} changed files of {len(readers)} kinds: bytes, values of JSON and TOML, members of archives with "
        "right check sums, headers of arrays; texts with markup, escapes of a terminal and paths. Each was read, or "
        "refused in one line, in at most 20 seconds of a processor and a gigabyte; no process was started, nothing was "
        "unpickled, asked of a network or written elsewhere, no command printed a control character and no report "
        f"held the markup. {faults or 'No'} fault{'s' * (faults != 1)} in this run of the command; those it found "
        "before are mended and tested.", "",
        *_told(found), "| reader | read | refused | faults | most seconds | most MiB more |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {name} | {one['read']:,} | {one['refused']:,} | {one['faults']} | {one['most seconds']:.2f} "
            f"| {one['most MiB more']} |" for name, one in readers.items()
        ), "",
    ]  # fmt: skip


def _soak() -> list[str]:
    if not (FOLDER / "soak.json").exists():
        return []
    found = read_result("soak")
    rows = [
        f"| {process} | {name} | {one['first']:g} | {one['last']:g} | {one['most']:g} "
        f"| {one['growth']:g} ± {2 * one['error']:.2g} | {found['allowed'][name]:g} |"
        for process, quantities in found["grown"].items()
        for name, one in quantities.items()
    ]
    return [
        "## Hours", "",
        f"{found['minutes']:g} minutes: {found['rounds']} rounds of a run that is disturbed twice and resumed, one in "
        f"the same process, and a page of a running dashboard; {found['disturbances']} disturbances. Growth is the "
        "slope over the second half, times the whole length, and two standard errors. " + _bar(found), "",
        *_told(found), "| process | what | first | last | most | growth | allowed |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |", *rows, "",
    ]  # fmt: skip


def _bar(found: dict[str, Any]) -> str:
    """Whether nothing grew by more than is allowed; else what did, and what a rest left of it."""
    missed = [
        f"{name} of the {process} grew by {one['growth']:g} ± {2 * one['error']:.2g}, where {found['allowed'][name]:g} "
        f"{'is' if found['allowed'][name] == 1 else 'are'} allowed"
        for process, quantities in found["grown"].items()
        for name, one in quantities.items()
        if not is_flat(one, found["allowed"][name])
    ]
    said = f"**The bar was not met**: {'; '.join(missed)}." if missed else "Nothing grew by more than is allowed."
    rest = found.get("handles after a rest")
    if rest is None:
        return said + (" Where they went was not looked at in this run of the command." if missed else "")
    return (
        f"{said} Of its {rest['before']:g} handles at the end the dashboard had {rest['after']:g} after a rest of "
        f"{rest['seconds']:g} seconds and one more page: Streamlit keeps what closed pages held for two minutes."
    )


def _indexed() -> list[str]:
    """What ``benchmarks/index.py`` wrote, where it was run to its end."""
    return _written("index.md", "Many runs in one folder") if (FOLDER / "index.md").exists() else []


def _costs() -> list[str]:
    """What ``benchmarks/overhead.py`` wrote, of many small jobs and of runs of minutes."""
    long = "overhead_minutes.md"
    return [
        *_written("overhead.md", "What it costs"),
        *(_written(long, "What it costs in a run of minutes") if (FOLDER / long).exists() else []),
    ]


def _written(name: str, title: str) -> list[str]:
    """What a benchmark wrote, below a title of this page."""
    _, _, found = (FOLDER / name).read_text().partition("\n\n")
    return [f"## {title}", "", found]


def _limits() -> list[str]:
    return [
        "## What this does not show", "",
        "- Power that fails: files are synced before they take their places, and no disk was pulled to see it.",
        "- Network file systems: locks of `flock` are taken for granted.",
        "- Readers inside a framework's own process (`torch.export.load`, TensorFlow Lite) are given only what was",
        "  looked through before; that look is what is tested here.", "",
    ]  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(page())
