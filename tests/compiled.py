"""Compiled JAX programs that processes of the tests share, and find again the next time ``make test`` is called.

A program has its name from all that it is compiled from, by which version and with which options, so what is found is
what would be compiled. Each process of the tests, with the workers that it starts, reads and writes a folder of its
own: JAX does not write a program at once, and workers are killed. What is whole goes into the common folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import psutil

from trustml.errors import UsageError
from trustml.launch.compiled import evict, open_folder
from trustml.plan.switches import reuse_compiled

_PROCESS = "process"
_LARGEST = 2**27
"""Bytes that are kept, thousands of programs; the oldest go first."""


class CompiledPrograms:
    """A folder of one process of the tests, which is in its environment, beside one of all.

    Parameters
    ----------
    root : Path
        Of the common folder. Where others can write to it, nothing is kept for another time.
    """

    def __init__(self, root: Path) -> None:
        self._common: Path | None = None
        with contextlib.suppress(UsageError):
            self._common = open_folder(Path(sys.executable), ("jax", "jaxlib"), root=root)
            _clear(root)
        # beside the common one, so that links can be made
        place = root if self._common else None
        self._own = Path(tempfile.mkdtemp(prefix=f"{_PROCESS}-{os.getpid()}-", dir=place))
        os.environ.update(reuse_compiled(self._own))
        self.exchange()

    def exchange(self) -> None:
        """Give what is whole to the others, and take what they gave."""
        if self._common is None:
            return
        own, common = (set(os.listdir(folder)) for folder in (self._own, self._common))
        for name in own - common:
            if is_whole(self._own / name):
                _link(self._own / name, self._common / name)
        for name in common - own:
            _link(self._common / name, self._own / name)

    def close(self) -> None:
        """Give what was compiled last, and delete the folder of this process."""
        self.exchange()
        shutil.rmtree(self._own, ignore_errors=True)


def is_whole(path: Path) -> bool:
    """Tell whether JAX wrote a program to its end: what it wrote is compressed, with a checksum at the end."""
    try:
        zlib.decompress(path.read_bytes())
    except (OSError, zlib.error):
        return False
    return True


def _clear(root: Path) -> None:
    """Delete what processes left that were killed, and what is too old."""
    for folder in root.glob(f"{_PROCESS}-*"):
        if not psutil.pid_exists(int(folder.name.split("-")[1])):
            shutil.rmtree(folder, ignore_errors=True)
    evict(root, largest=_LARGEST)


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except (FileExistsError, FileNotFoundError):  # another process was faster
        pass
