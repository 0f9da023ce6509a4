"""Processes start without what they have no use of, which takes seconds to import."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from trustml.backends.torch.prv import prv_epsilons

pytestmark = pytest.mark.torch
QUESTIONS = [{"delta": 1e-5, "error": 0.05, "history": [[2.0, 0.1, 20], [1.0, 0.01, 5]]}]


def ended(code: str, given: str = "") -> list[str]:
    """Lines that a process of this code prints."""
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_network_without_privacy_needs_no_opacus():
    code = "import sys, trustml.backends.torch.training, trustml.backends.torch.attribution as a; print(*sys.modules)"
    (modules,) = ended(code)
    assert "torch" in modules.split() and not {"opacus", "scipy", "captum"} & set(modules.split())


@pytest.mark.long
def test_opacus_accountant_says_the_same_without_pytorch():
    code = (
        "import runpy, sys; runpy.run_module('trustml.backends.torch.prv', run_name='__main__'); print()\n"
        "print(*sys.modules)"
    )
    answer, modules = ended(code, json.dumps(QUESTIONS))
    assert "opacus.accountants.prv" in modules.split() and "torch" not in modules.split()
    assert json.loads(answer) == prv_epsilons(QUESTIONS)
