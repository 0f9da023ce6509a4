"""The data that scikit-learn brings, read without importing it: that takes seconds, and reading takes none."""

from __future__ import annotations

import gzip
import importlib.util
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Ints
from trustml.errors import DataError

_MEASURED = (
    *("radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points"),
    *("symmetry", "fractal dimension"),
)
BREAST_CANCER_COLUMNS = (
    *(f"mean {name}" for name in _MEASURED),
    *(f"{name} error" for name in _MEASURED),
    *(f"worst {name}" for name in _MEASURED),
)


def read_digits() -> tuple[npt.NDArray[np.float64], Ints]:
    """Images of shape (n, 8, 8), of whole numbers from 0 to 16, and the digits that they show.

    Raises
    ------
    DataError
        If scikit-learn is not installed beside this interpreter.
    """
    table = np.loadtxt(io.BytesIO(gzip.decompress(_content("digits.csv.gz"))), delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def read_breast_cancer() -> tuple[npt.NDArray[np.float64], Ints, tuple[str, ...]]:
    """Rows of `BREAST_CANCER_COLUMNS`, their classes, and the names of the classes.

    Raises
    ------
    DataError
        If scikit-learn is not installed beside this interpreter.
    """
    head, _, body = _content("breast_cancer.csv").decode().partition("\n")
    table = np.loadtxt(io.StringIO(body), delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64), tuple(head.strip().split(",")[2:])


def _content(name: str) -> bytes:
    found = importlib.util.find_spec("sklearn")  # of a package itself, which imports nothing
    if found is None or found.origin is None:
        raise DataError(f"{name}: comes with scikit-learn, which is not installed; pip install scikit-learn")
    return (Path(found.origin).parent / "datasets" / "data" / name).read_bytes()
