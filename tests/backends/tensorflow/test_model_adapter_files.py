"""Files of strangers in the environment that loads them: Keras runs some, trustml's loader none."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.auditing.disguises import KERAS, PLAIN
from trustml.launch.environments import find_environment

# in short tests/auditing/test_disguises.py has the same files refused before Keras sees them
pytestmark = [pytest.mark.long, pytest.mark.tensorflow, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("keras")
    (folder / "given").mkdir()
    for name, make in {**PLAIN, **KERAS}.items():
        (folder / "given" / name).write_bytes(make(folder / "sentinel"))
    log = folder / "log.txt"
    with log.open("wb") as errors:
        done = subprocess.run(
            [
                str(find_environment("tensorflow").require()),
                str(Path(__file__).with_name("keras_case.py")),
                str(folder),
            ],
            env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": "/bin:/usr/bin", "TF_CPP_MIN_LOG_LEVEL": "3"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert done.returncode == 0, log.read_text()[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_keras_runs_code_of_three_kinds_whatever_safe_mode_says(found):
    """The finding of docs/findings.md; where a later Keras fixes it, this test says so."""
    assert found["by keras"] == {"a legacy file": True, "pickled weights": True, "a module": True}


def test_none_of_them_runs_by_the_loader_of_trustml(found):
    assert found["by trustml"] == {"a legacy file": False, "pickled weights": False, "a module": False}
    assert "io.write_file" in found["function"]


def test_every_disguise_is_refused_in_one_line_and_nothing_runs(found):
    assert not found["ran"]
    assert found["refused"].keys() == {*PLAIN, *KERAS}
    for name, line in found["refused"].items():
        assert line.startswith("UsageError: ") and "evil.keras: " in line and "\n" not in line, (name, line)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("external", "lie in another file"),
        ("linked", "a link"),
        ("soft", "a link"),
        ("virtual", "lie in another file"),
        ("huge", "announce"),
        ("objects", "no array of numbers"),
        ("cyclic", "twice|link"),
    ],
)
def test_weights_that_reach_elsewhere_are_refused(found, change, words):
    line = found["weights"][change]
    assert line.startswith("UsageError: ") and any(one in line for one in words.split("|")), line


def test_a_plain_model_is_loaded(found):
    assert found["plain"] == "loaded"
