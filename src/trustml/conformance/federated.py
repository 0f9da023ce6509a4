"""Checks of federated training that is private for users, as a black box: clients in, new weights out.

Whatever framework it is written in, a training that passes clips each client's update by itself, adds noise of the
stated size to their sum once a round, and divides by the declared number of clients. What the clients do in between
is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from trustml.conformance.findings import CheckResult, bounded, raised
from trustml.conformance.round_noise import check_noise
from trustml.conformance.rounds import (
    BEYOND_NORM,
    LARGE,
    OUTLIERS,
    TIME_LIMIT,
    Client,
    FederatedFactory,
    FederatedSubject,
    RoundSettings,
    classes_of,
    scaled,
    spoiled,
)
from trustml.conformance.subject import norm_of

ROUNDING = 1e-4
"""Relative error of float32 sums of a few dozen updates of thousands of weights."""
MOVES = 1e-4
"""Error of one move of the logarithm of the clipping norm, in float32."""
_CLIP_RATE = 0.4
_AVERAGES = "the sum is divided by the clients that came, so that one more of them changes the share of every other"
_LOST = "one such client loses the round: the sum of all others is not added"


def check_federated(
    make: FederatedFactory,
    clients: Sequence[Client],
    *,
    settings: RoundSettings | None = None,
    server_learning_rate: float = 1.0,
    same_start: bool = False,
    idle: Client = (),
    time_limit: float = TIME_LIMIT,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[CheckResult]:
    """Check a federated training from outside.

    Parameters
    ----------
    make : callable
        From :class:`RoundSettings` to a training. Noise is measured over its weights and rounds, and over as many
        trainings with other seeds as it takes to know its deviation to 0.3 %: one for some thousand weights.
        With noise multiplier 0 and count noise 0 it must be deterministic.
    clients : sequence of clients
        At least 8 of different updates, each the list of its batches.
    settings : RoundSettings, optional
        Its noise multiplier is used where noise is looked at; 0 means 1. With correlated noise, `separation` is
        for how many rounds a client stays away.
    server_learning_rate : float
    same_start : bool
        Whether each round of a training counts as one from its first weights; see :class:`FederatedSubject`.
    idle : client
        One that adds nothing to speak of, for rounds in which noise is watched; by default one without examples.
    time_limit : float
        Seconds after which no further training with noise is begun; what is not known then is not decided.
    tell : callable
        Is told how many trainings of a check with noise are begun, and of how many.

    Returns
    -------
    list of CheckResult
        Every check, passed or not. A training that raises an exception fails the check it was in.

    Examples
    --------
    >>> findings = check_federated(make_my_training, clients)          # doctest: +SKIP
    >>> [finding.diagnosis for finding in findings if not finding.passed]  # doctest: +SKIP
    """
    if len(clients) < 8:
        raise ValueError(f"{len(clients)} clients are too few: give 8 or more")
    subject = FederatedSubject(
        make,
        clients,
        settings or RoundSettings(),
        server_learning_rate=server_learning_rate,
        same_start=same_start,
        idle=idle,
        time_limit=time_limit,
        tell=tell,
    )
    findings: list[CheckResult] = []
    for check in (_influence, _division, _additivity, _nobody, _adaptive_norm, check_noise):
        try:
            findings += check(subject)
        except Exception as error:  # whatever a stranger's training does, the other checks go on
            name = check.__name__.removeprefix("check").strip("_").replace("_", " ")
            findings.append(raised(name, error))
    return findings


def _influence(subject: FederatedSubject) -> list[CheckResult]:
    """Check how far one client more moves the sum, be it as it may."""
    clients, classes = subject.clients, classes_of(subject.clients)
    outliers = [
        scaled(clients[7], factor, wrong=wrong, classes=classes) for factor in OUTLIERS for wrong in (False, True)
    ]
    others, large = clients[:6], list(clients[7]) * LARGE
    norm, findings = subject.settings.clipping_norm, []
    alone = norm_of(subject.total([large])) / norm  # first: a program that is compiled for it has room for all others
    base = subject.total(others)
    kinds: dict[str, tuple[list[Client], str]] = {
        "a client with many examples": (
            [large],
            "clients weigh by their examples, so that one of them moves the sum by more than the clipping norm",
        ),
        "an ordinary client": ([clients[6]], "no clipping: an update passes at full length"),
        "an outlier": (
            outliers,
            "an outlier is not clipped to the norm: nothing is clipped, or each tensor by itself to the whole norm",
        ),
        "a client without examples": ([[]], "a client without examples adds something"),
        "a client with NaN": (
            [spoiled(clients[6], value) for value in (math.nan, math.inf)],
            "a client that is not finite poisons the sum",
        ),
        "a client whose update's norm overflows": (
            [scaled(clients[6], BEYOND_NORM)],
            "a finite update whose norm is infinite is clipped to NaN, which poisons the sum",
        ),
    }
    averages = subject.averages()
    for kind, (candidates, diagnosis) in kinds.items():
        check = f"{kind} moves the sum by the clipping norm at most"
        try:
            totals = [subject.total([*others[:3], client, *others[3:]]) for client in candidates]
        except Exception as error:  # whatever a stranger's training does, the other kinds go on
            findings.append(raised(check, error))
            continue
        moved = [norm_of(total - base) / norm for total in totals] + ([alone] if candidates[0] is large else [])
        finite = all(map(math.isfinite, moved))
        if averages and finite and not (candidates[0] is large and subject.weighs_by_examples()):
            diagnosis = _AVERAGES
        if any(norm_of(total) <= ROUNDING * norm_of(base) for total in totals):
            diagnosis = _LOST
        worst = max(moved) if finite else math.nan
        findings.append(bounded(check, worst, 1 + ROUNDING, diagnosis=diagnosis))
    return findings


def _additivity(subject: FederatedSubject) -> list[CheckResult]:
    """Check that a round's sum is the sum of its clients taken one by one."""
    some = [*subject.clients[:5], scaled(subject.clients[5], OUTLIERS[0])]
    together = subject.total(some)
    if subject.averages():  # which the divisor tells; here is looked at who is clipped
        together = together * len(some)
    apart = np.sum([subject.total([client]) for client in some], axis=0)
    error = norm_of(together - apart) / max(norm_of(apart), 1e-12)
    diagnosis = "updates are not clipped one by one: their mean is clipped, or weighted, or divided by the cohort"
    return [bounded("a round is the sum of its clients", error, ROUNDING, diagnosis=diagnosis)]


def _division(subject: FederatedSubject) -> list[CheckResult]:
    """Check that the sum is divided by the declared number of clients, however many come."""
    norm, declared = subject.settings.clipping_norm, subject.settings.expected_clients
    client = subject.clients[7]
    many = {count: subject.total([client] * count) for count in (2 * declared, declared, 2, 1)}
    errors = [norm_of(total - count * many[1]) / max(norm_of(count * many[1]), 1e-12) for count, total in many.items()]
    used = max(norm_of(subject.total([scaled(client, factor)])) for factor in OUTLIERS) / norm
    if subject.averages():
        used /= declared
    twice = "divides by the number of clients twice, or an outlier falls short of the clipping norm"
    return [
        bounded(
            "the divisor is the declared number of clients",
            max(errors),
            ROUNDING,
            diagnosis="divides by the clients that came, which is secret, instead of by the declared number",
        ),
        bounded(
            "an outlier uses the whole clipping norm",
            abs(1 - used),
            10 * ROUNDING,
            diagnosis=twice if used < 1 else "divides by the cohort, or clips to more than the norm",
        ),
    ]


def _nobody(subject: FederatedSubject) -> list[CheckResult]:
    """Check that nobody adds nothing, also after rounds with clients."""
    norm = subject.settings.clipping_norm

    def alone() -> float:
        return norm_of(subject.total([])) / norm

    def after() -> float:
        return max(map(norm_of, subject.after(subject.clients[:6]))) / norm

    findings = []
    for check, moved, diagnosis in (
        ("a round without clients sums to zero", alone, "an empty round has an update"),
        ("nothing of earlier rounds is left", after, "a training remembers the sum of a round"),
    ):
        try:
            findings.append(bounded(check, moved(), 0.0, diagnosis=diagnosis))
        except Exception as error:  # whatever a stranger's training does, the other checks go on
            findings.append(raised(check, error))
    return findings


def _adaptive_norm(subject: FederatedSubject) -> list[CheckResult]:
    """Check how the clipping norm moves, round by round, where nothing is noisy."""
    if not subject.noisy.adaptive:
        return []
    settings = replace(subject.settings, clip_learning_rate=_CLIP_RATE)
    outliers = [scaled(client, OUTLIERS[-1]) for client in subject.clients[:5]]
    # No more than were declared: TensorFlow Privacy cuts the noisy share off at 0 and 1, which is as private.
    most = settings.expected_clients
    nobody: list[list[Client]] = [[], [[]], [[]] * most]
    cohorts: list[list[Client]] = [[*outliers, [], []][:most], *([one] for one in outliers), *nobody, outliers[:most]]
    training = subject.start(settings)
    errors, used = [], []
    for clients in cohorts:
        unclipped = sum(not client for client in clients)
        before = training.clipping_norm()
        total = subject.move(training, clients, settings)
        share = 0.5 + (unclipped - len(clients) / 2) / settings.expected_clients
        wanted = -settings.clip_learning_rate * (share - settings.quantile)
        errors.append(abs(math.log(training.clipping_norm() / before) - wanted))
        if len(clients) - unclipped == 1:
            used.append(abs(norm_of(total) / before - 1))
    return [
        bounded(
            "the clipping norm moves by the share of unclipped clients",
            max(errors),
            MOVES,
            diagnosis="the clipping norm moves by another share: divided by the cohort, or counted otherwise",
        ),
        bounded(
            "updates are clipped to the norm of their round",
            max(used),
            10 * ROUNDING,
            diagnosis="updates are clipped to another norm than the round's",
        ),
    ]
