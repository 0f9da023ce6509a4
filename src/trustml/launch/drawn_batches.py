"""Drawing the batches, or rounds, of one regime and seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.batches import (
    BatchPlan,
    batches_in_turn,
    cyclic_poisson_batches,
    first_batches,
    fixed_batches,
    make_plan,
    poisson_batches,
    shuffled_batches,
)
from trustml.data.partition import Clients
from trustml.data.streams import Stream, public_generator, secret_generator
from trustml.launch.federation import draw_rounds, salt
from trustml.plan.cycles import groups_of
from trustml.scenario.regimes import DPSGD, Plain, Regime


def draw_plan(
    regime: Regime,
    *,
    seed: int,
    examples: int,
    clients: Clients | None = None,
    attempt: int = 1,
    done: int = 0,
    groups: int | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Draw the batches of one regime and seed, of `examples` or so many users; secret ones from the system's entropy.

    Batches of a private regime are never those of an earlier attempt, whether they are secret or not.
    `done` steps of it are in a checkpoint and need none. Cyclic ones of a later attempt are drawn from as many `groups`
    as are charged; from those that fit the regime where that is not said.
    """
    match regime:
        case Plain():
            plan = shuffled_batches(
                np.arange(examples),
                epochs=regime.epochs,
                batch_size=regime.batch_size,
                generator=public_generator(seed, Stream.BATCHES),
            )
            return {"indices": plan.indices, "offsets": plan.offsets}
        case DPSGD():
            fixed = regime.sampling_seed
            public = public_generator((fixed or 0) + seed + 1_000_003 * (attempt - 1), Stream.BATCHES)
            generator = secret_generator() if fixed is None else public
            groups = groups_of(regime, examples) if groups is None else groups
            plan = _private_plan(regime, examples, groups=groups, generator=generator, done=done)
            found = {"indices": plan.indices, "offsets": plan.offsets}
            if regime.augmentation is not None or regime.unit == "user":
                found["augmentation"] = generator.integers(2**32, size=4)
            return found
        case _:
            assert clients is not None
            count = len(clients.names)
            rounds = draw_rounds(regime, clients.owners, clients=count, seed=seed, attempt=attempt)
            return {**rounds.arrays(), "salt": salt(regime, seed=seed, attempt=attempt)}


def _private_plan(regime: DPSGD, examples: int, *, groups: int, generator: np.random.Generator, done: int) -> BatchPlan:
    if regime.engine != "core":
        return make_plan([])  # the library draws its own
    steps = regime.total_steps(examples) - done
    match regime.sampling:
        case "poisson":
            rate = regime.batch_size / examples
            return poisson_batches(examples, steps=steps, sample_rate=rate, generator=generator)
        case "cyclic poisson":
            rate = groups * regime.batch_size / examples
            return cyclic_poisson_batches(examples, groups=groups, steps=steps, sample_rate=rate, generator=generator)
        case "fixed":
            return fixed_batches(examples, steps=steps, batch_size=regime.batch_size, generator=generator)
        case "shuffle":
            whole = shuffled_batches(
                np.arange(examples),
                epochs=-(-steps * regime.batch_size // examples) + 1,
                batch_size=regime.batch_size,
                generator=generator,
            )
            return first_batches(whole, steps)
        case "in turn":
            return batches_in_turn(examples, steps=steps, batch_size=regime.batch_size, generator=generator)
