"""What an attacker tries on the models of a scenario, as data."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from trustml.ranges import Confidence, Count, CountOrNone, Positive

LEAST_CANARIES = 20
LEAST_TRIALS = 100
LEAST_ROWS = 50
"""Fewer could show nothing."""

CanaryKind: TypeAlias = Literal[
    "natural",
    "mislabelled",
    "blank",
    "out-of-distribution",
    "dirac gradient",
    "random gradient",
    "random update",
    "random tokens",
]
SEQUENCES: CanaryKind = "random tokens"
Fault: TypeAlias = Literal["", "no clipping", "noise divided by the batch", "halved sensitivity"]


class MembershipInference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Was this example trained on? Tried on every model, with every training and every held-out example.

    Parameters
    ----------
    shadow_models : int
        Models that are trained by the same regime on random parts of all examples, together in one JAX program;
        the reference models of LiRA and RMIA. 0 leaves only the attacks that need none.
    shadow_seed : int
        Draws who is in which shadow model, their starting weights and batches.
    confidence : float
        Of the lower bound of the AUC that makes an attack a risk, all attacks on a model taken together.
    """

    shadow_models: CountOrNone = 64
    shadow_seed: CountOrNone = 0
    confidence: Confidence = 0.99


class Canaries(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One-run audit of every private regime that takes such canaries (Steinke et al., NeurIPS 2023, 2305.08846).

    A model of its own is trained with canaries of which each is there or not by a fair coin; it is never released.

    Parameters
    ----------
    kind : str
        Examples (``natural``, ``mislabelled``, ``blank``, ``out-of-distribution``; of texts ``random tokens``, whose
        exposure is measured, in plain training too), gradients given to DP-SGD in place of an example's (``dirac
        gradient``, ``random gradient``), or updates of clients that federated training is given (``random update``;
        Andrew et al., 2302.03098, an estimate and never a bound).
    count : int
    confidence : float
        Of the lower bound.
    """

    kind: CanaryKind = "dirac gradient"
    count: Annotated[int, msgspec.Meta(ge=LEAST_CANARIES)] = 1000
    confidence: Confidence = 0.95


class Extraction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Do models of texts go on with a training text, word for word, given how it begins? (Carlini et al., 2202.07646).

    Parameters
    ----------
    prefix : int
        Tokens that the model is shown.
    length : int
        Tokens that have to come out, each the likeliest after those before.
    texts : int
        At most so many training texts, and as many held-out ones for control, drawn at random.
    confidence : float
        Of the test that more training texts come out than held-out ones.
    """

    prefix: Count = 8
    length: Count = 8
    texts: Annotated[int, msgspec.Meta(ge=10)] = 500
    confidence: Confidence = 0.99


class AttributeInference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Can a column of a training row be guessed by whoever has the model and all else of the row.

    The guess is the value under which the model's answer fits the row's label best, weighed by how common it is among
    held-out rows (Fredrikson et al., USENIX Security 2014; Yeom et al., CSF 2018). What is the model's doing is what is
    guessed of training rows beyond what the same guess gets of held-out ones, and beyond what is imputed without it.

    Parameters
    ----------
    columns : tuple of str
        Names of columns of a table.
    rows : int
        At most so many training rows, and as many held-out ones for control, drawn at random.
    values : int
        A column of numbers that has more is guessed by so many intervals, each as common as the others.
    confidence : float
        Of the test that more is guessed of training rows than of held-out ones, all columns of a model together.
    """

    columns: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    rows: Annotated[int, msgspec.Meta(ge=LEAST_ROWS)] = 1000
    values: Annotated[int, msgspec.Meta(ge=2, le=32)] = 5
    confidence: Confidence = 0.99


class Game(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One private step on the worst pair of neighbours, again and again: with the canary, and without it.

    Parameters
    ----------
    trials : int
        Steps in each of the two worlds.
    noise_multiplier : float
        Of the step; what one such step promises is the claim that is tested.
    confidence : float
    fault : str
        A mistake planted on purpose, to see whether the audit notices; empty for none.
    """

    trials: Annotated[int, msgspec.Meta(ge=LEAST_TRIALS)] = 20_000
    noise_multiplier: Positive = 2.0
    confidence: Confidence = 0.99
    fault: Fault = ""


class Attacks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All attacks of a scenario; none by default.

    Parameters
    ----------
    membership : MembershipInference, optional
    canaries : tuple of Canaries
    games : tuple of Game
    extraction : Extraction, optional
        For the next token alone.
    attributes : AttributeInference, optional
        For tables alone.
    """

    membership: MembershipInference | None = None
    canaries: tuple[Canaries, ...] = ()
    games: tuple[Game, ...] = ()
    extraction: Extraction | None = None
    attributes: AttributeInference | None = None
