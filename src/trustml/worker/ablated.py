"""The steps of a private regime with its clipping or its noise left out: training that is not private, for comparison.

It goes through the backend's private step, so that nothing else differs. There are no checkpoints: a training that
broke off begins anew, on the same batches with the same noise.
"""

from __future__ import annotations

from trustml.backends.contract import Backend, Model
from trustml.backends.settings import PrivateSettings
from trustml.data.batches import BatchPlan
from trustml.data.dataset import Examples
from trustml.data.streams import Stream, public_generator
from trustml.plan.job import AblatedSteps, TrainJob
from trustml.scenario.clipping import PerLayer
from trustml.scenario.regimes import Ablation
from trustml.worker.job_context import JobContext, Trained
from trustml.worker.private import accumulate_finite, finite_rows, microbatch

NEVER_BINDS = 1e12
"""A clipping norm that no finite gradient of a training reaches, and whose ratio to one is a float32."""


def train_ablated(
    job: TrainJob,
    ablation: Ablation,
    steps: AblatedSteps,
    backend: Backend,
    model: Model,
    examples: Examples,
    *,
    plan: BatchPlan,
    at: JobContext,
) -> Trained:
    """Take all steps of the plan."""
    regime = steps.regime
    piece, usual = microbatch(job.execution, expected=regime.batch_size)
    noise, dropout = (public_generator(job.seed, stream) for stream in (Stream.ABLATION_NOISE, Stream.DROPOUT))
    first, second, third, fourth = (int(word) for word in noise.integers(2**32, size=4))
    settings = PrivateSettings(
        optimizer=regime.optimizer,
        per_layer=isinstance(regime.clipping, PerLayer),
        expected_batch_size=regime.batch_size,
        noise_seed=(first, second, third, fourth),
        micro_batch_size=piece if piece < usual else 0,
        grad_sample_mode=job.execution.grad_sample_mode,
    )
    trainer = backend.private(model, settings, int(dropout.integers(2**31)))
    usable = finite_rows(examples.inputs)
    limit = regime.clipping_norm if ablation.keeps == "clipping" else NEVER_BINDS
    at.plan_curve(steps=len(plan), rows=len(plan.indices))
    at.look(0, trainer.weights)
    for number in range(len(plan)):
        rows = plan[number][usable[plan[number]]]
        rate = regime.optimizer.learning_rate * regime.schedule.factor(number, len(plan))
        with at.clock.step(examples=len(rows)):
            for start in range(0, len(rows), piece):
                part = rows[start : start + piece]
                accumulate_finite(trainer, examples.inputs[part][:, None], examples.labels[part], clipping_norm=limit)
            # The noise has its own size, that of the private model, whether gradients are clipped or not.
            trainer.update(
                clipping_norm=regime.clipping_norm, noise_multiplier=steps.noise_multiplier, learning_rate=rate
            )
        at.progress.step(number + 1, len(plan))
    without = {"schedule": "clipping and noise", "clipping": "noise", "noise": "clipping"}[ablation.keeps]
    batches = "other batches" if regime.sampling_seed is None else "the same public batches"
    note = f"not private: the steps of {ablation.of} without {without}, on {batches}"
    return Trained(weights=trainer.weights(), choice=trainer.choice, notes=(note,))
