"""What is read from the stored runs, kept beside them: ``python -m tests.records.golden [NAME ...]`` writes it anew.

``<name>.csv`` is the whole table of measures without the words of its notes; ``<name>.<command>.txt`` is what a command
prints. A difference is either meant, and said where it is committed, or a mistake. The second opinion on epsilon is
read, but never asked for again: another library's process gives it, if the machine lets it answer in time.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import trustml
from tests.records import copy_of, unasked_second_opinion
from trustml.cli.main import _main

HERE = Path(__file__).resolve().parent
NAMES = ("frameworks", "attacked", "federated")
KEYS = ["run", "job", "backend", "regime", "seed", "subject", "method", "measure"]
SECOND_OPINION = "epsilon_prv"
NUMBERS = ["value", "low", "high"]
COLUMNS = [*KEYS, *NUMBERS, "unit", "n"]
COMMANDS = {
    "show": ("show",),
    "privacy": ("show", "--privacy"),
    "compare": ("compare",),
    "verify": ("verify",),
    "audit": ("audit",),
}
"""The last one writes into the run."""


def read_table(run: trustml.Run) -> pd.DataFrame:
    """All measures as they were recorded."""
    return run.measures()[COLUMNS]


def stored_table(name: str) -> pd.DataFrame:
    """All measures as they are kept beside the run."""
    texts = {key: str for key in (*KEYS, "unit") if key != "seed"}
    return pd.read_csv(HERE / f"{name}.csv", dtype=texts, keep_default_na=False, na_values={n: [""] for n in NUMBERS})


def printed(run: trustml.Run, command: str) -> str:
    """What a command prints of the run, after its exit code; no path and no width of a terminal is in it."""
    out, errors = io.StringIO(), io.StringIO()
    with (
        unasked_second_opinion(),
        _plain_terminal(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        code = _main([*COMMANDS[command], str(run.path)])
    text = f"exit code {code}\n{out.getvalue()}{errors.getvalue()}".replace(str(run.path.parent), "RUNS")
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@contextlib.contextmanager
def _plain_terminal() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR")}
    os.environ.update(COLUMNS="160", NO_COLOR="1")
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def main(names: list[str]) -> None:
    """Write tables and texts of these runs anew, or of all."""
    for name in names or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            run = copy_of(name, Path(folder))
            read_table(run).to_csv(HERE / f"{name}.csv", index=False, lineterminator="\n")
            for command in COMMANDS:
                (HERE / f"{name}.{command}.txt").write_text(printed(run, command), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
