"""What an attacker tries on the models of a scenario, as data."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from trustml.ranges import Confidence, Count, CountOrNone, NotNegative, Positive, Share

LEAST_CANARIES = 20
LEAST_TRIALS = 100
LEAST_ROWS = 50
LEAST_POPULATIONS = 20
LEAST_PROBES = 10
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


class GradientInversion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Can a row be made again from the update that a client sends. Tried on every federated regime.

    Updates of real rows are computed at the starting weights and at the trained ones, clipped and with noise as the
    regime says, and attacked by whoever knows the weights and the labels: exactly, where the first layer with weights
    is a Dense one with a bias (Phong et al., IEEE TIFS 2018; Geiping et al. 2020, arXiv 2003.14053), and by
    optimisation of inputs whose update is like that one (Zhu et al. 2019, arXiv 1906.08935; Geiping et al. 2020).

    Parameters
    ----------
    updates : int
        At most so many are attacked, of one client after another; of each, one row is looked for.
    rows : int
        A client's rows that an update is of. One row is the worst case.
    among : int
        The row counts as found where what was made is nearer to it than to all others of so many rows of its label,
        which are held-out ones.
    steps : int
        Of the optimisation; 0 leaves it out.
    total_variation : float
        Weight of the penalty on pictures that are not smooth.
    confidence : float
        Of the test that rows are found more often than by guessing, all attacks on a model together.
    """

    updates: Annotated[int, msgspec.Meta(ge=10)] = 50
    rows: Count = 1
    among: Annotated[int, msgspec.Meta(ge=2)] = 100
    steps: CountOrNone = 200
    total_variation: NotNegative = 1e-3
    confidence: Confidence = 0.99


class ModelInversion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Is what a model takes for most typical of a class nearer to training rows than to others.

    By ascent on the log-probability of the class (Fredrikson et al., CCS 2015).

    Parameters
    ----------
    steps : int
    rows : int
        At most so many training rows, and as many held-out ones for control, are held against it.
    confidence : float
        Of the test that training rows are nearer.
    """

    steps: Count = 100
    rows: Annotated[int, msgspec.Meta(ge=LEAST_ROWS)] = 2000
    confidence: Confidence = 0.99


class PropertyInference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Can it be told from a model's answers how common something was among its training rows.

    Shadow models of every regime are trained on rows of which the one or the other share has a property. Half of the
    models teach a classifier of their answers to rows that no model was trained on, which is asked of the other half
    (Ateniese et al. 2015, arXiv 1306.4447; Ganju et al., CCS 2018).

    Parameters
    ----------
    labels : tuple of int
        The property is to be of one of these classes; left out, of the first half of the classes.
    column : str
        The property is a value above the median in this column of a table, whatever the labels are.
    shares : (float, float)
        How common it is, in the one half of the models and in the other.
    shadow_models : int
    probes : int
        Rows that models are asked.
    confidence : float
        Of the test that the share is told more often than by guessing.
    """

    labels: tuple[CountOrNone, ...] = ()
    column: str = ""
    shares: tuple[Share, Share] = (0.3, 0.7)
    shadow_models: Annotated[int, msgspec.Meta(ge=LEAST_POPULATIONS)] = 64
    probes: Annotated[int, msgspec.Meta(ge=LEAST_PROBES)] = 100
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
    gradient_inversion : GradientInversion, optional
        For federated regimes.
    model_inversion : ModelInversion, optional
        For classes.
    property_inference : PropertyInference, optional
    """

    membership: MembershipInference | None = None
    canaries: tuple[Canaries, ...] = ()
    games: tuple[Game, ...] = ()
    extraction: Extraction | None = None
    attributes: AttributeInference | None = None
    gradient_inversion: GradientInversion | None = None
    model_inversion: ModelInversion | None = None
    property_inference: PropertyInference | None = None
