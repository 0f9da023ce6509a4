"""An engine that is driven by commands: kubectl, SkyPilot, ssh, a script."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

from trustml.errors import UsageError
from trustml.scenario.check_execution import WORD
from trustml.scenario.places import Command, Resources

_SUBMIT_SECONDS, _SECONDS = 120.0, 30.0


class CommandEngine:
    """See :class:`trustml.launch.places.contract.Engine`."""

    def __init__(self, spec: Command) -> None:
        self._spec = spec

    def submit(self, command: tuple[str, ...], *, name: str, resources: Resources, folder: Path) -> str:
        """Fill the words in and run the command; the last line that it prints identifies the job."""
        known = {
            "name": re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-"),
            "cores": str(resources.cores or 1),
            "memory": str(int(resources.memory * 1024)),
            "gpus": str(resources.gpus),
            "minutes": f"{resources.time:g}",
            "folder": str(folder),
            "shell": shlex.join(command),
            "json": json.dumps(command),
        }
        words = [
            one for word in self._spec.submit for one in (command if word == "{{command}}" else (_filled(word, known),))
        ]
        done = _call(words, stdin=_filled(self._spec.stdin, known), seconds=_SUBMIT_SECONDS)
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            said = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
            raise UsageError(f"execution.place.submit: {words[0]} ended with {done.returncode}: {said[:300]}")
        return lines[-1].strip()

    def is_there(self, identifier: str) -> bool:
        """Whether polling ends well and prints something; one that fails and says why could not ask."""
        words = [_filled(word, {"id": identifier}) for word in self._spec.poll]
        done = _call(words)
        if done.returncode and (said := done.stderr.strip().splitlines()):
            raise UsageError(f"execution.place.poll: {words[0]} ended with {done.returncode}: {said[-1][:300]}")
        return done.returncode == 0 and bool(done.stdout.strip())

    def cancel(self, identifier: str) -> None:
        """Run the command that ends the job, if there is one; the node ends the worker by itself otherwise."""
        if self._spec.stop:
            _call([_filled(word, {"id": identifier}) for word in self._spec.stop])


def _filled(text: str, known: dict[str, str]) -> str:
    """Put in what words stand for; a scenario with others is refused before anything runs."""
    return WORD.sub(lambda found: known[found[1]], text)


def _call(words: list[str], *, stdin: str = "", seconds: float = _SECONDS) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, input=stdin, capture_output=True, encoding="utf-8", errors="replace", timeout=seconds
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"execution.place: {words[0]} cannot be run ({error})") from None
