"""What is written below ``private/`` of a run is written for its owner alone."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "trustml"
WRITERS = {"write_atomic", "replacing", "write_arrays"}


def named_private(text: str) -> set[str]:
    """Constants and functions of a module that are or give a name below ``private/``."""
    found = set()
    for node in ast.parse(text).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str() as value)):
                found |= {name} if value.startswith("private/") else set()
            case ast.FunctionDef(name=name, body=[*_, ast.Return(value=ast.JoinedStr(values=[ast.Constant(), *_]))]):
                found |= {name} if node.body[-1].value.values[0].value.startswith("private/") else set()  # type: ignore[attr-defined]
    return found


def writes_unguarded(text: str, names: set[str]) -> list[int]:
    """Lines where a file of one of these names is written and nothing says that it is private."""
    lines = []
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, ast.FunctionDef):
            continue
        known = set(names)
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _mentions(node.value, known):
                known.add(node.targets[0].id)
        lines += [
            node.lineno
            for node in ast.walk(function)
            if isinstance(node, ast.Call)
            and getattr(node.func, "id", "") in WRITERS
            and _mentions(node.args[0], known)
            and all(one.arg != "private" for one in node.keywords)
        ]
    return lines


def _mentions(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(one, ast.Name) and one.id in names for one in ast.walk(node))


@functools.cache
def texts() -> dict[str, str]:
    return {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}


def test_what_lies_below_private_is_written_for_its_owner_alone():
    names = set().union(*(named_private(text) for text in texts().values() if '"private/' in text))
    assert {"PRIVATE_DATA", "NOTES", "members_answers", "scores_file"} <= names
    written = [
        (path, text)
        for path, text in texts().items()
        if any(f"{writer}(" in text for writer in WRITERS) and any(name in text for name in names)
    ]
    assert len(written) > 15
    assert not [(path, line) for path, text in written for line in writes_unguarded(text, names)]


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("write_atomic(run.file(NOTES), content)", [2]),
        ("write_atomic(run.file(NOTES), content, private=True)", []),
        ("secret = run.file(NOTES); write_atomic(secret, content)", [2]),
        ("write_atomic(run.file(OTHER), content)", []),
    ],
)
def test_such_a_line_is_found(line, lines):
    assert writes_unguarded(f"def write(run, content):\n    {line}", {"NOTES"}) == lines
