"""How long a reader waits for a run of 200 jobs, in a real browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.apps.chromium import chromium, served, wait_until_drawn
from tests.apps.many_jobs import many_jobs

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # selenium leaves its sockets to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FIRST_PAINT, SWITCH = 2000.0, 1000.0  # milliseconds
_READING = 2.0  # seconds that a reader looks at the first page
PAGES = ("Models", "Privacy", "Federated", "Explanations", "Speed", "Record", "Overview")
_WATCH = """
const look = () => {
  if (document.querySelector('[data-testid="stMain"] h1')) window.painted = performance.now();
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
_SWITCH = """
const [title, done] = arguments;
const links = [...document.querySelectorAll('[data-testid="stSidebarNavLink"]')];
const heading = () => document.querySelector('[data-testid="stMain"] h1')?.innerText;
const state = () => document.querySelector('[data-testid="stApp"]').getAttribute("data-test-script-state");
const before = heading(), begun = performance.now();
links.find((one) => one.innerText.trim() === title).click();
const look = () => {
  const now = heading();
  if (now && now !== before && state() === "notRunning") requestAnimationFrame(() => done(performance.now() - begun));
  else requestAnimationFrame(look);
};
look();
"""
"""Until all of the page is there."""


def first_paint(browser: Any, url: str) -> float:
    browser.get(url)
    end = time.monotonic() + 120
    while (found := browser.execute_script("return window.painted")) is None:
        assert time.monotonic() < end, "nothing is painted"
        time.sleep(0.05)
    return float(found)


def waits_of(runs: Path, url: str, profile: Path) -> tuple[list[float], dict[str, list[float]]]:
    """Milliseconds until the first page is painted, and until each page is there when it is opened, first and again."""
    with served(runs) as address, chromium(profile) as browser:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
        first_paint(browser, f"{address}/{url}")  # the server imports what it needs
        paints = [first_paint(browser, f"{address}/{url}") for _ in range(3)]
        wait_until_drawn(browser)
        time.sleep(_READING)
        switches: dict[str, list[float]] = {page: [] for page in PAGES}
        for _ in range(3):
            for page in PAGES:
                switches[page].append(float(browser.execute_async_script(_SWITCH, page)))
                time.sleep(1)
    return paints, switches


def test_a_run_of_200_jobs_is_painted_and_switched_at_once(tmp_path):
    run = many_jobs(tmp_path / "runs")
    assert len(run.manifest.jobs) == 200 and run.measures().job.nunique() > 90
    servers = [waits_of(tmp_path / "runs", f"?run={run.id}", tmp_path / f"profile {one}") for one in range(2)]
    print(servers)
    assert min(paint for paints, _ in servers for paint in paints) < FIRST_PAINT
    first = {page: min(found[page][0] for _, found in servers) for page in PAGES}
    again = {page: min(min(found[page][1:]) for _, found in servers) for page in PAGES}
    assert {page: took for page, took in first.items() if took >= SWITCH} == {}
    assert {page: took for page, took in again.items() if took >= SWITCH} == {}
