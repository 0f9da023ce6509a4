"""What is clipped is what was measured, as XLA compiles it for users: tests elsewhere compile with less."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.jax.single_sums import EXAMPLES

pytestmark = [pytest.mark.jax, pytest.mark.timeout(300)]


def test_no_single_example_is_longer_than_the_clipping_norm():
    root = Path(__file__).resolve().parents[3]
    less = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in less}
    done = subprocess.run(
        [sys.executable, "-m", "tests.backends.jax.single_sums"],
        cwd=root,
        env={**environment, "PYTHONPATH": f"{root / 'src'}:{root}"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, found in json.loads(done.stdout.splitlines()[-1]).items():
        assert found["finite"] == EXAMPLES, name
        assert found["longest"] <= 1 + 1e-5, (name, found)
