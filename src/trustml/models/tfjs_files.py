"""Folders of models of TensorFlow.js by strangers: what is looked at before they are opened.

A graph of TensorFlow.js names operators of its own alone, which compute. What is named in it as files is not trusted.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from trustml.errors import UsageError

GRAPH = "model.json"
_LARGEST = 2 << 30
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OSError)


class _Group(msgspec.Struct, frozen=True):
    paths: list[str]
    weights: list[Any]


class _Described(msgspec.Struct, frozen=True):
    format: str
    modelTopology: dict[str, Any]
    weightsManifest: list[_Group]


@contextmanager
def copied_tfjs(folder: Path) -> Iterator[Path]:
    """Copy ``model.json`` and the files that it names, once they were looked at; the folder may hold another by then.

    Raises
    ------
    UsageError
        If it is no graph model, or names what is no plain file beside it.
    """
    with tempfile.TemporaryDirectory(prefix="trustml-tfjs-") as place:
        goal = Path(place)
        content = _plain(folder / GRAPH)
        try:
            found = msgspec.json.decode(content, type=_Described)
        except _UNREADABLE as error:
            raise UsageError(f"{folder / GRAPH}: is no model of TensorFlow.js ({error}); name another") from None
        if found.format != "graph-model" or not isinstance(found.modelTopology.get("node"), list):
            raise UsageError(f"{folder / GRAPH}: is no graph model of TensorFlow.js; convert it to one")
        (goal / GRAPH).write_bytes(content)
        for name in (name for group in found.weightsManifest for name in group.paths):
            if Path(name).name != name or name in ("", ".", "..", GRAPH):
                raise UsageError(f"{folder / GRAPH}: names {name[:80]!r}, which is no file beside it; name another")
            (goal / name).write_bytes(_plain(folder / name))
        yield goal


def _plain(path: Path) -> bytes:
    """Read a plain file that is no link and not larger than can be meant."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise UsageError(f"{path}: is a link, no file, or larger than {_LARGEST >> 30} GiB; name another")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name another") from None
