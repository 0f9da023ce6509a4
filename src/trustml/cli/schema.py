"""``trustml schema``: what a scenario may say, as a JSON schema for editors."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("schema", short_help="Write the JSON schema of a scenario, with which editors complete TOML.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write; default: print.")
def command(output: Path | None) -> None:
    """Write the JSON schema of a scenario.

    Editors complete and check a TOML scenario whose first line is `#:schema ./scenario.schema.json`.
    """
    from trustml.record.files import write_atomic
    from trustml.scenario.json_schema import scenario_schema

    text = scenario_schema()
    if output is None:
        click.echo(text, nl=False)
    else:
        write_atomic(output, text.encode())
        click.echo(f"wrote {output}; begin a scenario with `#:schema ./{output.name}`")
