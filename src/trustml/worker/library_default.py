"""Private training by a stock engine: the library draws the batches and runs the epochs; we charge for them."""

from __future__ import annotations

import secrets
import time

from trustml.backends.contract import Backend, Model
from trustml.backends.settings import EngineChoice, StockSettings
from trustml.data.dataset import Examples
from trustml.errors import PrivacyError
from trustml.plan.job import TrainJob
from trustml.plan.mechanism import drawn_for, make_charge
from trustml.privacy.ledger import charge
from trustml.scenario.regimes import DPSGD
from trustml.worker.job_context import JobContext, Trained


def train_stock(job: TrainJob, backend: Backend, model: Model, examples: Examples, *, at: JobContext) -> Trained:
    """Train all epochs, each charged before it begins. There are no checkpoints: stock engines have none."""
    mechanism, regime = job.mechanism, job.regime
    if mechanism is None or not isinstance(regime, DPSGD) or backend.stock is None:
        raise PrivacyError(f"{job.id}: no stock engine to train with")
    settings = StockSettings(
        optimizer=regime.optimizer,
        keras_optimizer=regime.engine == "stock_optimizer",
        clipping_norm=mechanism.clipping_norm,
        noise_multiplier=mechanism.noise_multiplier,
        batch_size=regime.batch_size,
        seed=secrets.randbits(63),
    )
    trainer = backend.stock(model, settings, examples)
    plan = f"{job.id}, drawn by the library, {secrets.token_hex(8)}"
    epoch = mechanism.steps_per_charge
    drawn = drawn_for(mechanism, backend=job.backend, stock=True, weights=model.weights)
    most = 1 if mechanism.sampling == "shuffle" else None
    for first in range(0, mechanism.steps, epoch):
        end = min(first + epoch, mechanism.steps)
        entry = make_charge(
            mechanism, first=first, end=end, plan=plan, data=job.data_fingerprint, block=most, drawn=drawn
        )
        charge(at.folder / "ledger.jsonl", entry)
        start = time.perf_counter()
        sizes = trainer.epoch()
        if len(sizes) > end - first:
            raise PrivacyError(f"{job.id}: the library took {len(sizes)} steps where {end - first} were charged")
        at.clock.epoch(time.perf_counter() - start, sizes)
        at.progress.step(end, mechanism.steps)
    return Trained(
        weights=trainer.weights(),
        choice=EngineChoice(name=regime.engine, seconds={}, refused={}),
        notes=("stock engine: the library drew the batches and the noise, so nothing is shared with other backends",),
    )
