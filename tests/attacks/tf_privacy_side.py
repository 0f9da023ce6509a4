"""Asks TF Privacy's own code for LiRA scores: run as a script with its ``advanced_mia.py`` and a file to write.

The file is part of the package tensorflow-empirical-privacy (0.1.0), which is not in the tensorflow environment;
tensorflow-privacy 0.9.0 is, but without its attacks. It needs numpy and scipy alone when it is loaded by itself.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np

MODELS, EXAMPLES = 16, 40
CASES = [(option, fixed) for option in ("both", "out") for fixed in (False, True)]


def inputs():
    """Logits of a target and of reference models, whose members are trained on a little better."""
    generator = np.random.default_rng(20220330)
    labels = generator.integers(0, 5, EXAMPLES)
    members = generator.random((MODELS, EXAMPLES)) < 0.5
    target_members = generator.random(EXAMPLES) < 0.5
    logits = generator.normal(size=(MODELS + 1, EXAMPLES, 5)) * 2
    logits[:, np.arange(EXAMPLES), labels] += 2.0 + 2.0 * np.vstack([members, target_members])
    return labels, members, logits


def load_peer(file):
    """The peer's module, by its file alone; its one import, of a loss we do not ask for, is left empty."""
    for name in ("", ".privacy", ".privacy.privacy_tests", ".privacy.privacy_tests.utils"):
        sys.modules[f"tensorflow_privacy{name}"] = types.ModuleType(f"tensorflow_privacy{name}")
    sys.modules["tensorflow_privacy.privacy.privacy_tests.utils"].log_loss = None
    spec = importlib.util.spec_from_file_location("advanced_mia", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(file, output):
    """Write what the peer makes of the inputs, and the inputs."""
    peer = load_peer(file)
    labels, members, logits = inputs()
    found = {"labels": labels, "members": members, "logits": logits}
    values = np.stack([peer.calculate_statistic(one, labels, option="logit") for one in logits])
    found["statistic"] = values
    target, references = values[-1][:, None], values[:-1]
    stat_in = [references[members[:, i], i][:, None] for i in range(EXAMPLES)]
    stat_out = [references[~members[:, i], i][:, None] for i in range(EXAMPLES)]
    for option, fixed in CASES:
        found[f"{option} {fixed} median"] = peer.compute_score_lira(
            target, stat_in, stat_out, option=option, fix_variance=fixed, median_or_mean="median"
        )
    np.savez(output, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
