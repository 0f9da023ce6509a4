"""Folders of models of TensorFlow.js by strangers: what is looked at before they are opened.

A graph of TensorFlow.js names operators of its own alone, which compute. What is named in it as files is not trusted.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from trustml.errors import UsageError
from trustml.models.exported import STATEMENT

GRAPH = "model.json"
_LARGEST, _LARGEST_GRAPH = 2 << 30, 64 << 20
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OSError)


class _Group(msgspec.Struct, frozen=True):
    paths: list[str]
    weights: list[Any]


class _Described(msgspec.Struct, frozen=True):
    format: str
    modelTopology: dict[str, Any]
    weightsManifest: list[_Group]
    userDefinedMetadata: dict[str, Any] | None = None


@contextmanager
def copied_tfjs(folder: Path) -> Iterator[Path]:
    """Copy ``model.json`` and the files that it names, once they were looked at; the folder may hold another by then.

    Raises
    ------
    UsageError
        If it is no graph model, names what is no plain file beside it or one of them twice, or is larger than can be
        meant.
    """
    with tempfile.TemporaryDirectory(prefix="trustml-tfjs-") as place:
        goal = Path(place)
        content = _plain(folder / GRAPH, most=_LARGEST_GRAPH)
        names = _named(folder / GRAPH, content)
        (goal / GRAPH).write_bytes(content)
        left = _LARGEST  # of all files together: node holds them as one
        for name in names:
            content = _plain(folder / name, most=left)
            (goal / name).write_bytes(content)
            left -= len(content)
        yield goal


def _named(graph: Path, content: bytes) -> list[str]:
    """Files that a graph model names, each beside it and each once."""
    try:
        found = msgspec.json.decode(content, type=_Described)
    except _UNREADABLE as error:
        raise UsageError(f"{graph}: is no model of TensorFlow.js ({error}); name another") from None
    if found.format != "graph-model" or not isinstance(found.modelTopology.get("node"), list):
        raise UsageError(f"{graph}: is no graph model of TensorFlow.js; convert it to one")
    if not isinstance((found.userDefinedMetadata or {}).get(STATEMENT, ""), str):
        raise UsageError(f"{graph}: userDefinedMetadata.{STATEMENT} is no text; take it out, or export the model again")
    names = [name for group in found.weightsManifest for name in group.paths]
    for name in names:
        if Path(name).name != name or name in ("", ".", "..", GRAPH) or "\0" in name:
            raise UsageError(f"{graph}: names {name[:80]!r}, which is no file beside it; name another")
    if len(set(names)) < len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise UsageError(f"{graph}: names {twice[:80]!r} twice; name another")
    return names


def _plain(path: Path, *, most: int) -> bytes:
    """Read a plain file that is no link and has no more bytes than are left of what can be meant."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as stream:
            found = os.fstat(handle)
            content = stream.read(most + 1) if stat.S_ISREG(found.st_mode) and found.st_size <= most else None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise UsageError(f"{path}: cannot be read ({error.strerror}); name another") from None
        content = None
    if content is None or len(content) > most:
        limit = f"{_LARGEST >> 30} GiB, the graph than {_LARGEST_GRAPH >> 20} MiB"
        raise UsageError(f"{path}: is a link or no file, or all files are larger than {limit}; name another")
    return content
