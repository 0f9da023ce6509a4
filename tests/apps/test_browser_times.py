"""How long a reader waits for a run of 200 jobs, in a real browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.apps.chromium import chromium, served
from tests.apps.many_jobs import many_jobs

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # selenium leaves its sockets to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FIRST_PAINT, SWITCH = 2000.0, 1000.0  # milliseconds
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


def test_a_run_of_200_jobs_is_painted_and_switched_at_once(tmp_path):
    run = many_jobs(tmp_path / "runs")
    assert len(run.manifest.jobs) == 200 and run.measures().job.nunique() > 90
    profile = Path(tmp_path / "profile")
    with served(tmp_path / "runs") as address, chromium(profile) as browser:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
        url = f"{address}/?run={run.id}"
        first_paint(browser, url)  # the server imports what it needs
        paints = [first_paint(browser, url) for _ in range(3)]
        waits: dict[str, list[float]] = {page: [] for page in PAGES}
        for _ in range(3):
            for page in PAGES:
                waits[page].append(float(browser.execute_async_script(_SWITCH, page)))
                time.sleep(1)
    print({"first paint": paints, **waits})
    assert min(paints) < FIRST_PAINT
    assert {page: best for page, times in waits.items() if (best := min(times)) >= SWITCH} == {}
