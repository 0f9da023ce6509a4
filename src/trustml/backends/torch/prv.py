"""Opacus's own accountant on our charges: ``python -m trustml.backends.torch.prv < JSON > JSON``.

A process of its own, because importing Opacus imports PyTorch, which the accounting has no other need of.
Reads a list of ``{"delta": d, "error": e, "history": [[noise_multiplier, sample_rate, steps], ...]}`` and writes a list
of epsilons: upper bounds with an error of at most e, by privacy random variables (Gopi, Lee and Wutschitz, NeurIPS
2021).
"""

from __future__ import annotations

import json
import sys
from typing import Any


def prv_epsilons(questions: list[dict[str, Any]]) -> list[float]:
    """Answer each question with ``PRVAccountant``."""
    from opacus.accountants import PRVAccountant

    answers = []
    for question in questions:
        accountant = PRVAccountant()
        accountant.history = [(noise, rate, int(steps)) for noise, rate, steps in question["history"]]
        answers.append(float(accountant.get_epsilon(question["delta"], eps_error=question["error"])))
    return answers


if __name__ == "__main__":
    json.dump(prv_epsilons(json.load(sys.stdin)), sys.stdout)
