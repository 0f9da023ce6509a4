"""Model and regimes of sensible size, by short public rules; ``docs/drafting.md`` gives their sources."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trustml.models.layers import Architecture
from trustml.models.sequences import tcn, text_cnn
from trustml.models.zoo import mlp, small_cnn
from trustml.scenario.federated import FedAvg
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID, NaturalKey
from trustml.scenario.regimes import DPSGD, Plain, Regime

_PLAIN_STEPS = 1500
_PRIVATE_STEPS = 500
_ROUNDS = 20
_CLIENTS = 10
_LEAST_EACH = 10
_LOCAL_BATCH = 16
_LOCAL_STEPS = 40
_EPSILON = 8.0


def largest_delta(examples: int) -> float:
    """Largest power of ten that is at most ``n ** -1.1`` (Ponomareva et al. 2023, arXiv 2303.00654)."""
    return float(f"1e{math.floor(-1.1 * math.log10(max(examples, 2)))}")


def private_batch(examples: int) -> int:
    """Power of two next to ``4 * sqrt(n)``, at most a quarter of the examples."""
    nearest = 2 ** round(math.log2(4 * math.sqrt(examples)))
    return max(1, min(nearest, 2 ** math.floor(math.log2(max(1, examples / 4)))))


def _epochs(steps: int, batch: int, examples: int, *, most: int) -> int:
    return min(most, max(2, round(steps * batch / examples)))


@dataclass(frozen=True, kw_only=True)
class Model:
    """An architecture, and the call that makes it, of a function of that module."""

    architecture: Architecture
    call: str
    module: str = "trustml.models.zoo"


def model_for(shape: tuple[int, ...], outputs: int, examples: int, *, vocabulary: int = 0) -> Model:
    """A small CNN for images, convolutions for texts and series, and two dense layers for all else.

    The latter are narrower where there is little to learn from. A vocabulary says that inputs are token ids.
    """
    of_sequences = "trustml.models.sequences"
    if vocabulary:
        made = text_cnn(classes=outputs, filters=16, vocabulary=vocabulary, width=16)
        call = f"text_cnn(classes={outputs}, filters=16, vocabulary={vocabulary}, width=16)"
        return Model(architecture=made, call=call, module=of_sequences)
    if len(shape) == 2:
        made, call = tcn(classes=outputs, filters=(16, 16, 16)), f"tcn(classes={outputs}, filters=(16, 16, 16))"
        return Model(architecture=made, call=call, module=of_sequences)
    if len(shape) == 3:
        return Model(architecture=small_cnn(classes=outputs), call=f"small_cnn(classes={outputs})")
    hidden = [64, 32] if examples >= 2000 else [32, 16]
    return Model(architecture=mlp(hidden, classes=outputs), call=f"mlp({hidden}, classes={outputs})")


def regimes_for(examples: int, *, clients: str | None) -> tuple[tuple[Regime, ...], dict[str, str]]:
    """Plain, private and federated training, and the comments on them."""
    plain = next(batch for batch, most in ((32, 5_000), (64, 20_000), (128, math.inf)) if examples < most)
    plain = min(plain, max(1, examples // 4))
    batch, delta = private_batch(examples), largest_delta(examples)
    private = DPSGD(
        epsilon=_EPSILON,
        delta=delta,
        epochs=_epochs(_PRIVATE_STEPS, batch, examples, most=60),
        batch_size=batch,
        optimizer=SGD(learning_rate=0.1, momentum=0.9),
    )
    regimes: list[Regime] = [
        Plain(
            epochs=_epochs(_PLAIN_STEPS, plain, examples, most=60),
            batch_size=plain,
            optimizer=SGD(learning_rate=0.02, momentum=0.9),
        ),
        private,
    ]
    notes = {
        "training.1": (
            "Epsilon 8 is the weak end of what is usual; lower it to promise more. Delta is below 1/n; "
            f"{private.total_steps(examples)} steps of large batches, gradients clipped to 1."
        )
    }
    if clients is not None:
        regimes.append(_federated(NaturalKey(columns=(clients,)), each=examples / _CLIENTS))
        notes["training.2"] = f"A client is all rows of one {clients}."
    elif examples >= _CLIENTS * _LEAST_EACH:
        regimes.append(_federated(IID(clients=_CLIENTS), each=examples / _CLIENTS))
        notes["training.2"] = "The rows as if ten parties held them, dealt out at random."
    return tuple(regimes), notes


def _federated(partition: IID | NaturalKey, *, each: float) -> FedAvg:
    """Forty steps or more of each client a round, in at most five epochs (McMahan et al., arXiv 1602.05629)."""
    epochs = min(5, max(1, math.ceil(_LOCAL_STEPS * _LOCAL_BATCH / each)))
    return FedAvg(
        rounds=_ROUNDS,
        partition=partition,
        local_epochs=epochs,
        batch_size=_LOCAL_BATCH,
        client_optimizer=SGD(learning_rate=0.05),
    )
