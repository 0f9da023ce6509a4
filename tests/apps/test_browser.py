"""The dashboard in a real browser: Debian's Chromium, headless."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings

import pytest

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # selenium leaves its sockets to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,1600"
).split()
CHARTS = {"": 1, "privacy": 3, "attacks": 0, "federated": 6, "explanations": 8, "speed": 14, "record": 0}
"""At least: every panel of explanations is a chart of its own."""


@pytest.fixture(scope="module")
def address(partial_run):
    """The dashboard, served for the run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "trustml.cli", "dashboard", "--runs", str(partial_run.path.parent), "--port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, "the dashboard ended"
                assert time.monotonic() < deadline, "the dashboard did not start"
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium with an empty profile."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        message = "chromium and chromium-driver are not installed: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()
    del driver
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # selenium leaves its sockets to the collector
        gc.collect()


def wait_for(browser, selector: str, count: int, *, seconds: float = 60) -> list:
    deadline = time.monotonic() + seconds
    while True:
        found = browser.find_elements("css selector", selector)
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, f"{len(found)} of {count} {selector}; page: {browser.title}"
        time.sleep(0.3)


@pytest.mark.parametrize("page", CHARTS)
def test_a_page_draws_its_charts_and_shows_no_error(browser, address, partial_run, page):
    browser.get(f"{address}/{page}?run={partial_run.id}")
    wait_for(browser, "h1", 1)
    wait_for(browser, '[data-testid="stVegaLiteChart"]', CHARTS[page])
    for tab in browser.find_elements("css selector", '[data-testid="stTab"]'):  # what is hidden is not drawn
        tab.click()
        time.sleep(0.5)
    wait_for(browser, '[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg', CHARTS[page])
    time.sleep(1)
    assert len(browser.find_elements("css selector", '[data-testid="stVegaLiteChart"]')) >= CHARTS[page]
    assert not browser.find_elements("css selector", '[data-testid="stException"]')
    assert partial_run.id in browser.current_url


def test_it_listens_on_this_machine_alone(address):
    import psutil

    port = int(address.rsplit(":", 1)[1])
    listening = {c.laddr.ip for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port}
    assert listening == {"127.0.0.1"}
