"""A second opinion on epsilon, by another library's accountant."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from trustml.privacy.events import mechanisms_of
from trustml.privacy.ledger import Charge
from trustml.processes import module_command

PRV_TOLERANCE = 0.05
_TIMEOUT = 300.0


def prv_epsilons(models: Sequence[tuple[Sequence[Charge], float]]) -> list[float] | str:
    """Ask Opacus's PRV accountant for the epsilon of each model.

    It knows only the Gaussian mechanism on Poisson batches, so give it no others.

    Parameters
    ----------
    models : sequence of (charges, delta)

    Returns
    -------
    list of float, or str
        Upper bounds; or why there are none.
    """
    if not models:
        return []
    questions = [
        {"delta": delta, "history": [[m.noise_multiplier, m.sample_rate, m.count] for m in mechanisms_of([charges])]}
        for charges, delta in models
    ]
    command = module_command(Path(sys.executable), "trustml.backends.torch.prv")
    try:
        done = subprocess.run(
            command.arguments,
            pass_fds=command.inherited,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            input=msgspec.json.encode(questions),
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"Opacus's accountant did not answer within {_TIMEOUT:.0f} s"
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return f"Opacus's accountant failed: {lines[-1] if lines else 'no message'}"[:300]
    answers: list[float] = msgspec.json.decode(done.stdout, type=list[float])
    return answers
