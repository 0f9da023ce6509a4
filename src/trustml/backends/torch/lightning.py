"""A privacy ledger beside somebody else's Trainer of Lightning, whose loop, loss and optimizer are not ours.

The private step is Opacus's: a ``GradSampleModule`` and a ``DPOptimizer``. What is added here is that every step is
charged on disk before its weights can be seen, and that what would make the charge wrong is refused by name.
"""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler, default_collate

from trustml.data.batches import BatchPlan, poisson_batches
from trustml.data.streams import secret_generator
from trustml.errors import PrivacyError
from trustml.privacy.accounting import Epsilon, epsilon_of
from trustml.privacy.ledger import Charge, charge, read_ledger, relation_of

_ANY_NUMBER = 2**31
"""Of batches that an example is in: at most as many as are charged."""


class PoissonLoader(DataLoader[Any]):
    """Loader of secret Poisson batches, with which the ledger's epsilon is amplified.

    Parameters
    ----------
    dataset : Dataset
        Of a known length.
    batch_size : int
        Examples that are expected in a batch.
    steps : int
        Batches an epoch; every epoch draws new ones. Some may be empty.
    """

    def __init__(self, dataset: Dataset[Any], *, batch_size: int, steps: int) -> None:
        self.examples, self.expected = len(dataset), batch_size
        if not 0 < batch_size <= self.examples:
            raise PrivacyError(f"batch_size: {batch_size} is not among 1 to {self.examples}, the examples; choose one")
        self._first = dataset[0]
        super().__init__(
            dataset,
            batch_sampler=_Drawn(self.examples, steps=steps, rate=batch_size / self.examples),
            collate_fn=self._collated,
        )

    def _collated(self, rows: list[Any]) -> Any:
        return default_collate(rows) if rows else _emptied(default_collate([self._first]))


class _Drawn:
    """Batches of places, drawn anew for each epoch from operating-system entropy."""

    def __init__(self, examples: int, *, steps: int, rate: float) -> None:
        self._examples, self._steps, self._rate = examples, steps, rate

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[int]]:
        plan: BatchPlan = poisson_batches(
            self._examples, steps=self._steps, sample_rate=self._rate, generator=secret_generator()
        )
        return (np.asarray(batch).tolist() for batch in plan)


def _emptied(batch: Any) -> Any:
    if isinstance(batch, Tensor):
        return batch[:0]
    return type(batch)(_emptied(part) for part in batch)


class StepLedger:
    """What charges the steps of a Trainer; :func:`ledger_callback` hangs it in.

    Parameters
    ----------
    path : Path
        File of the ledger. One that is there goes on, if it is of the same data, sampling and clipping.
    data : str
        Name or fingerprint of the training data.
    """

    def __init__(self, path: Path, *, data: str) -> None:
        self.path, self._data = Path(path), data
        self._plan = f"steps of a Trainer, {secrets.token_hex(8)}"
        self._attempt = 1 + max((entry.attempt for entry in read_ledger(self.path)), default=0)
        self._done = 0

    def check(self, trainer: Any) -> None:
        """Refuse settings of a Trainer under which a step is not what is charged.

        Raises
        ------
        PrivacyError
            Naming the setting, its value and what to use.
        """
        if trainer.accumulate_grad_batches != 1:
            given = trainer.accumulate_grad_batches
            raise PrivacyError(f"accumulate_grad_batches: {given} makes one step of several batches; use 1")
        if str(trainer.precision) not in ("32-true", "32", "64-true", "64"):
            problem = "scales or rounds gradients, so that clipped ones may be longer than the clipping norm"
            raise PrivacyError(f"precision: {trainer.precision!r} {problem}; use '32-true'")
        if trainer.world_size != 1:
            raise PrivacyError(
                f"devices, num_nodes: {trainer.world_size} processes draw batches and noise of their own (DDP); use 1"
            )
        if len(trainer.optimizers) != 1:
            raise PrivacyError(f"optimizers: {len(trainer.optimizers)} take steps of their own; use one")
        self._check_optimizer(trainer.optimizers[0])

    def charge(self, trainer: Any, optimizer: Any) -> None:
        """Charge the step that is about to be taken; nothing of it has been released yet.

        Raises
        ------
        PrivacyError
            If it would be no private step.
        """
        self.check(trainer)
        self._check_optimizer(optimizer)
        loader, examples = trainer.train_dataloader, len(trainer.train_dataloader.dataset)
        ours = isinstance(loader, PoissonLoader)
        sampling = "poisson" if ours else "unknown"
        if not ours:
            _require_each_once(loader)
        size = loader.expected if ours else examples
        entry = Charge(
            attempt=self._attempt,
            first_step=self._done,
            end_step=self._done + 1,
            noise_multiplier=float(optimizer.noise_multiplier),
            clipping_norm=float(optimizer.max_grad_norm),
            sample_rate=size / examples,
            batch_size=size,
            examples=examples,
            sampling=sampling,  # type: ignore[arg-type]
            secret_sampling=ours,
            participation=1,
            largest_participation=_ANY_NUMBER,
            plan=self._plan,
            data=self._data,
            relation=relation_of("poisson" if ours else "unknown", secret=ours),
            noise_source="torch.normal",
            coordinates=sum(one.numel() for group in optimizer.param_groups for one in group["params"]),
        )
        charge(self.path, entry)
        self._done += 1

    def epsilon(self, delta: float) -> Epsilon:
        """Epsilon of all steps that were charged: amplified only where batches came from :class:`PoissonLoader`."""
        return epsilon_of(read_ledger(self.path), delta=delta)

    def _check_optimizer(self, optimizer: Any) -> None:
        kind = type(optimizer).__name__.removeprefix("Lightning")
        if kind != "DPOptimizer":
            raise PrivacyError(
                f"optimizer: {kind} adds no noise that is known here; use opacus.optimizers.DPOptimizer, and a "
                "GradSampleModule around the network"
            )
        if not optimizer.noise_multiplier > 0:
            raise PrivacyError(f"optimizer: noise_multiplier {optimizer.noise_multiplier} adds none; use more than 0")
        if optimizer._step_skip_queue:
            raise PrivacyError("optimizer: a step of several batches (BatchMemoryManager); let each batch be one step")


def _require_each_once(loader: Any) -> None:
    """Refuse samplers that may take an example into a batch more than once: it would be clipped for each."""
    sampler = loader.sampler
    once = isinstance(sampler, SequentialSampler) or (isinstance(sampler, RandomSampler) and not sampler.replacement)
    if not once:
        raise PrivacyError(
            f"train_dataloader: its {type(sampler).__name__} may take an example twice into a batch, which moves the "
            "sum by more than the clipping norm; use shuffle=True, or trustml.backends.torch.lightning.PoissonLoader"
        )


def ledger_callback(ledger: StepLedger) -> Any:
    """Make a callback for ``lightning.Trainer(callbacks=[...])`` that charges each step to a ledger.

    Raises
    ------
    PrivacyError
        From ``fit``, where the Trainer's settings are not those of a private step.
    """
    callbacks = importlib.import_module("lightning.pytorch.callbacks")

    class LedgerCallback(callbacks.Callback):  # type: ignore[name-defined]
        """Charges before each step of the optimizer."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Refuse what no step could be charged under."""
            ledger.check(trainer)

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            """Charge the step whose gradients are there, and of which no noise is drawn yet."""
            ledger.charge(trainer, optimizer)

    return LedgerCallback()
