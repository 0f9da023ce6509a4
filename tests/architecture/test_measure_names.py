"""The table of measures is the only list of them: whoever lists measures asks it."""

from __future__ import annotations

import ast
from pathlib import Path

from trustml.measures.measure import MEASURES, row_paths

ROOT = Path(__file__).resolve().parents[2]
RECORDED = {
    "worker/probing.py": "names of the arrays that a worker records, some of which their measures share",
    "compare/format_2.py": "the measures whose notes of format 2 had forms of their own: no new one can be among them",
}


def lists_of_measures(tree: ast.AST) -> list[tuple[int, list[str]]]:
    """Line and names of every list, tuple, set and dict literal with two or more names of measures in it."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            parts = node.keys
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            parts = [part.value if isinstance(part, ast.Starred) else part for part in node.elts]
        else:
            continue
        names = [part.value for part in parts if isinstance(part, ast.Constant) and part.value in MEASURES]
        if len(names) > 1:
            found.append((node.lineno, names))
    return found


def test_nobody_keeps_a_list_of_measures():
    source = ROOT / "src" / "trustml"
    makers = {f"{path.partition(':')[0].removeprefix('trustml.').replace('.', '/')}.py" for path in row_paths()}
    lists = []
    for path in [*source.rglob("*.py"), *(ROOT / "apps").rglob("*.py")]:
        name = path.relative_to(source).as_posix() if path.is_relative_to(source) else path.name
        if not name.startswith("measures/") and name not in makers and name not in RECORDED:
            text = path.read_text("utf-8")
            if sum(measure in text for measure in MEASURES) > 1:  # of others there can be no list
                lists += [f"{name}:{line}: {names}" for line, names in lists_of_measures(ast.parse(text))]
    assert not lists, lists


def test_the_walk_sees_lists_of_every_form():
    for code in (
        'A = ("epsilon", "accuracy")',
        'A = ["x", "epsilon", "accuracy"]',
        'f({"epsilon", "accuracy"})',
        'A = {"epsilon": "{:.2f}", "accuracy": "{:.3f}"}',
    ):
        assert lists_of_measures(ast.parse(code)) == [(1, ["epsilon", "accuracy"])]
    assert not lists_of_measures(ast.parse('A = ("epsilon", "other"); f("epsilon", "accuracy")'))
