"""``trustml setup``."""

from __future__ import annotations

from pathlib import Path

import click

from trustml.frameworks.shipped import SHIPPED


@click.command("setup", short_help="Make the environment of a backend.")
@click.argument("backend", type=click.Choice([entry.name for entry in SHIPPED if entry.lock]))
@click.option("--path", type=click.Path(file_okay=False, path_type=Path), help="Put it there instead.")
def command(backend: str, path: Path | None) -> None:
    """Make BACKEND's environment from the lock that comes with trustml; does nothing if it is there.

    Only tensorflow needs one of its own. torch and jax live beside trustml: pip install 'trustml[torch,jax]'.
    """
    from trustml.launch.environments import create_tensorflow, tensorflow_folder

    folder = path or tensorflow_folder()
    made = create_tensorflow(folder.absolute(), tell=lambda line: click.echo(line, err=True))
    click.echo(f"{backend}: {'made' if made else 'already there'}: {folder}")
    if path is not None and path.absolute() != tensorflow_folder():
        click.echo(f"use it with: export TRUSTML_ENV_{backend.upper()}={path.absolute()}", err=True)
