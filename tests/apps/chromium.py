"""The dashboard served for a folder of runs, and Debian's Chromium to look at it.

``python -m tests.apps.chromium RUN FOLDER`` writes the pictures of the documentation from a run, and with a third word
``tutorial`` those of the tutorial from the run of its table: look at them before they are committed.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --window-size=1400,1600"
).split()
PICTURES = {
    "overview": "",
    "privacy": "privacy",
    "explanations": "explanations",
    "speed": "speed",
    "compare": "compare",
    "audit": "audit",
    "record": "record",
}
TUTORIAL = {"tutorial_overview": "", "tutorial_privacy": "privacy", "tutorial_explanations": "explanations"}
_WIDTH = 1280
_TALLEST = 2400


@contextmanager
def served(runs: Path, *options: str) -> Iterator[str]:
    """Serve the dashboard for a folder of runs; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "trustml.cli", "dashboard", "--runs", str(runs), "--port", str(port), *options],
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


def is_installed() -> bool:
    """Whether there is a Chromium to drive."""
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


@contextmanager
def chromium(profile: Path, *, downloads: Path | None = None) -> Iterator[Any]:
    """Headless Chromium with an empty profile; it keeps what it downloads where a folder is named."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(120)
    if downloads is not None:
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    try:
        yield driver
    finally:
        driver.quit()
    del driver
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # selenium leaves its sockets to the collector
        gc.collect()


def wait_for(browser: Any, selector: str, count: int, *, seconds: float = 60) -> list[Any]:
    """Wait until a page has so many elements."""
    deadline = time.monotonic() + seconds
    while True:
        found: list[Any] = browser.find_elements("css selector", selector)
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, f"{len(found)} of {count} {selector}; page: {browser.title}"
        time.sleep(0.3)


def wait_until_drawn(browser: Any, *, seconds: float = 60, still: float = 0.8) -> None:
    """Wait until the page's script has ended, something stands there, and for a while nothing is added to it."""
    deadline = time.monotonic() + seconds
    look = (
        "const state = document.querySelector('[data-testid=stApp]')?.getAttribute('data-test-script-state');"
        "const there = state === 'notRunning' && document.querySelector('h1') !== null;"
        "return there ? document.body.innerHTML.length : -1"
    )
    seen, since = -1, time.monotonic()
    while seen < 0 or time.monotonic() - since < still:
        assert time.monotonic() < deadline, f"the page is not drawn: {browser.current_url}"
        time.sleep(0.1)
        found = browser.execute_script(look)
        if found != seen:
            seen, since = found, time.monotonic()


def set_size(browser: Any, height: int) -> None:
    """Make the window as high as what is shown."""
    size = {"width": _WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def picture(browser: Any, path: Path) -> None:
    """Write the content of the page, without the sidebar, as a picture."""
    tall = int(browser.execute_script("return document.querySelector('[data-testid=stMain]').scrollHeight"))
    set_size(browser, min(max(tall + 20, 800), _TALLEST))
    time.sleep(1.5)
    browser.find_element("css selector", '[data-testid="stMainBlockContainer"]').screenshot(str(path))


def main(run: Path, folder: Path, pictures: dict[str, str]) -> None:
    """Write pictures of pages of a run, by their names."""
    others = [path.name for path in sorted(run.parent.iterdir()) if path != run and (path / "manifest.json").is_file()]
    with served(run.parent) as address, tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as browser:
        for name, page in pictures.items():
            set_size(browser, 1000)
            beside = f"&runs={run.name},{others[0]}" if page == "compare" and others else ""
            browser.get(f"{address}/{page}?run={run.name}{beside}")
            wait_until_drawn(browser)
            picture(browser, folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), TUTORIAL if "tutorial" in sys.argv[3:] else PICTURES)
