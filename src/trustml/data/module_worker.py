"""Run a function of a user's that gives examples, and write what it gives; a process of its own.

``python -m trustml.data.module_worker FOLDER`` reads ``request.json`` there, and writes the files of :class:`Answer`.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

REQUEST, ANSWER, INPUTS, LABELS, BY = "request.json", "answer.json", "inputs.raw", "labels.npy", "by.npy"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What to call."""

    function: str
    folder: str
    arguments: dict[str, str | int | float | bool]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: inputs of that type and shape in a file, labels and what to split by beside it; or a problem."""

    dtype: str = ""
    shape: tuple[int, ...] = ()
    split_by: bool = False
    code: str = ""
    problem: str = ""


class _ShapeError(Exception):
    """What a function gave is no examples."""


def main(folder: Path) -> None:
    """Answer the request of a folder."""
    request = msgspec.json.decode((folder / REQUEST).read_bytes(), type=Request)
    try:
        answer = _answer(request, folder)
    except _ShapeError as error:
        answer = Answer(problem=str(error))
    except Exception as error:
        traceback.print_exc()
        answer = Answer(problem=_where(error, request))
    (folder / ANSWER).write_bytes(msgspec.json.encode(answer))


def _answer(request: Request, folder: Path) -> Answer:
    name, _, attribute = request.function.partition(":")
    sys.path.insert(0, request.folder)
    module = importlib.import_module(name)
    file = module.__file__
    code = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    if not callable(getattr(module, attribute, None)):
        made = ", ".join(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise _ShapeError(f"is no function; choose among {made}")
    given = getattr(module, attribute)(**request.arguments)
    if isinstance(given, tuple) and len(given) in (2, 3):
        inputs, labels, *by = given
        whole = _numbers(inputs, "inputs")
        whole.tofile(folder / INPUTS)
        shape, dtype = whole.shape, whole.dtype
    else:
        shape, dtype, labels, by = _one_by_one(given, folder)
    _save(folder / LABELS, labels, "labels", shape)
    if by:
        _save(folder / BY, by[0], "what to split by", shape)
    return Answer(dtype=dtype.str, shape=shape, split_by=bool(by), code=code)


def _one_by_one(given: Iterable[Any], folder: Path) -> tuple[tuple[int, ...], np.dtype[Any], list[Any], list[Any]]:
    """Write inputs as they come: all together they may be larger than memory."""
    if not isinstance(given, Iterable) and not hasattr(given, "__getitem__"):
        raise _ShapeError(f"gave {type(given).__name__}; return (inputs, labels), or yield (input, label)")
    labels: list[Any] = []
    by: list[Any] = []
    first: npt.NDArray[Any] | None = None
    with (folder / INPUTS).open("wb") as stream:
        for number, example in enumerate(iter(given)):
            if not isinstance(example, tuple | list) or len(example) not in (2, 3):
                names = f" of {', '.join(map(str, example))}" if isinstance(example, dict) else ""
                what = f"{type(example).__name__}{names}"
                raise _ShapeError(f"gave {what} as example {number}; yield (input, label)")
            values = _numbers(example[0], f"the input of example {number}")
            first = values if first is None else first
            if (values.shape, values.dtype) != (first.shape, first.dtype):
                raise _ShapeError(
                    f"gave {values.dtype} of shape {values.shape} as example {number}, and {first.dtype} of shape "
                    f"{first.shape} before; give all alike"
                )
            values.tofile(stream)
            labels.append(_plain(example[1]))
            by += [_plain(value) for value in example[2:]]
    if first is None:
        raise _ShapeError("gave no example")
    if by and len(by) != len(labels):
        raise _ShapeError(f"gave what to split by for {len(by)} of {len(labels)} examples; give it for all or none")
    return (len(labels), *first.shape), first.dtype, labels, [by] if by else []


def _numbers(values: Any, what: str) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise _ShapeError(f"gave {what} of type {array.dtype}; give numbers")
    return np.ascontiguousarray(array)


def _plain(value: Any) -> Any:
    """Give one label as a value of Python."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def _save(path: Path, values: Any, what: str, shape: tuple[int, ...]) -> None:
    array = np.asarray(values)
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.ravel()):
        array = array.astype(np.str_)
    if array.dtype.kind not in "biufSU" or array.ndim not in (1, 2) or not shape or len(array) != shape[0]:
        raise _ShapeError(
            f"gave {what} of type {array.dtype} and shape {array.shape} for inputs of shape {shape}; give one number "
            "or text for each"
        )
    np.save(path, array, allow_pickle=False)


def _where(error: Exception, request: Request) -> str:
    """Say in a line what failed, and where in the user's code."""
    lines = str(error).strip().splitlines() or ["no message"]
    home = str(Path(request.folder))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(home)]
    place = f", line {frames[-1].lineno} of {Path(frames[-1].filename).name}" if frames else ""
    return f"fails with {type(error).__name__}: {lines[0]}{place}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
