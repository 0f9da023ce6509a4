"""What attacking jobs read: drawn by the core and written into the run's private files."""

from __future__ import annotations

from collections.abc import Sequence

from trustml.data.dataset import Dataset
from trustml.launch.canaries import draw_canaries
from trustml.launch.shadows import draw_members
from trustml.plan.attacking import AttackJob
from trustml.plan.job import CanaryJob, ShadowJob
from trustml.record.files import encode_arrays, write_atomic
from trustml.record.store import RunDirectory
from trustml.scenario.spec import Scenario


def write_attack_inputs(run: RunDirectory, scenario: Scenario, dataset: Dataset, jobs: Sequence[AttackJob]) -> None:
    """Draw who is in which shadow model, and which canaries are there."""
    titles = [regime.title for regime in scenario.training]
    for job in jobs:
        match job:
            case ShadowJob():
                assert scenario.attacks.membership is not None
                arrays = draw_members(
                    job,
                    dataset,
                    models=scenario.attacks.membership.shadow_models,
                    field=f"training.{titles.index(job.regime.title)}",
                )
                write_atomic(run.file(job.members), encode_arrays(arrays), private=True)
            case CanaryJob():
                for name, arrays in draw_canaries(job, dataset, run=run).items():
                    write_atomic(run.file(name), encode_arrays(arrays), private=True)
