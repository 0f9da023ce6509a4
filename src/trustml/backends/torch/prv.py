"""Opacus's own accountant on our charges: ``python -m trustml.backends.torch.prv < JSON > JSON``.

A process of its own, in which Opacus is imported without the half that trains: that imports PyTorch for seconds, which
the accounting has no need of.
Reads a list of ``{"delta": d, "error": e, "history": [[noise_multiplier, sample_rate, steps], ...]}`` and writes a list
of epsilons: upper bounds with an error of at most e, by privacy random variables (Gopi, Lee and Wutschitz, NeurIPS
2021).
"""

from __future__ import annotations

import importlib.util
import json
import sys
from types import ModuleType
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


def _leave_training_out() -> None:
    """Let this process find Opacus's accountants by themselves; of its optimizers they name one as a type."""
    spec = importlib.util.find_spec("opacus")
    if spec is None or spec.submodule_search_locations is None:
        return
    package, optimizers = ModuleType("opacus"), ModuleType("opacus.optimizers")
    package.__path__ = list(spec.submodule_search_locations)
    optimizers.__dict__["DPOptimizer"] = object
    sys.modules.update({"opacus": package, "opacus.optimizers": optimizers})


if __name__ == "__main__":
    _leave_training_out()
    json.dump(prv_epsilons(json.load(sys.stdin)), sys.stdout)
