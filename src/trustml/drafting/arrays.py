"""What files of arrays and folders of files hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trustml.data.files import read_npz
from trustml.data.labelled_files import class_folders
from trustml.data.npy import DAMAGED, ObjectsError, read_header, read_npz_members
from trustml.data.tables import first_line
from trustml.drafting.found import Found, source_from, task_of_array
from trustml.drafting.sequences import find_in_recordings, find_in_series, holds_recordings
from trustml.errors import DataError, UsageError
from trustml.models.tasks import Classes
from trustml.scenario.sources import Idx, Images, Npz

_LABELS = ("labels", "label", "y", "targets", "target", "classes")
_SERIES = 4
"""Times that arrays (n, steps, channels) have more steps than channels at the least; others are grey images."""
_SIDE = 32
_LOOKED_AT = 200


def is_idx(path: Path) -> bool:
    """Whether a file is named as one of MNIST's format."""
    return path.name.lower().removesuffix(".gz").endswith(("-ubyte", ".idx"))


def find_in_npz(path: Path, label: str | None, settings: Mapping[str, Any]) -> Found:
    """Tell inputs and labels of an ``.npz`` file apart by their names and shapes.

    Raises
    ------
    UsageError
        If they cannot be told apart.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        for name, archive, member in read_npz_members(path):
            with archive.open(member) as stream:
                shapes[name] = read_header(stream, member)[1]
    except ObjectsError:
        raise DataError(f"{path}: holds Python objects, which trustml never unpickles; store numbers") from None
    except DAMAGED as error:
        raise DataError(f"{path}: is no readable .npz file ({first_line(error)}); write it with numpy.savez") from None
    known = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    labels = label or next((name for name in _LABELS if name in shapes), None)
    if labels not in shapes:
        what = f"has no array {label!r}; name one of" if label else "has no array with a usual name of labels; name it:"
        raise UsageError(f"--label: {path} {what} {known}")
    others = [name for name, shape in shapes.items() if name != labels and len(shape) in (2, 3, 4)]
    alike = [name for name in others if shapes[name][0] == shapes[labels][0]]
    if len(alike) != 1:
        raise UsageError(
            f"{path}: {len(alike)} arrays may be the inputs of {labels!r} ({known}); write data.inputs by hand"
        )
    shape = shapes[alike[0]]
    if len(shape) == 3 and _SERIES * shape[2] <= shape[1]:
        return find_in_series(path, None, {"inputs": [alike[0]], "label": labels, **settings})
    scaling = "standard" if len(shape) == 2 else "none"
    source = source_from(Npz, {"path": str(path), "inputs": alike[0], "labels": labels, "scaling": scaling, **settings})
    task, notes = task_of_array(read_npz(path, names=(labels,))[0])
    if source.scaling == "standard":
        notes["data.scaling"] = "Mean and deviation of the training rows, which no epsilon covers."
    return Found(source=source, task=task, notes=notes, chosen=("task",))


def find_in_idx(path: Path, settings: Mapping[str, Any]) -> Found:
    """Find the labels of a file of images, and the test files, by MNIST's names.

    Raises
    ------
    UsageError
        If the labels are not beside the images.
    """
    name = path.name.replace("labels", "images").replace("idx1", "idx3")
    images, labels = path.with_name(name), path.with_name(name.replace("images", "labels").replace("idx3", "idx1"))
    if not labels.is_file() or not images.is_file() or images == labels:
        raise UsageError(f"{path}: its labels are not beside it; MNIST's are named train-labels-idx1-ubyte")
    given: dict[str, Any] = {"images": str(images), "labels": str(labels)}
    tests = [one.with_name(one.name.replace("train", "t10k")) for one in (images, labels)]
    if "train" in images.name and all(one.is_file() for one in tests):
        given |= {"test_images": str(tests[0]), "test_labels": str(tests[1])}
    return Found(source=source_from(Idx, given | dict(settings)), task=Classes())


def find_in_folder(path: Path, test: Path | None, settings: Mapping[str, Any]) -> Found:
    """Look at the first images, or recordings, of a folder of class folders, or of one with ``train`` and ``test``.

    Raises
    ------
    DataError
        If it is no such folder.
    """
    train, notes, told = path, dict[str, str](), list[str]()
    if test is None and (path / "train").is_dir() and (path / "test").is_dir():
        train, test = path / "train", path / "test"
        told.append("train and test are held apart, as the folder has them")
    if holds_recordings(train):
        return replace(find_in_recordings(train, test, settings), told=tuple(told))
    looked_at = _looked_at(train)
    sizes = {size for size, _ in looked_at}
    given: dict[str, Any] = {"path": str(train), "test_path": None if test is None else str(test)}
    if "colour" not in settings and {mode for _, mode in looked_at} <= {"1", "L"}:
        given["colour"] = "grey"
        notes["data.colour"] = f"All images looked at ({len(looked_at)}) are grey: one channel, not three equal ones."
    largest = max(max(size) for size in sizes)
    if len(sizes) > 1 or largest > 2 * _SIDE:
        given["size"] = (_SIDE, _SIDE)
        notes["data.size"] = (
            f"Images are {len(sizes)} sizes, up to {largest} pixels a side. Small ones keep runs short: raise it once "
            "all else is right."
        )
    source = source_from(Images, given | dict(settings))
    chosen = tuple(f"data.{name}" for name in ("colour", "size") if name not in settings)
    return Found(source=source, task=Classes(), notes=notes, told=tuple(told), chosen=chosen)


def _looked_at(folder: Path) -> list[tuple[tuple[int, int], str]]:
    """Sizes and modes of images that lie evenly over the folder."""
    from PIL import Image, UnidentifiedImageError

    files = class_folders(folder)
    found = []
    for one in files[:: max(1, len(files) // _LOOKED_AT)]:
        try:
            with Image.open(one.path) as image:
                found.append((image.size, image.mode))
        except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
            raise DataError(f"{one.path}: is no image that can be read; remove or replace it") from None
    return found
