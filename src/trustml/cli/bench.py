"""``trustml bench``: the command of the benchmark's own package, or one that says how to get it."""

from __future__ import annotations

import click

from trustml.errors import UsageError
from trustml.launch.benchmarks import bench_module, how_to_get


@click.command(
    "bench",
    short_help="Time trustml beside other libraries on this machine.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def absent() -> int:
    """Say how to get the benchmark, whatever it was asked."""
    raise UsageError(how_to_get("bench"))


def _command() -> click.Command:
    found = bench_module("command")
    return absent if found is None else found.command


command = _command()
