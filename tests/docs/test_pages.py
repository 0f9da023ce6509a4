"""The documentation: links lead somewhere, code works, commands are there, and generated pages are current."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

import trustml
from docs.atlas_hook import ATLAS, atlas_files
from trustml.cli.main import trustml as command_line
from trustml.report.scenario_page import scenario_markdown

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
BUILT = [page for page in PAGES if page.parent != ROOT]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
FRAGMENTS = {
    "private_training.md": "a step of the reader's own, which is left to the reader",
    "attacks_and_audits.md": "trains a forest and attacks it; tests/test_audits.py does that",
    "data.md": "takes a data set of torchvision, which no environment has",
    "importing.md": "a module of the reader's own; tests/importing/ does that",
    "tasks.md": "the rest of each scenario is left out",
    "python.md": "needs a run of scenarios/digits.py in three frameworks",
    "README.md": "needs such a run too",
    "tutorial.md": "run whole by the long test below",
    "own_module.md": "run whole by the long test below",
    "deploy.md": "run by a long test of tests/deployment/test_exporting.py, in each framework's environment",
    "audit_in_ci.md": "run by the test of its two blocks below",
}
"""Pages with Python that is looked at without being run here, and why."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in _BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def headings(page: Path) -> set[str]:
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = [line.lstrip("#").strip() for line in text.splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if page.parent != ROOT and target == DOCS / "contributing.md":
            target = ROOT / "CONTRIBUTING.md"  # a hook puts it among the pages
        if target.parent == DOCS / "atlas":  # a hook unpacks it there
            assert target.name in atlas_files(), link
            continue
        assert target.is_file(), f"{link} leads nowhere"
        assert page.parent == ROOT or file == "" or DOCS in target.parents or target.parent == ROOT, link
        if anchor and target.suffix == ".md":
            assert anchor in headings(target), f"{link}: no such heading"


def test_every_page_is_in_the_navigation_once():
    listed = re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    pages = [str(page.relative_to(DOCS)) for page in BUILT]
    assert sorted(listed) == sorted([*pages, "contributing.md"])


def test_the_first_page_is_short_and_begins_with_an_example():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert "```" in lines[:8] and any("trustml run" in line for line in lines[:10])


def test_the_page_of_fields_is_current():
    page = (DOCS / "reference" / "scenario.md").read_text(encoding="utf-8")
    assert page == scenario_markdown(), "python -m trustml.report.scenario_page > docs/reference/scenario.md"


def test_the_page_of_fields_has_every_field_of_a_scenario_with_its_meaning():
    lines = scenario_markdown().splitlines()
    scenario = lines[lines.index("## Scenario") :]
    rows = [line for line in scenario[: scenario.index("## Digits")] if line.startswith("| `")]
    assert [line.split("`")[1] for line in rows] == list(trustml.Scenario.__struct_fields__)
    dpsgd = lines[lines.index("## DPSGD") :]
    (epsilon,) = [line for line in dpsgd[:40] if line.startswith("| `epsilon`")]
    assert "number, above 0" in epsilon and "nothing" in epsilon


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python_on_pages_is_python_of_today(page):
    for code in blocks(page, "python"):
        tree = ast.parse(code)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trustml"):
                module = __import__(node.module, fromlist=["_"])
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "run":
                assert hasattr(trustml.Run, node.attr), f"run.{node.attr}"
        if page.name not in FRAGMENTS:
            exec(compile(tree, name_of(page), "exec"), {name: getattr(trustml, name) for name in trustml.__all__})


def test_scenarios_of_the_first_page_can_be_made():
    code = next(code for code in blocks(ROOT / "README.md", "python") if "scenario = " in code)
    namespace: dict[str, object] = {}
    exec(code, namespace)
    assert isinstance(namespace["scenario"], trustml.Scenario)


def commands_of(page: Path) -> list[list[str]]:
    """Every call of trustml in a block, as a shell would cut it."""
    found = []
    for code in blocks(page, "", "sh"):
        for line in code.replace("\\\n", " ").splitlines():
            text = line.removeprefix("$ ")
            if text.startswith("trustml "):
                found.append(shlex.split(text, comments=True)[1:])
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=name_of)
def test_commands_on_pages_are_there_with_their_options(page):
    context = click.Context(command_line)
    for words in commands_of(page):
        if words[0].startswith("-"):
            continue
        command = command_line.get_command(context, words[0])
        assert command is not None, f"trustml {words[0]}"
        options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
        used = {word.partition("=")[0] for word in words[1:] if word.startswith("-") and word != "-"}
        assert used <= options, f"trustml {' '.join(words)}: {used - options}"
        if not set(words) & {"--help", "-h"}:
            command.make_context(words[0], words[1:])  # values, too, as far as they are known before anything is read


def named_commands(page: Path) -> list[list[str]]:
    """Calls of trustml and of make that stand in sentences, cut at blanks."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return [words.split() for words in re.findall(r"`((?:trustml|make) [^`]+)`", text)]


@pytest.mark.parametrize("page", [page for page in PAGES if named_commands(page)], ids=name_of)
def test_commands_in_sentences_are_there_with_their_options(page):
    context = click.Context(command_line)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for program, name, *words in named_commands(page):
        if program == "make":
            assert name in targets, f"make {name}"
        elif re.fullmatch(r"[a-z-]+", name) and not name.startswith("-"):
            command = command_line.get_command(context, name)
            assert command is not None, f"trustml {name}"
            options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
            used = {part.partition("=")[0].strip("[],") for part in words if part.startswith(("--", "[--"))}
            assert used <= options | {"--help"}, f"trustml {name}: {used - options}"


def test_blocks_of_other_languages_can_be_read():
    for page in PAGES:
        for code in blocks(page, "toml"):
            tomllib.loads(code)
        for code in blocks(page, "json"):
            json.loads(code)
    known = {"", "python", "sh", "toml", "json", "yaml"}
    assert {language for page in PAGES for language, _ in _BLOCK.findall(page.read_text(encoding="utf-8"))} <= known


def test_the_atlas_is_whole_bounded_and_says_nothing_of_the_machine_it_was_made_on():
    files = atlas_files()
    assert {"index.html", "models.html", "privacy.html", "record.html", "site.css", "draw.js", "vega.js"} <= set(files)
    assert ATLAS.stat().st_size <= 3 << 20
    first = files["index.html"].decode()
    scenarios = re.findall(r"^\| `(\w+)` \|", (DOCS / "atlas.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert scenarios and all(re.search(rf">{name}-\d{{8}}-", first) for name in scenarios)
    for name, content in files.items():
        if name.endswith(".html"):
            assert not re.search(rb"/(home|root|tmp|work|Users)/", content), name
            assert not re.search(rb"(src|href)=\"(https?:)?//", content), name


@pytest.mark.long
def test_a_model_of_the_how_to_is_audited_as_it_says(tmp_path):
    first, second = blocks(DOCS / "how_to" / "audit_in_ci.md", "python")
    (tmp_path / "model.py").write_text(second)
    (tmp_path / "data.py").write_text(first)
    (words,) = [words for words in commands_of(DOCS / "how_to" / "audit_in_ci.md") if words[0] == "audit"]
    shorter = [*words, "--checks", "membership"]
    shorter[shorter.index("--references") + 1] = "4"
    for command in ([sys.executable, "data.py"], [sys.executable, "-m", "trustml.cli", *shorter]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr  # a forest knows its training data by heart
    assert (tmp_path / "audit.html").is_file() and '"risk"' in (tmp_path / "audit.json").read_text()


@pytest.mark.long
@pytest.mark.torch
@pytest.mark.timeout(1800)
def test_a_network_of_own_code_runs_as_the_page_says(tmp_path):
    for code in blocks(DOCS / "how_to" / "own_module.md", "python"):
        name, _, _ = code.removeprefix("# ").partition("\n")
        (tmp_path / name).write_text(code)
    run = trustml.run(tmp_path / "mine.py", out=tmp_path / "runs")
    assert run.status == "success", [job.reason for job in run.manifest.jobs]
    assert "gain" in run.weights("train.torch.DPSGD.s0")


@pytest.mark.long
@pytest.mark.jax
@pytest.mark.timeout(1800)
def test_the_tutorial_works_from_its_first_line_to_its_last(tmp_path):
    scripts = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}"}
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    for language, code in _BLOCK.findall(text):
        command = [sys.executable, "-c", code] if language == "python" else ["bash", "-e", "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stderr}"
    assert (tmp_path / "report.html").is_file() and (tmp_path / "evidence.zip").is_file()
