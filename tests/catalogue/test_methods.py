"""The table of methods: every cell names a function that is there, and the table alone decides what is called."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest

import trustml
from trustml.catalogue import methods
from trustml.catalogue.available import implementation
from trustml.catalogue.entry import MethodEntry
from trustml.catalogue.methods import METHODS
from trustml.frameworks.implementation import Implementation
from trustml.scenario import methods as m

SOURCE = Path(trustml.__file__).parent
PARAMETERS = {"torch": ["module", "request", "method"], "jax": ["request", "method"]}
PARAMETERS["tensorflow"] = ["model", "request", "method"]
SETTINGS = {
    m.SmoothGrad: [m.SmoothGrad(statistic=name) for name in ("mean", "mean_of_squares", "variance")],
    m.Occlusion: [m.Occlusion(window=(2, 2), stride=(2, 2))],
    m.IntegratedGradients: [m.IntegratedGradients()],
}
"""Where a cell depends on the settings, settings that some library has."""


def cells() -> list[tuple[str, type[m.MethodSpec], Implementation]]:
    found = []
    for kind, row in METHODS.items():
        for backend, cell in row.by.items():
            told = [cell(method) for method in SETTINGS[kind]] if callable(cell) else [cell]
            found += [(backend, kind, one) for one in told if isinstance(one, Implementation)]
    return found


@pytest.mark.parametrize(("backend", "kind", "cell"), cells(), ids=lambda value: getattr(value, "call", None))
def test_a_cell_names_a_function_of_its_backend(backend, kind, cell):
    module, _, name = cell.call.partition(":")
    assert module.startswith(f"trustml.backends.{backend}.")
    tree = ast.parse((SOURCE / Path(*module.split(".")[1:]).with_suffix(".py")).read_text(encoding="utf-8"))
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert [argument.arg for argument in function.args.args] == PARAMETERS[backend]
    annotation = function.args.args[-1].annotation
    told = ast.unparse(annotation)
    assert told in (f"m.{kind.__name__}", "m.GradientMethod", "m.OutputsMethod", "LayerMethod")


def test_there_are_as_many_cells_as_before():
    count = {backend: len({kind for one, kind, _ in cells() if one == backend}) for backend in PARAMETERS}
    assert count == {"torch": 27, "jax": 27, "tensorflow": 14}


KNOWN_BY_NAME = {
    "RandomControl": "is drawn by the core and told apart from methods wherever they are judged",
    "IntegratedGradients": "is the common lane, and what a scenario explains with unless it says otherwise",
    "SmoothGrad": "holds another method, whose settings are checked too",
}
"""Methods that the code asks for by name outside the table, and why."""


_ITS_FILES = ("scenario/methods.py", "attribution/perturbation.py", "__init__.py")


def test_a_method_is_named_in_its_struct_its_row_and_its_functions_alone():
    """So that a new one touches four files at most: the struct, the row, its functions, and the public names."""
    names = {kind.__name__ for kind in METHODS} - KNOWN_BY_NAME.keys()
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE).as_posix()
        if place.startswith(("catalogue/", "backends/", "bench/")) or place in _ITS_FILES:
            continue
        text = path.read_text(encoding="utf-8")
        if not any(name in text for name in names):  # most have none, and parsing takes the time
            continue
        nodes = list(ast.walk(ast.parse(text)))
        said = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        said |= {node.id for node in nodes if isinstance(node, ast.Name)}
        said |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        if said & names:
            found[place] = said & names
    assert not found


@pytest.mark.jax
def test_the_table_alone_decides_what_is_called(monkeypatch):
    """A new method is a struct, a row and its functions: no dispatch has to learn of it."""
    from tests.backends.torch.explaining import request
    from trustml.backends.jax.attribution import explain

    class Halves(m.MethodSpec, frozen=True, kw_only=True, tag="Halves"):
        """Half of each input."""

    call = Implementation(library="tests", call=f"{__name__}:halves")
    row = MethodEntry(title="Halves", paper="-", needs="forward", by={"jax": call})
    monkeypatch.setitem(methods.METHODS, Halves, row)
    asked = dataclasses.replace(request(m.Saliency()), method=Halves())
    assert np.array_equal(explain(asked)["native"], asked.inputs / 2)
    with pytest.raises(NotImplementedError, match="is not implemented for torch"):
        implementation("torch", Halves())


def halves(request, method):
    return request.inputs / 2
