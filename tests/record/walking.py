"""Every file of a run outside ``private/``, taken apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file


def public_files(run: Path) -> list[str]:
    """Names of all files outside ``private/``."""
    names = [path.relative_to(run).as_posix() for path in sorted(run.rglob("*")) if path.is_file()]
    return [name for name in names if not name.startswith("private/")]


def parts_of(path: Path) -> set[str]:
    """Name every part of a file, as :mod:`trustml.record.released` does."""
    return set(_parts(path))


def _parts(path: Path) -> Iterator[str]:
    match path.suffix:
        case ".json":
            yield from leaves(json.loads(path.read_bytes()))
        case ".jsonl":
            for line in path.read_bytes().splitlines():
                content = json.loads(line)
                kind = f"{content['event']}:" if "event" in content else ""
                yield from (f"{kind}{name}" for name in leaves(content))
        case ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                yield from arrays.files
        case ".safetensors":
            yield from load_file(path)
        case ".parquet":
            table = pd.read_parquet(path)
            yield from (f"column:{name}" for name in table)
            yield from (f"measure:{name}" for name in table.measure.unique())
        case _:
            yield "(empty)" if path.stat().st_size == 0 else "(unknown bytes)"


def leaves(content: Any, before: str = "") -> Iterator[str]:
    """Paths of the leaves of JSON content; what is empty is a leaf."""
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from leaves(value, f"{before}.{key}" if before else key)
    elif isinstance(content, list):
        below = f"{before}.#" if before else "#"
        if not content:
            yield below
        for value in content:
            yield from leaves(value, below)
    else:
        yield before
