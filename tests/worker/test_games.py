"""Games through the backends' own trainers: an honest one passes, a planted mistake does not."""

from __future__ import annotations

import stat

import numpy as np
import pytest

from trustml.backends.table import load_backend
from trustml.conformance.games import judge
from trustml.models.zoo import mlp
from trustml.plan.job import GameJob
from trustml.record.files import read_arrays
from trustml.scenario.attacks import Game
from trustml.scenario.spec import Execution
from trustml.worker.clock import Clock
from trustml.worker.games import play_game
from trustml.worker.job_context import JobContext, Progress

EXPECTED = {"": False, "no clipping": True, "noise divided by the batch": True, "halved sensitivity": False}
LIBRARIES = {"torch": "Opacus", "jax": "trustml on JAX"}


@pytest.mark.parametrize(
    "backend", [pytest.param("torch", marks=pytest.mark.torch), pytest.param("jax", marks=pytest.mark.jax)]
)
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_a_planted_mistake_is_a_violation_and_none_is_not(backend, tmp_path):
    loaded = load_backend(backend)
    loaded.open_device("cpu", 1)
    verdicts = {}
    for number, fault in enumerate(EXPECTED if backend == "torch" else ("", "no clipping")):
        job = GameJob(
            id=f"game.{backend}.{number}",
            backend=backend,
            model=mlp([], classes=3),
            input_shape=(8,),
            execution=Execution(),
            game=Game(trials=150, fault=fault),
            clipping_norm=0.7,
            delta=1e-5,
            output=f"private/attacks/game.{backend}.{number}.npz",
        )
        folder = tmp_path / "jobs" / job.id
        folder.mkdir(parents=True)
        progress = Progress(folder / "events.jsonl")
        at = JobContext(root=tmp_path, folder=folder, clock=Clock(lambda: None), progress=progress)
        assert play_game(job, loaded, at=at) == LIBRARIES[backend]
        output = tmp_path / job.output
        assert stat.S_IMODE(output.stat().st_mode) == 0o600
        assert '"step":300,"steps":300' in (folder / "events.jsonl").read_text()
        scores = read_arrays(output)
        assert {name: array.shape for name, array in scores.items()} == {"present": (150,), "absent": (150,)}
        verdicts[fault] = judge(
            scores["present"], scores["absent"], noise_multiplier=2.0, delta=job.delta, confidence=0.99
        ).violated
        if fault == "halved sensitivity":  # 150 trials are too few to show it, but the noise is half of 2 x 0.7
            assert np.std(scores["absent"]) == pytest.approx(0.7, rel=0.3)  # five standard errors
            assert scores["present"].mean() - scores["absent"].mean() == pytest.approx(0.7, abs=0.41)
    assert verdicts == {fault: EXPECTED[fault] for fault in verdicts}
