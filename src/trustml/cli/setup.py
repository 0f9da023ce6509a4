"""``trustml setup``."""

from __future__ import annotations

from pathlib import Path

import click

from trustml.frameworks.shipped import SHIPPED

_BACKENDS = tuple(entry.name for entry in SHIPPED if entry.lock)
_ADDED = ("executorch", "litert", "node")


@click.command("setup", short_help="Make the environment of a backend, or of a target of export.")
@click.argument("what", metavar="WHAT", type=click.Choice([*_BACKENDS, *_ADDED]))
@click.option("--path", type=click.Path(file_okay=False, path_type=Path), help="Put it there instead.")
def command(what: str, path: Path | None) -> None:
    """Make an environment from the lock that comes with trustml; does nothing if it is there.

    Of the backends only tensorflow needs one of its own. torch and jax live beside trustml: pip install
    'trustml[torch,jax]'. Of the targets of `trustml export` executorch needs packages beside PyTorch, tfjs and onnx-web
    some for node; with those of litert, tflite is asked in LiteRT instead of TensorFlow's own interpreter.
    """
    from trustml.launch.added import ADDITIONS, create_addition
    from trustml.launch.environments import create_tensorflow, tensorflow_folder

    def tell(line: str) -> None:
        click.echo(line, err=True)

    usual = ADDITIONS[what].folder if what in _ADDED else tensorflow_folder()
    folder = (path or usual).absolute()
    made = create_addition(what, folder, tell=tell) if what in _ADDED else create_tensorflow(folder, tell=tell)
    click.echo(f"{what}: {'made' if made else 'already there'}: {folder}")
    if folder != usual:
        click.echo(f"use it with: export TRUSTML_ENV_{what.upper()}={folder}", err=True)
