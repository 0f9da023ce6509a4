"""What of ``execution`` cannot work: devices that a backend does not deal out over, words that no place knows."""

from __future__ import annotations

import re

from trustml.errors import ScenarioError
from trustml.frameworks.table import backend_names, entry_of
from trustml.scenario.federated import SiloDPFedAvg
from trustml.scenario.places import SUBMIT_WORDS, Command
from trustml.scenario.regimes import DPSGD
from trustml.scenario.spec import Scenario

WORD = re.compile(r"\{\{(\w*)\}\}")


def check_execution(scenario: Scenario) -> None:
    """Check devices and place.

    Raises
    ------
    ScenarioError
    """
    if isinstance(scenario.execution.place, Command):
        _check_command(scenario.execution.place)
    if scenario.execution.devices < 2:
        return
    regimes = [regime for regime in scenario.training if isinstance(regime, DPSGD | SiloDPFedAvg)]
    count = scenario.execution.devices
    if not regimes:
        raise ScenarioError(
            "execution.devices",
            f"{count}, but no regime is DPSGD or SiloDPFedAvg, whose steps alone are dealt out over devices",
            fix="leave it out, or add one",
        )
    alone = [name for name in scenario.backends if not entry_of(name).several_devices]
    if alone:
        choices = ", ".join(name for name in backend_names() if entry_of(name).several_devices)
        raise ScenarioError(
            "execution.devices",
            f"{count}, but {', '.join(alone)} trains privately on one device",
            fix=f"leave it out, or choose backends among {choices}",
        )
    for regime in regimes:
        if isinstance(regime, DPSGD) and regime.engine != "core":
            raise ScenarioError(
                "execution.devices",
                f"{count}, but the engine {regime.engine!r} of {regime.title} has one device",
                fix="leave it out, or use the engine core",
            )


def _check_command(place: Command) -> None:
    """Check that words stand for something, and that `submit` hands the job's command over."""
    given = {"submit": (*place.submit, place.stdin), "poll": place.poll, "stop": place.stop}
    known = {"submit": SUBMIT_WORDS, "poll": ("id",), "stop": ("id",)}
    for field, texts in given.items():
        for text in texts:
            for word in WORD.findall(text):
                if word not in known[field] or (word == "command" and text != "{{command}}"):
                    listed = ", ".join(f"{{{{{one}}}}}" for one in known[field])
                    raise ScenarioError(
                        f"execution.place.{field}",
                        f"{{{{{word}}}}} stands for nothing there",
                        fix=f"use {listed}; {{{{command}}}} as a word of its own",
                    )
    if not any(word in ("command", "shell", "json") for text in given["submit"] for word in WORD.findall(text)):
        raise ScenarioError(
            "execution.place.submit",
            "never names the command of the job",
            fix="have {{command}}, {{shell}} or {{json}} in it or in stdin",
        )
    for field in ("poll", "stop"):
        if given[field] and "id" not in {word for text in given[field] for word in WORD.findall(text)}:
            raise ScenarioError(f"execution.place.{field}", "never names the job", fix="have {{id}} in it")
