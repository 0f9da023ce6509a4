"""``trustml import``."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from trustml.importing.model import ImportedModel


_MODULE = re.compile(r"[\w.]+:[\w.]+")


@click.command("import", short_help="Carry a model over, with its weights, to all frameworks.")
@click.argument("model")
@click.option(
    "-o", "--output", "file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="NAME.safetensors."
)
@click.option(
    "--example", type=click.Path(dir_okay=False, path_type=Path), help="A .npz with `inputs`, as the model takes them."
)
@click.option("--shape", help="Of one input, such as 3,32,32; then the examples are random numbers.")
@click.option("--group-norm", "groups", type=int, help="Replace every BatchNorm by a GroupNorm of so many groups.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(
    model: str, file: Path, example: Path | None, shape: str | None, groups: int | None, force: bool
) -> None:  # fmt: skip
    """Carry MODEL over to an architecture and weights that PyTorch, JAX and TensorFlow build alike.

    MODEL is module:attribute, found from here: a torch.nn.Module or a flax.nnx.Module, or a function that makes one; or
    a folder of Hugging Face's, a ResNet of torchvision's in a .safetensors file, an ONNX file (.onnx), or one of Keras
    (.keras). What is carried over must have the model's logits on the examples and on random ones; what cannot be
    carried is refused by name. A scenario names the file that is written: model = "NAME.safetensors".
    """
    from trustml.errors import UsageError
    from trustml.models.network_files import ENDING

    file = file if file.suffix == ENDING else file.with_name(file.name + ENDING)
    if file.exists() and not force:
        raise UsageError(f"{file}: is there; give --force, or name another file with -o")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file}: there is no such folder; make it, or name another file")
    found = _imported(model, example=example, shape=shape, groups=groups)
    where = found.save(file)
    click.echo(str(found.report), err=True)
    click.echo(f"wrote {where}; a scenario names it by: model = {where.name!r}")


def _imported(model: str, *, example: Path | None, shape: str | None, groups: int | None) -> ImportedModel:
    from trustml.cli.audit import loaded_by_name
    from trustml.importing.model import import_model
    from trustml.models.layers import GroupNorm

    norms = None if groups is None else GroupNorm(groups=groups)
    if Path(model).exists() or not _MODULE.fullmatch(model):
        inputs = None if example is None and shape is None else _inputs(example, shape)
        return import_model(model, example=inputs, norms=norms)
    inputs = _inputs(example, shape)
    with ExitStack() as stack:
        return import_model(loaded_by_name(model, stack=stack), example=inputs, norms=norms)


def _inputs(example: Path | None, shape: str | None) -> Any:
    import numpy as np

    from trustml.errors import DataError, UsageError
    from trustml.record.files import read_arrays

    if (example is None) == (shape is None):
        raise UsageError("--example, --shape: give one of them: what the model takes, or the shape of one input")
    if shape is not None:
        sizes = shape.split(",")
        if not all(size.strip().isdigit() and int(size) for size in sizes):
            raise UsageError(f"--shape {shape!r}: is no shape of one input; write it as 3,32,32")
        return np.random.default_rng(0).normal(size=(4, *map(int, sizes))).astype(np.float32)
    assert example is not None
    if not example.is_file():
        raise DataError(f"{example}: no such file; write it by numpy.savez(path, inputs=...)")
    arrays = read_arrays(example)
    if "inputs" not in arrays:
        raise DataError(f"{example}: holds {', '.join(sorted(arrays)) or 'nothing'}; it needs `inputs`")
    return arrays["inputs"]
