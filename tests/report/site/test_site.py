"""The report that is handed on: nothing private, nothing loaded, every text escaped, what is left out said."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from tests.apps.chromium import chromium, is_installed
from tests.records import copy_of, stored
from tests.report.audit.examples import example_audit
from trustml.auditing.result import encode_audit
from trustml.cli.main import trustml as command_line
from trustml.errors import UsageError
from trustml.record.store import RunDirectory
from trustml.report.attacks.frames import TINY, thinned
from trustml.report.site import html
from trustml.report.site import pages as pages_module
from trustml.report.site.content import MOST_CHARTS, MOST_POINTS, MOST_ROWS, Line, Page, ReleasedRun, Section
from trustml.report.site.pages import OTHER_DATA, _audit, _made, _page
from trustml.report.site.subjects import SUBJECTS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # altair's own
DIFFER = "In what the runs differ"
HOSTILE = "</script><img src=x onerror=alert(1)>&\"'"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunDirectory:
    """A run whose texts are a stranger's, with ``private/`` at hand."""
    run = copy_of("federated", tmp_path_factory.mktemp("whole"))
    manifest = run.manifest
    scenario = {**manifest.scenario, "name": HOSTILE, "description": HOSTILE}
    first = replace(manifest.jobs[0], reason=HOSTILE)
    run.directory.write_manifest(
        replace(manifest, scenario=scenario, jobs=(first, *manifest.jobs[1:]), warnings=(HOSTILE,))
    )
    return run.directory


@pytest.fixture(scope="module")
def pages(whole) -> tuple[Page, ...]:
    """The report of it, which takes seconds to make."""
    return html.pages_of([html.shown_run(whole)])


@pytest.fixture(scope="module")
def files(pages) -> dict[str, bytes]:
    """The files of the report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "pages_of", lambda runs: pages)
        return html.site_files([])


def specifications(page: bytes) -> list[dict[str, Any]]:
    found = re.findall(rb'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return [json.loads(text) for text in found]


def test_there_is_a_page_for_what_the_run_has_and_each_links_to_all(files):
    pages = {name for name in files if name.endswith(".html")}
    assert pages == {"index.html", "models.html", "privacy.html", "federated.html", "speed.html", "record.html"}
    for name in pages:
        assert {f'href="{other}"'.encode() in files[name] for other in pages} == {True}
    assert {"vega.js", "draw.js", "site.css", "vega.licenses.txt"} <= set(files)


def test_files_are_named_without_the_folders_that_say_whose_they_are(whole):
    manifest = whole.manifest()
    data = {"kind": "Csv", "path": "/home/ada/secret project/table.csv", "label": "y"}
    told = "/home/ada/secret project/table.csv: 3 rows are left out"
    told_of = replace(manifest, scenario={**manifest.scenario, "data": data}, warnings=(told,))
    found = html.without_folders(told_of)
    assert found.scenario["data"] == {**data, "path": "table.csv"} and found.warnings == (told.rpartition("/")[2],)
    assert html.without_folders(manifest) == manifest  # markup is no folder


def test_a_model_that_answers_one_class_is_told_in_red_on_every_page(whole):
    run = html.shown_run(whole)
    table = run.table.copy()
    plain = (table.measure == "accuracy") & (table.regime == "Plain")
    table.loc[plain, "facts"] = '{"majority": 0.6, "classes_answered": 1}'
    section = Section(title="any subject")
    section.say("something")
    for shown, expected in ((run, []), (dataclasses.replace(run, table=table), ["bad"])):
        page = _page("any", "Any", lambda _: (section,), [shown])
        ((_, sections),) = page.sections
        assert [line.tone for line in sections[0].parts if "answers one class" in line.text] == expected


def test_the_first_page_has_the_sentences_of_the_summary_and_links_to_their_proof(files):
    page = files["index.html"].decode()
    assert "A step of DPSGD takes" in page and "Epsilon follows from the ledger" in page
    assert '<a href="privacy.html">Can the claims be trusted?</a>' in page
    assert "attacks.html" not in page  # the answer has a page that this report has not


def test_nothing_depends_on_what_is_private(pages, whole, tmp_path):
    released = shutil.copytree(whole.path, tmp_path / whole.path.name, ignore=shutil.ignore_patterns("private"))
    assert (whole.path / "private" / "data.npz").is_file()
    shown = html.shown_run(RunDirectory(released))
    made = {page.name: page for page in pages}
    for name in ("federated", "models"):  # the pages that read more than the table and the statements
        assert made[name].sections == ((shown.manifest.run, SUBJECTS[name][1](shown)),)


@pytest.mark.parametrize("name", ["private/data.npz", "jobs/../private/data.npz", "jobs/out.npz"])
def test_a_private_file_is_not_there_by_whatever_name(tmp_path, name):
    (tmp_path / "private").mkdir()
    (tmp_path / "jobs").mkdir()
    (tmp_path / "private" / "data.npz").write_bytes(b"secret")
    (tmp_path / "jobs" / "out.npz").symlink_to(tmp_path / "private" / "data.npz")
    assert RunDirectory(tmp_path).file(name).is_file()
    assert not ReleasedRun(tmp_path).file(name).exists()


def test_texts_of_the_record_are_escaped_in_text_and_in_data(files):
    for name, content in files.items():
        if name.endswith(".html"):
            assert b"<img" not in content and HOSTILE.encode() not in content
            assert specifications(content) or name == "record.html"
    assert b"&lt;/script&gt;&lt;img" in files["index.html"]
    assert (
        html._json({"a": HOSTILE})
        == '{"a":"\\u003c/script\\u003e\\u003cimg src=x onerror=alert(1)\\u003e\\u0026\\"\'"}'
    )


def test_pages_refer_to_nothing_elsewhere(files):
    for name, content in files.items():
        if name.endswith(".html"):
            addresses = re.findall(rb'(?:src|href|action|data)="([^"]*)"', content)
            assert addresses and not [one for one in addresses if b":" in one or one.startswith(b"/")]
            assert b"default-src 'none'" in content and b"unsafe-eval" not in content
            for specification in specifications(content):
                assert '"url"' not in json.dumps(specification)


def test_what_does_not_fit_is_left_out_and_said():
    section = Section(title="t")
    section.tabulate(pd.DataFrame({"a": range(MOST_ROWS + 5), "b": 1.5, "c": "x"}), title="numbers")
    (table,) = section.parts
    assert len(table.rows) == MOST_ROWS and table.numbers == {0, 1}
    many = alt.Chart(pd.DataFrame({"x": range(MOST_POINTS + 1)})).mark_point().encode(x="x:Q")
    section.show(many, "points")
    made = []

    def chart(number: int) -> tuple[Any, str]:
        made.append(number)
        return alt.Chart(pd.DataFrame({"x": [number]})).mark_point().encode(x="x:Q"), "one"

    section.show_some(chart, range(MOST_CHARTS + 3), "charts of models")
    assert len(made) == MOST_CHARTS and len(section.parts) == 1 + MOST_CHARTS
    assert section.left_out == [
        f"5 of {MOST_ROWS + 5} rows of numbers",
        f"a chart of {MOST_POINTS + 1:,} points (points)",
        f"3 of {MOST_CHARTS + 3} charts of models",
    ]


def test_a_thinned_curve_keeps_its_ends_and_its_highest_points():
    rates = np.linspace(0, 1, 5001).clip(TINY)
    curve = pd.DataFrame({"attack": "a", "false_positive_rate": rates, "true_positive_rate": np.sqrt(rates)})
    short = thinned(curve, most=100)
    assert 50 < len(short) <= 100
    assert short.false_positive_rate.iloc[[0, -1]].tolist() == [TINY, 1.0]
    assert short.true_positive_rate.is_monotonic_increasing
    steep = pd.DataFrame({"attack": "a", "false_positive_rate": [TINY, TINY, 1], "true_positive_rate": [TINY, 0.5, 1]})
    assert thinned(steep, most=9).true_positive_rate.tolist() == [0.5, 1.0]
    assert thinned(curve.iloc[:0], most=9).empty


def test_a_folder_is_written_again_but_no_other_is_written_over(tmp_path, files, monkeypatch):
    monkeypatch.setattr(html, "site_files", lambda runs: dict(files))
    folder = tmp_path / "site"
    assert html.write_site([], folder) == folder / "index.html"
    (folder / "attacks.html").write_text("of an earlier report")
    html.write_site([], folder)
    assert {path.name for path in folder.iterdir()} == set(files)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("mine")
    with pytest.raises(UsageError, match="holds other files; name a new folder"):
        html.write_site([], mine)
    assert (mine / "index.html").read_text() == "mine"


def test_the_command_says_what_it_cannot_do(pages, tmp_path, monkeypatch):
    run = str(stored("private"))
    asked = CliRunner().invoke(command_line, ["report", run, "--site", str(tmp_path / "s"), "-o", str(tmp_path / "f")])
    assert asked.exit_code == 2 and "not both" in asked.output
    told = CliRunner().invoke(command_line, ["report", run, run, "-o", str(tmp_path / "f")])
    assert told.exit_code == 0 and told.output == f"wrote {tmp_path / 'f'}\n"
    monkeypatch.setattr(html, "LARGEST_FILE", 1000)
    monkeypatch.setattr(html, "pages_of", lambda runs: pages)
    with pytest.raises(UsageError, match=r"one file would have \d MiB; write a folder of pages with --site DIR"):
        html.site_page([RunDirectory(Path(run))])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused = CliRunner().invoke(command_line, ["report", run])
    assert "needs altair" in str(refused.exception)


def test_what_is_damaged_is_told_on_its_page(tmp_path):
    run = copy_of("private", tmp_path)
    for record in run.manifest.jobs:
        run.directory.job_folder(record.id).joinpath("predictions.npz").write_bytes(b"no archive")
    (run.path / "audit.json").write_bytes(encode_audit(example_audit(plain=1, private=2)))
    shown = html.shown_run(run.directory)
    (damaged,) = _made(SUBJECTS["models"][1], shown)
    assert damaged.title == "Cannot be shown" and "predictions.npz" in damaged.parts[0].text
    assert str(tmp_path) not in damaged.parts[0].text
    ((verdict, findings, _),) = (section.parts for section in _made(_audit, shown))
    assert verdict.tone == "bad" and "Not passed: " in verdict.text
    assert findings.rows[0][0] == "✖ violation"
    (run.path / "audit.json").write_text("{")
    (damaged,) = _made(_audit, shown)
    assert "audit.json: cannot be read" in damaged.parts[0].text


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_chart_is_drawn_in_a_browser_that_reaches_nothing(pages, files, tmp_path):
    if not is_installed():
        pytest.skip("chromium and chromium-driver are not installed")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "one.html").write_text(html._filled(pages[:3], pages, one_file=True), encoding="utf-8")
    with chromium(tmp_path / "profile") as browser:
        browser.execute_cdp_cmd("Network.enable", {})
        browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*", "ws://*"]})
        for scheme, page in (("light", "federated.html"), ("dark", "privacy.html"), ("light", "one.html")):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            browser.get(f"file://{tmp_path}/{page}")
            states = browser.execute_async_script(
                "const done = arguments[0];"
                "drawAll().then(() => done([...document.querySelectorAll('figure')].map((one) => one.dataset.drawn)))"
            )
            assert states and set(states) == {"done"}, page
            assert len(browser.find_elements("css selector", "figure svg")) >= len(states)
            inks = {
                element.value_of_css_property("fill")
                for element in browser.find_elements("css selector", "figure svg .role-axis-label text")[:20]
            }
            assert inks == {"rgb(26, 28, 32)" if scheme == "light" else "rgb(232, 230, 227)"}
            severe = [one["message"] for one in browser.get_log("browser") if one["level"] == "SEVERE"]
            assert not severe, severe
            wide = browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
            assert wide, f"{page} is wider than the window"


def test_in_what_runs_differ_comes_first_of_one_table_and_last_of_several(whole, monkeypatch):
    monkeypatch.setattr(pages_module, "SUBJECTS", {})
    monkeypatch.setattr(pages_module, "_overview", lambda run, pages: [])
    run = html.shown_run(whole)
    manifest = run.manifest
    elsewhere = replace(manifest, data=replace(manifest.data, fingerprint="0" * 64))
    for other, place in ((replace(manifest, scenario={**manifest.scenario, "seeds": [5]}), 0), (elsewhere, -1)):
        (index, *_) = html.pages_of([run, dataclasses.replace(run, manifest=other)])
        assert [of for of, parts in index.sections if parts and parts[0].title == DIFFER] == [""]
        assert index.sections[place][1][0].title == DIFFER
        shown = [part for _, sections in index.sections for section in sections for part in section.parts]
        said = [part.text for part in shown if isinstance(part, Line)]
        assert (OTHER_DATA in said) == (other is elsewhere)
