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
from opacus.optimizers import DPOptimizer
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler, default_collate

from trustml.backends.torch.noise import noise_generator
from trustml.data.batches import BatchPlan, poisson_batches
from trustml.data.streams import secret_generator
from trustml.errors import PrivacyError
from trustml.privacy.accounting import Epsilon, epsilon_of
from trustml.privacy.ledger import Charge, charge, read_ledger, relation_of

_FINDERS = ("LearningRateFinder", "BatchSizeFinder")
"""Callbacks that train before the training begins; ``Tuner`` hangs the same ones in."""
_OURS = "trustml_generator"
"""What is set on an optimizer: the generator that was made here, which another ledger may meet."""
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
        entries = read_ledger(self.path)
        self._attempt = 1 + max((entry.attempt for entry in entries), default=0)
        self._before = sum(entry.end_step - entry.first_step for entry in entries)
        self._done = 0
        self._trainer: Any = None
        self._watched: DPOptimizer | None = None

    def watch(self, trainer: Any) -> None:
        """Charge every step of a Trainer's optimizer, whoever takes it, from now on.

        Raises
        ------
        PrivacyError
            If no step of it could be charged.
        """
        self._check_settings(trainer)
        self._trainer, optimizer = trainer, trainer.optimizers[0]
        if optimizer is self._watched:
            return
        self._watched, draw, charged = optimizer, optimizer.add_noise, False

        def add_noise() -> None:
            nonlocal charged
            self.charge(self._trainer, optimizer)
            draw()
            charged = True

        def before_step(taken: Any, *_: Any) -> None:
            nonlocal charged
            if not charged or taken is not optimizer.original_optimizer:
                raise PrivacyError(
                    "optimizer: a step beside that of DPOptimizer has no noise; step by DPOptimizer alone"
                )
            charged = False

        optimizer.add_noise = add_noise
        optimizer.original_optimizer.register_step_pre_hook(before_step)

    def check(self, trainer: Any) -> None:
        """Refuse settings of a Trainer under which a step is not what is charged.

        Raises
        ------
        PrivacyError
            Naming the setting, its value and what to use.
        """
        self._check_settings(trainer)
        charged = self._before + self._done
        if trainer.global_step > charged:
            raise PrivacyError(
                f"ckpt_path: {trainer.global_step} steps were taken, and {self.path.name} has {charged}; go on with "
                "the ledger of the training that wrote the checkpoint"
            )

    def _check_settings(self, trainer: Any) -> None:
        self.check_callbacks(trainer)
        if not trainer.lightning_module.automatic_optimization:
            raise PrivacyError("automatic_optimization: False may make one step of several batches; use True")
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

    def check_callbacks(self, trainer: Any) -> None:
        """Refuse callbacks that train by themselves, before they do.

        Raises
        ------
        PrivacyError
            Naming the callback.
        """
        names = {kind.__name__ for one in trainer.callbacks for kind in type(one).__mro__}
        for name in _FINDERS:
            if name in names:
                problem = "trains on the data before the ledger begins"
                raise PrivacyError(f"callbacks: {name} (also of a Tuner) {problem}; look on data that is not private")

    def charge(self, trainer: Any, optimizer: Any) -> None:
        """Charge the step that is about to be taken; nothing of it has been released yet.

        Raises
        ------
        PrivacyError
            If it would be no private step.
        """
        self.check(trainer)
        self._check_optimizer(optimizer)
        if not trainer.training:
            raise PrivacyError(
                "optimizer: a step outside of the training that fit makes; let the Trainer take all steps"
            )
        _require_one_batch(optimizer)
        loader = trainer.train_dataloader
        ours = type(loader) is PoissonLoader and type(loader.batch_sampler) is _Drawn
        sampling = "poisson" if ours else "unknown"
        if not ours:
            _require_each_once(loader)
        _draw_from_entropy(optimizer)
        examples = len(loader.dataset)
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
        if type(optimizer) is not DPOptimizer:
            raise PrivacyError(
                f"optimizer: {type(optimizer).__name__} adds no noise that is known here; use "
                "opacus.optimizers.DPOptimizer, and a GradSampleModule around the network"
            )
        if not optimizer.noise_multiplier > 0:
            raise PrivacyError(f"optimizer: noise_multiplier {optimizer.noise_multiplier} adds none; use more than 0")
        if optimizer._step_skip_queue or optimizer._is_last_step_skipped:
            raise PrivacyError("optimizer: a step of several batches (BatchMemoryManager); let each batch be one step")
        if optimizer.generator is not None and optimizer.generator is not getattr(optimizer, _OURS, None):
            raise PrivacyError(
                "optimizer: a generator of its own may be seeded, and draw noise that can be drawn again; give none"
            )


def _draw_from_entropy(optimizer: Any) -> None:
    """Let noise follow from no seed: torch's default generator has one, of 32 bits, by ``seed_everything``."""
    if optimizer.generator is None:
        first, second, third, fourth = (secrets.randbits(32) for _ in range(4))
        optimizer.generator = noise_generator((first, second, third, fourth), optimizer.params[0].device)
        setattr(optimizer, _OURS, optimizer.generator)


def _require_one_batch(optimizer: DPOptimizer) -> None:
    """Refuse gradients of several backward passes: an example in two of them would be clipped for each."""
    if any(isinstance(getattr(one, "grad_sample", None), list) for one in optimizer.params):
        raise PrivacyError(
            "optimizer: one step of several backward passes, and an example in each moves the sum by several clipping "
            "norms; make one backward pass a step"
        )


def _require_each_once(loader: Any) -> None:
    """Refuse batches in which an example may be more than once: it would be clipped for each."""
    batches: Any = getattr(loader, "batch_sampler", None)
    plain = type(batches) is BatchSampler
    sampler: Any = batches.sampler if plain else None
    once = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler
        and not sampler.replacement
        and sampler.num_samples <= len(sampler.data_source)  # more go through the data again, within a batch
    )
    if not once:
        shown = type(sampler if plain else loader if batches is None else batches).__name__
        raise PrivacyError(
            f"train_dataloader: its {shown} may take an example twice into a batch, which moves the sum by more than "
            "the clipping norm; use shuffle=True, or trustml.backends.torch.lightning.PoissonLoader"
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

        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            """Refuse callbacks that would train before the others are asked."""
            if stage == "fit":
                ledger.check_callbacks(trainer)

        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            """Charge whatever step is taken from now on."""
            ledger.watch(trainer)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Refuse what no step could be charged under."""
            ledger.watch(trainer)
            ledger.check(trainer)

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            """Refuse a step before its gradients are clipped, so that none is left half done."""
            ledger.check(trainer)

    return LedgerCallback()
