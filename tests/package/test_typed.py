"""What a type checker sees of the package: every public name with its type, and nothing else."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import trustml

SOURCE = Path(trustml.__file__).parents[1]
ROOT = Path(__file__).resolve().parents[2]
WRONG = """
trustml.DPFedAvg(roundz=3, epsilonn="eight")
trustml.DPSGD(epsilon="eight")
trustml.Scenario(name="s", data=trustml.Digits(), model=3, training=())
trustml.load(3)
trustml.nothing
from trustml import nobody
"""
ERRORS = [
    'Unexpected keyword argument "roundz" for "DPFedAvg"',
    'Unexpected keyword argument "epsilonn" for "DPFedAvg"',
    'Argument "epsilon" to "DPSGD" has incompatible type "str"',
    'Argument "model" to "Scenario" has incompatible type "int"',
    'Argument 1 to "load" has incompatible type "int"',
    'Module has no attribute "nothing"',
    'Module "trustml" has no attribute "nobody"',
]


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> list[str]:
    """What mypy says of a user's file, of which it knows the package as one that is installed."""
    file = tmp_path_factory.mktemp("typed") / "use.py"
    shown = "".join(f"reveal_type(trustml.{name})\n" for name in trustml.__all__)
    file.write_text(f"import trustml\n{shown}{WRONG}")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", file],  # as `make check` calls it, which has looked at the package already
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.long  # mypy looks at all of the package
def test_no_public_name_may_be_anything(said):
    types = [found[1] for line in said if (found := re.search('Revealed type is "(.*)"', line))]
    assert len(types) == len(trustml.__all__) > 100
    untyped = [name for name, shown in zip(trustml.__all__, types, strict=True) if shown == "Any"]
    assert not untyped
    assert all(shown.startswith(("def (", "Overload(")) for shown in types), "classes and functions"


@pytest.mark.long
def test_mistakes_in_a_users_file_are_errors(said):
    errors = [line.split(": error: ")[1] for line in said if ": error: " in line]
    assert len(errors) == len(ERRORS), errors
    for found, expected in zip(errors, ERRORS, strict=True):
        assert found.startswith(expected)


def test_what_is_imported_for_the_checker_is_there_at_run_time():
    tree = ast.parse((SOURCE / "trustml" / "__init__.py").read_text(encoding="utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and str(node.module) > "trustml"]
    assert {name.asname for node in imported for name in node.names} - {None} == set(trustml.__all__)
    assert all(hasattr(trustml, name) for name in trustml.__all__)


def test_the_package_says_that_it_is_typed():
    assert (SOURCE / "trustml" / "py.typed").is_file()
