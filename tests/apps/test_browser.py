"""The dashboard in a real browser: Debian's Chromium, headless."""

from __future__ import annotations

import os
import shutil
import time

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from tests.apps.chromium import chromium, is_installed, served, wait_for, wait_until_drawn
from tests.apps.journey import SCENARIO, Walk, walk
from tests.records import copy_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # selenium leaves its sockets to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CHARTS = {
    "": 1,
    "models": 2,
    "privacy": 3,
    "attacks": 0,
    "federated": 2,
    "explanations": 8,
    "speed": 9,
    "deployment": 0,
    "audit": 0,
    "record": 0,
}
"""At least: every panel of explanations is a chart of its own."""
QUICK = ("models",)
"""Pages that are drawn in short, too; ``test_dashboard.py`` asks all of them without a browser."""
DRAWN = '[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg'


@pytest.fixture(scope="module")
def address(partial_run, tmp_path_factory):
    """The dashboard, served for the run and another one."""
    folder = tmp_path_factory.mktemp("runs")
    for name in (partial_run.id, other_of(partial_run)):
        shutil.copytree(partial_run.path, folder / name)
    with served(folder) as found:
        yield found


def other_of(run) -> str:
    return f"{run.id[:-1]}x"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium with an empty profile."""
    if not is_installed():
        message = "chromium and chromium-driver are not installed: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.mark.parametrize(
    "page", [page if page in QUICK else pytest.param(page, marks=pytest.mark.long) for page in CHARTS]
)
def test_a_page_draws_its_charts_and_shows_no_error(browser, address, partial_run, page):
    browser.get(f"{address}/{page}?run={partial_run.id}")
    wait_for(browser, "h1", 1)
    wait_until_drawn(browser)
    deadline = time.monotonic() + 60
    while charts_drawn(browser) < CHARTS[page]:
        assert time.monotonic() < deadline, "too few charts"
    assert partial_run.id in browser.current_url


def charts_drawn(browser) -> int:
    """Charts of all tabs, none of which shows an error."""
    drawn, tabs = 0, browser.find_elements("css selector", '[data-testid="stTab"]')
    for tab in tabs or [None]:  # what is hidden is not drawn
        if tab is not None:
            tab.click()
            wait_until_drawn(browser)
        drawn += len(browser.find_elements("css selector", DRAWN))
        assert not browser.find_elements("css selector", '[data-testid="stException"]')
    return drawn


def test_it_listens_on_this_machine_alone(address):
    import psutil

    port = int(address.rsplit(":", 1)[1])
    listening = {c.laddr.ip for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port}
    assert listening == {"127.0.0.1"}


def test_an_answer_leads_to_its_proof_and_runs_to_their_comparison(browser, address, partial_run):
    other = other_of(partial_run)
    browser.get(f"{address}/?run={other}")
    wait_until_drawn(browser)
    wait_for(browser, DRAWN, CHARTS[""])
    links = browser.find_elements("css selector", '[data-testid="stPageLink"] a')
    next(link for link in links if "trusted" in link.text).click()
    WebDriverWait(browser, 60).until(lambda _: "/privacy" in browser.current_url)
    wait_until_drawn(browser)
    assert "/privacy" in browser.current_url and other in browser.current_url
    wait_for(browser, DRAWN, CHARTS["privacy"])
    browser.get(f"{address}/compare?runs={partial_run.id},{other}")
    wait_until_drawn(browser)
    assert "In what they differ" in browser.page_source and "Asked the same" in browser.page_source
    assert not browser.find_elements("css selector", '[data-testid="stException"]')


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_whole_way_from_launch_to_report(tmp_path):
    scenarios, runs, downloads = (tmp_path / name for name in ("scenarios", "runs", "downloads"))
    for folder in (scenarios, downloads):
        folder.mkdir()
    (scenarios / "journey.toml").write_text(SCENARIO)
    copy_of("evidence", runs)
    with (
        served(runs, "--scenarios", str(scenarios)) as address,
        chromium(tmp_path / "profile", downloads=downloads) as driver,
    ):
        walk(Walk(browser=driver, address=address, runs=runs, downloads=downloads))
    (report,) = downloads.glob("journey-*[0-9a-f].html")
    assert b"journey" in report.read_bytes()
