"""A fact is a field: nobody decides by the text of a note, a title, a sentence or an identifier.

The trees of ``src`` and ``apps`` are walked. Of sentences nothing may be compared or searched but whether they are
empty; names may be equal to other names, and are never cut or searched for what they are made of.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
FILES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "apps").rglob("*.py")])
SENTENCES = {"note", "notes", "why", "reason", "how", "would_change", "warning", "warnings", "remarks", "sentence"}
NAMES = {
    *("title", "subject", "job", "id", "model", "library", "regime", "sampling", "accountant", "clipping"),
    *("neighboring_relation", "unit_of_privacy", "label", "caveat"),
}
WATCHED = SENTENCES | NAMES
CUTS = {
    *("startswith", "endswith", "split", "rsplit", "partition", "rpartition", "find", "rfind"),
    *("removeprefix", "removesuffix", "contains", "match", "fullmatch", "search", "replace", "extract", "findall"),
}
THROUGH = {"str", "iloc", "loc", "values", "lower", "upper", "strip", "map", "astype", "get", "fillna", "dropna"} | CUTS
ALLOWED = {
    ("src/trustml/plan/job.py", "removeprefix of model"): "identifiers of jobs are made there, and made short",
    (
        "src/trustml/cli/audit.py",
        "in of title",
    ): "a model in the title is not named twice; nothing follows",
    ("src/trustml/scenario/methods.py", "replace of title"): "how a user may spell the name of a method",
}
"""Cuts that stay, with the reason."""
READER = "src/trustml/compare/format_2.py"
"""Records of format 2 have their facts in the words of their notes alone: the one place that reads them, which is told
apart from all others so that there is no second one."""


def leaf(node: ast.AST | None, aliases: dict[str, str]) -> str:
    """What a text is called: the last name of an expression, through pandas and methods of strings."""
    match node:
        case ast.Attribute(value=value, attr=attr):
            return leaf(value, aliases) if attr in THROUGH else attr
        case ast.Subscript(value=value, slice=ast.Constant(value=str() as key)):
            return leaf(value, aliases) if key in THROUGH else key
        case ast.Subscript(value=value):
            return leaf(value, aliases)
        case ast.Call(func=ast.Name(id="str"), args=[first, *_]):
            return leaf(first, aliases)
        case ast.Call(func=ast.Attribute(attr="fromkeys"), args=[first, *_]):
            return leaf(first, aliases)
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in THROUGH:
            return leaf(value, aliases)
        case ast.Name(id=name):
            return aliases.get(name, name)
        case ast.GeneratorExp(elt=elt) | ast.ListComp(elt=elt):
            return leaf(elt, aliases)
        case ast.NamedExpr(value=value):
            return leaf(value, aliases)
    return ""


def nodes_of(scope: ast.AST) -> list[ast.AST]:
    """Everything in a function or module, but not in the functions that it defines."""
    found, left = [], list(ast.iter_child_nodes(scope))
    while left:
        node = left.pop()
        found.append(node)
        if not isinstance(node, FUNCTIONS):
            left += ast.iter_child_nodes(node)
    return found


def aliases_of(nodes: list[ast.AST]) -> dict[str, str]:
    """Names that stand for a watched text: assigned from it, or running over a column of it."""
    found: dict[str, str] = {}
    pairs: list[tuple[ast.AST, ast.AST]] = []
    for node in nodes:
        if isinstance(node, ast.Assign):
            pairs += [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.For | ast.comprehension):
            pairs.append((node.target, node.iter))
        elif isinstance(node, ast.NamedExpr):
            pairs.append((node.target, node.value))
    for _ in range(2):  # an alias of an alias
        for target, value in pairs:
            name = leaf(value, found)
            if isinstance(target, ast.Name) and name in WATCHED and target.id != name:
                found.setdefault(target.id, name)
    return found


def is_kept(node: ast.AST) -> bool:
    """Whether a sentence is only looked for among sentences, so that each is told once."""
    return isinstance(node, ast.Name)


def is_empty(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in ("", "-")


def readings(source: str) -> list[tuple[int, str]]:
    """Every place that reads a watched text, with its line and what it does."""
    scopes: list[ast.AST] = [ast.parse(source)]
    found = []
    for scope in scopes:
        nodes = nodes_of(scope)
        scopes += [node for node in nodes if isinstance(node, FUNCTIONS)]
        aliases = aliases_of(nodes)
        found += [(node.lineno, what) for node in nodes for what in _readings_of(node, aliases)]
    return sorted(found)


def _readings_of(node: ast.AST, aliases: dict[str, str]) -> list[str]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        own = leaf(node.func.value, aliases)
        if node.func.attr in CUTS and own in WATCHED and any(_is_text(one) for one in node.args):
            return [f"{node.func.attr} of {own}"]
        if node.func.attr in ("isin", "eq", "ne") and own in SENTENCES:
            return [f"{node.func.attr} of {own}"]
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "re":
            return [f"re of {leaf(one, aliases)}" for one in node.args if leaf(one, aliases) in WATCHED]
    if isinstance(node, ast.Compare):
        found = []
        sides = [node.left, *node.comparators]
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            if isinstance(operator, ast.In | ast.NotIn) and leaf(right, aliases) in WATCHED and _is_text(left):
                found.append(f"in of {leaf(right, aliases)}")
            if isinstance(operator, ast.In | ast.NotIn) and leaf(left, aliases) in SENTENCES and not is_kept(right):
                found.append(f"in of {leaf(left, aliases)}")
            if isinstance(operator, ast.Eq | ast.NotEq) and not (is_empty(left) or is_empty(right)):
                found += [f"== of {leaf(one, aliases)}" for one in (left, right) if leaf(one, aliases) in SENTENCES]
        return found
    return []


def _is_text(node: ast.AST) -> bool:
    """Whether an argument may be a part of a text."""
    return not (isinstance(node, ast.Constant) and not isinstance(node.value, str))


def test_nobody_reads_a_sentence_or_cuts_a_name_for_facts():
    found = [
        f"{name}:{line}: {what}"
        for path in FILES
        for name in [path.relative_to(ROOT).as_posix()]
        if name != READER
        for line, what in readings(path.read_text(encoding="utf-8"))
        if (name, what) not in ALLOWED
    ]
    assert not found, "make the fact a field: " + "; ".join(found)


def test_the_reader_of_old_records_is_the_one_that_reads_notes():
    assert "split of note" in [what for _, what in readings((ROOT / READER).read_text(encoding="utf-8"))]


def test_what_is_allowed_is_still_there():
    for (name, what), why in ALLOWED.items():
        assert why and what in [one for _, one in readings((ROOT / name).read_text(encoding="utf-8"))], name


@pytest.mark.parametrize(
    "code",
    [
        'def f(row): return "unit: user" in row.note',
        'def f(table): return table.note.str.contains("same weights")',
        'def f(row): note = str(row["note"]); return note.split("p = ")[1]',
        'def f(table): return [n for n in table.note if "factor" in n]',
        "def f(job): return job.id.split('.of.')[1]",
        'def f(table): return table.subject.str.split(" ~ ")',
        'def f(first): return first.job.startswith("game.")',
        'def f(finding): return finding.title.removeprefix("Not checked: ")',
        'def f(row): text = row.note; other = text; return other.endswith("examples")',
        'def f(one): return one.why == "the noise changed"',
        'def f(s): return s.sampling.startswith("Poisson")',
        'import re\ndef f(row): return re.search("p = (.*)", row.note)',
        'def f(table): return table[table.note.isin(["same weights"])]',
        'def f(row): return row.note in ("same weights", "two regimes")',
        'for warning in run.warnings:\n    if "users" in warning: pass',
    ],
)
def test_what_was_done_is_found(code):
    assert readings(code)


@pytest.mark.parametrize(
    "code",
    [
        'def f(row): return row.verdict == "absent"',
        'def f(row): return row.note != ""',
        'def f(charge): return charge.sampling == "poisson"',
        "def f(row, other): return row.job == other.job",
        'def f(row): return f"{row.note}; more"',
        'def f(table): return table[table.pair == "two regimes"]',
    ],
)
def test_what_is_no_reading_is_not(code):
    assert not readings(code)
