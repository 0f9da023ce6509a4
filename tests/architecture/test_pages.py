"""No text of a record reaches the Markdown of a page raw: the trees of all pages are walked."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*(ROOT / "apps").rglob("*.py"), ROOT / "benchmarks" / "trustml_bench" / "panels.py"])

BODIES = {"markdown", "caption", "title", "header", "subheader", "info", "warning", "error", "success", "expander"}
LABELS = {
    "selectbox",
    "multiselect",
    "number_input",
    "toggle",
    "checkbox",
    "button",
    "metric",
    "download_button",
    "tabs",
}
NAMED = {"caption", "text", "help", "label", "body", "placeholder"}
"""Arguments by name that are Markdown, of whatever element."""
ELEMENTS = {*BODIES, *LABELS, "progress", "image", "table", "page_link"}
NEVER = {"write", "write_stream", "html", "latex", "link_button", "radio", "pills", "iframe", "components"}
"""Elements that make markup of texts in more ways than are looked for here."""


def is_ours(node: ast.expr) -> bool:
    """Whether an expression is our own words, or a text that was escaped."""
    match node:
        case ast.Constant():
            return True
        case ast.Call(func=ast.Name(id="plain_text")):
            return True
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return all(map(is_ours, parts))
        case ast.ListComp(elt=part):
            return is_ours(part)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return is_ours(left) and is_ours(right)
        case ast.IfExp(body=one, orelse=other):
            return is_ours(one) and is_ours(other)
    return False


def raw_texts(source: str, *, tables: bool) -> list[int]:
    """Lines of calls that show what may be a stranger's as markup; `tables` may be made of cells where it is said."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = node.func.attr
        texts = node.args[: 2 if name == "metric" else 1] if name in BODIES | LABELS else []
        if name in ELEMENTS:
            texts = [*texts, *(one.value for one in node.keywords if one.arg in NAMED)]
        if name in NEVER or not all(map(is_ours, texts)) or (name == "table" and not tables):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_pages_show_texts_escaped(path):
    assert raw_texts(path.read_text(encoding="utf-8"), tables=path.name == "page_parts.py") == []


def test_the_one_table_of_texts_escapes_its_cells():
    source = (ROOT / "apps" / "page_parts.py").read_text(encoding="utf-8")
    (table,) = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and "st.table" in ast.unparse(node.func)
    ]
    assert "{name: plain_text(row[name])" in ast.unparse(table)


@pytest.mark.parametrize(
    "raw",
    [
        "st.caption(manifest.name)", 'st.warning(f"{error}")', "left.selectbox(name, names)", "st.write(1)",
        "st.table(x)", 'st.metric("a", value)', "st.progress(1, text=name)", "st.image(x, caption=names)",
        'st.info("a" + name)', 'st.info("a" if one else name)', "place.html(text)",
    ],
)  # fmt: skip
def test_raw_texts_are_found(raw):
    assert raw_texts(raw, tables=False) == [1]


def test_escaped_texts_and_our_own_are_let_through():
    ours = 'st.info("a" + plain_text(b) if c else "d"); st.metric("a", plain_text(b)); st.text(b); f.title'
    assert raw_texts(ours, tables=False) == []
