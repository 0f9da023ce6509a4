"""Shadow models: many models of one regime on random parts of the data, for membership inference to compare with.

No ledger is charged for them, private regime or not. A ledger pays for what is released, and these models are not:
they are what an attacker would train, on examples that the auditor holds anyway, and their logits stay below
``private/``. For the same reason their noise comes from public streams, where a model that is released takes the
operating system's entropy; it is independent from model to model, which is all that the comparison needs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trustml.backends.contract import Backend
from trustml.backends.shadows import ShadowSettings
from trustml.data.dataset import Floats
from trustml.errors import RecordError
from trustml.frameworks.entry import Missing
from trustml.frameworks.table import entry_of
from trustml.models.tasks import NextToken
from trustml.plan.attacking import SHADOW_BACKEND
from trustml.plan.job import ShadowJob
from trustml.record.files import encode_arrays, inside, read_arrays, write_atomic
from trustml.record.mapped import map_arrays
from trustml.scenario.regimes import DPSGD, Plain
from trustml.worker.job_context import JobContext
from trustml.worker.prepared import labels_of
from trustml.worker.shadow_plans import draw_models


def train_shadows(job: ShadowJob, backend: Backend, *, at: JobContext) -> str:
    """Train all models of the job and write their logits over the whole pool.

    Parameters
    ----------
    job : ShadowJob
        Its `members` say who is in which model, over the training examples followed by the held-out ones.
    backend : Backend
        One that trains many models at once.
    at : JobContext

    Returns
    -------
    str
        Name of the library.

    Raises
    ------
    RecordError
        If the file of members does not fit the data.
    NotImplementedError
        If the backend has no shadow models, or not with an option of this regime.
    FloatingPointError
        If a model diverged.

    Notes
    -----
    Reza Shokri et al., IEEE S&P 2017 (arXiv 1610.05820); Nicholas Carlini et al., IEEE S&P 2022 (arXiv 2112.03570).
    """
    support = entry_of(job.backend).regimes.shadows
    if backend.shadows is None or isinstance(support, Missing):
        raise NotImplementedError(f"{job.id}: {job.backend} does not train shadow models; {SHADOW_BACKEND} does")
    with at.clock.stage("draw"):
        arrays = map_arrays(inside(at.root, job.data))
        inputs = np.concatenate([arrays["train_inputs"], arrays["test_inputs"]]).astype(np.float32, copy=False)
        labels = labels_of(np.concatenate([arrays["train_labels"], arrays["test_labels"]]))
        chosen = read_arrays(inside(at.root, job.members))
        members = _members(chosen, job, examples=len(inputs))
        owners = chosen["owners"].astype(np.int64) if "owners" in chosen else None
        models = draw_models(job, inputs, labels, members=members, owners=owners)
    settings = ShadowSettings(
        architecture=job.model,
        inputs=inputs,
        regime=job.regime,
        mechanism=job.mechanism,
        rates=learning_rates(job, steps=models.rows.shape[1]),
        threads=job.execution.threads,
        task=job.task,
        labels=labels if isinstance(job.task, NextToken) else None,
    )
    at.progress.stage("compiling")
    with at.clock.stage("compile"):
        trainer = backend.shadows(settings)
        trainer.compile(models)
    at.progress.stage("training")
    with at.clock.stage("train"):
        logits = trainer.train(models, done=lambda count: at.progress.step(count, len(models)))
    broken = np.flatnonzero(~np.isfinite(logits.reshape(len(logits), -1)).all(axis=1))
    if len(broken):
        raise FloatingPointError(
            f"{len(broken)} of {len(models)} shadow models diverged, the first is {broken[0]}; lower the learning rate"
        )
    write_atomic(inside(at.root, job.output), encode_arrays({"logits": logits}), private=True)
    return support.library


def learning_rates(job: ShadowJob, *, steps: int) -> Floats:
    """Give the learning rate of each step, by the regime's schedule; nothing for federated regimes.

    Parameters
    ----------
    job : ShadowJob
    steps : int
        That are taken; a private schedule may be made for more.
    """
    regime = job.regime
    if not isinstance(regime, Plain | DPSGD):
        return np.zeros(0, np.float32)
    planned = job.mechanism.total_steps if job.mechanism is not None else steps
    factors = [regime.schedule.factor(number, planned) for number in range(steps)]
    return np.array([regime.optimizer.learning_rate * factor for factor in factors], np.float32)


def _members(arrays: dict[str, npt.NDArray[np.generic]], job: ShadowJob, *, examples: int) -> npt.NDArray[np.bool_]:
    found = arrays.get("members", np.zeros((0, 0), bool))
    if found.dtype != np.bool_ or found.ndim != 2 or found.shape[1] != examples or not len(found):
        raise RecordError(
            f"{job.members}: members is {found.dtype} of shape {found.shape}, not bool of shape (models, {examples})"
        )
    members = found.astype(np.bool_)
    sizes = members.sum(axis=1)
    if sizes.min() != sizes.max() or not sizes[0]:
        raise RecordError(
            f"{job.members}: models have {sizes.min()} to {sizes.max()} members; all need as many, and one or more"
        )
    owners = arrays["owners"].astype(np.int64) if "owners" in arrays else np.where(members, 0, -1)
    if owners.shape != members.shape or np.any((owners >= 0) & ~members):
        raise RecordError(f"{job.members}: owners hold examples that are not in their model")
    return members
