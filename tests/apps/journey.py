"""A reader's way through the dashboard: launch, live, cancel, go on, explain, what if, compare, audit, report.

Each step leaves a picture where a folder is given: ``python -m tests.apps.journey SCENARIOS RUNS FOLDER``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.apps.chromium import chromium, picture, served, set_size, wait_until_drawn
from trustml.record.store import RunDirectory, newest_first

SCENARIO = """
name = "journey"
description = "digits, plain and private, each explained by two libraries"
backends = ["jax", "torch"]
[data]
kind = "Digits"
[[model.layers]]
kind = "Flatten"
[[model.layers]]
kind = "Dense"
units = 10
[[training]]
kind = "Plain"
epochs = 5
batch_size = 64
[training.optimizer]
kind = "SGD"
learning_rate = 0.1
[[training]]
kind = "DPSGD"
epsilon = 3.0
epochs = 5
batch_size = 128
[training.optimizer]
kind = "SGD"
learning_rate = 0.5
[explanations]
examples = 16
scope = "all"
"""
_PATIENCE = 600.0


@dataclass
class Walk:
    """One walk.

    Attributes
    ----------
    browser
    address : str
    runs : Path
    downloads : Path
        Where the browser keeps what it downloads.
    pictures : Path, optional
    """

    browser: Any
    address: str
    runs: Path
    downloads: Path
    pictures: Path | None = None

    def go(self, page: str, **query: str) -> None:
        """Open a page."""
        set_size(self.browser, 1400)
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        self.browser.get(f"{self.address}/{page}?{asked}")
        wait_until_drawn(self.browser, seconds=_PATIENCE)

    def press(self, label: str) -> None:
        """Press a button, by keyboard."""
        from selenium.webdriver.common.keys import Keys

        self.until(lambda: [one for one in self._buttons() if one.text.strip() == label], f"the button {label}")
        next(one for one in self._buttons() if one.text.strip() == label).send_keys(Keys.ENTER)

    def _buttons(self) -> list[Any]:
        found: list[Any] = self.browser.find_elements("css selector", "button")
        return found

    def says(self, text: str) -> None:
        """Wait until the page says something."""
        self.until(lambda: text in self.browser.find_element("css selector", "body").text, text)

    def until(self, there: Callable[[], Any], what: str) -> None:
        """Wait until something is there; while the page is drawn anew, what is looked at may vanish."""
        from selenium.common.exceptions import StaleElementReferenceException

        end = time.monotonic() + _PATIENCE
        while True:
            try:
                if there():
                    return
            except StaleElementReferenceException:
                pass
            assert time.monotonic() < end, f"{what}: did not come; {self.browser.current_url}"
            time.sleep(0.3)

    def keep(self, name: str) -> None:
        """Take a picture."""
        assert not self.browser.find_elements("css selector", '[data-testid="stException"]')
        if self.pictures is not None:
            wait_until_drawn(self.browser, seconds=_PATIENCE)
            picture(self.browser, self.pictures / f"{name}.png")

    def run(self) -> RunDirectory:
        """The newest run."""
        return newest_first(self.runs)[0]


def walk(at: Walk) -> None:
    """Go the whole way."""
    at.go("launch")
    at.press("Say what it would do")
    at.says("about epsilon")
    at.keep("launch")
    at.press("Start")
    at.says("It goes on when this page is closed")
    run = at.run()
    at.go("", run=run.path.name)
    at.says("jobs are done. This page follows it")
    at.keep("live")
    at.go("launch")
    at.press("Cancel")
    at.until(lambda: not run.is_executed(), "the end of the run")
    assert run.manifest().status == "interrupted"
    at.go("", run=run.path.name)
    at.says("Interrupted")
    at.go("launch")
    at.press("Go on")
    at.until(lambda: run.manifest().status == "success" and not run.is_executed(), "the rest of the run")
    at.go("", run=run.path.name)
    at.says("jobs ended well")
    at.keep("overview")
    explain(at, run)
    other = next(one for one in newest_first(at.runs) if one.path.name != run.path.name)
    at.go("compare", runs=f"{run.path.name},{other.path.name}")
    at.says("In what they differ")
    at.keep("compare")
    at.go("audit", run=run.path.name)
    at.says("worst finding")
    at.keep("audit")
    at.press("Report (HTML)")
    at.until(lambda: list(at.downloads.glob("*.audit.html")), "the report of the audit")
    at.go("", run=run.path.name)
    at.press("Report to hand on (HTML)")
    at.until(lambda: list(at.downloads.glob(f"{run.path.name}.html")), "the report of the run")


def explain(at: Walk, run: RunDirectory) -> None:
    """Look at explanations, draw over an example, and let every library explain that."""
    from selenium.webdriver import ActionChains

    at.go("explanations", run=run.path.name)
    at.says("How far the libraries agree")
    at.keep("explanations")
    at.until(lambda: [one for one in _tabs(at) if one.text == "What if"], "the tab")
    next(one for one in _tabs(at) if one.text == "What if").click()
    at.says("What you give is not written into the run")
    canvas = '[data-testid="stBidiComponentIsolated"]'
    at.until(lambda: at.browser.find_elements("css selector", canvas), "the drawing area")
    time.sleep(2)
    stroke = ActionChains(at.browser)
    stroke.move_to_element_with_offset(at.browser.find_element("css selector", canvas), -120, 0).click_and_hold()
    for _ in range(5):
        stroke.move_by_offset(30, 20)
    stroke.release().perform()
    time.sleep(2)
    at.press("Explain it")
    at.says("Before and after")
    at.keep("what_if")


def _tabs(at: Walk) -> list[Any]:
    found: list[Any] = at.browser.find_elements("css selector", '[data-testid="stTab"]')
    return found


def main(scenarios: Path, runs: Path, pictures: Path) -> None:
    """Walk, and leave the pictures of the documentation."""
    with ExitStack() as stack:
        profile, downloads = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        address = stack.enter_context(served(runs, "--scenarios", str(scenarios)))
        browser = stack.enter_context(chromium(profile, downloads=downloads))
        walk(Walk(browser=browser, address=address, runs=runs, downloads=downloads, pictures=pictures))


if __name__ == "__main__":
    main(*(Path(one).resolve() for one in sys.argv[1:4]))
