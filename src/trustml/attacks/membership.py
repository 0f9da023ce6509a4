"""Membership inference: every attack there is on one model, and what they show all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.advantage import split_advantage
from trustml.attacks.catalogue import ATTACKS, CATALOGUE, Attack, References, Seen
from trustml.attacks.estimates import AttackEstimate, check_confidence
from trustml.attacks.roc import (
    Roc,
    auc_estimate,
    auc_lower_bound,
    auc_upper_bound,
    checked_scores,
    compress,
    roc_of_scores,
    tpr_at_fpr,
)
from trustml.attacks.seeing import answers, as_two_classes, look, unfit_to_texts
from trustml.attacks.signals import Bools, Floats
from trustml.attacks.task_signals import unfit_attacks
from trustml.attacks.texts import lowest_without_tokens
from trustml.attacks.tops import Tops, surest
from trustml.data.copies import one_of_each
from trustml.errors import UsageError
from trustml.models.tasks import DEFAULT_TASK, Binary, NextToken, Task

FPRS = (0.001, 0.01)
FEWEST_OF_A_CLASS = 20
MOST_EXPOSED = 10
QUESTIONS = 3
"""Asked of every attack: are members told apart, are a few of them exposed, are members below the others?"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one attack found on one model.

    Attributes
    ----------
    attack : str
        Its name in the catalogue.
    references : int
        Reference models it used.
    scores : numpy.ndarray
        float64 of shape (n,); the higher, the more likely a member. Secret: it never leaves ``private/``.
    roc : Roc
        Compressed; may be published.
    auc : AttackEstimate
    tprs : dict
        From FPR to the TPR there.
    advantage : AttackEstimate
        Of thresholds chosen on other examples.
    class_aucs : dict
        From label to AUC, for classes with at least 20 members and 20 non-members.
    exposed : tuple of int
        The members with the highest scores, highest first, as indices of the attacked examples. Secret.
    note : str
        Where the attack had to make do.
    """

    attack: str
    references: int
    scores: Floats = field(repr=False)
    roc: Roc = field(repr=False)
    auc: AttackEstimate
    tprs: dict[float, AttackEstimate]
    advantage: AttackEstimate
    class_aucs: dict[int, AttackEstimate]
    exposed: tuple[int, ...] = field(repr=False)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether membership can be inferred, all attacks taken together.

    Attributes
    ----------
    flagged : bool
        Some attack tells members apart, exposes a few of them, or puts them below the others.
    lower : float
        The largest of the lower bounds.
    confidence : float
        Of all answers together: where members and others are alike, any is wrong with at most about the probability
        1 - `confidence`.
    each : float
        Of each by itself: 1 - (1 - `confidence`) / (3 attacks) (Bonferroni over three questions an attack).
    strongest : str
        The attack whose bound `lower` is.
    bounds, uppers : dict
        From attack to its lower and its upper bound of the AUC, each one-sided at confidence `each`.
    tops : dict
        From attack to the examples it is surest of.
    told, exposing, reversed : tuple of str
        Attacks whose lower bound is above one half; whose surest examples hold more members than chance allows at
        confidence `each`; whose upper bound is below one half.
    """

    flagged: bool
    lower: float
    confidence: float
    each: float
    strongest: str
    bounds: dict[str, float]
    uppers: dict[str, float]
    tops: dict[str, Tops]
    told: tuple[str, ...]
    exposing: tuple[str, ...]
    reversed: tuple[str, ...]


def attack_membership(
    target_logits: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    members: npt.NDArray[Any],
    references: References | None = None,
    *,
    attacks: Sequence[str] | None = None,
    fprs: Sequence[float] = FPRS,
    confidence: float = 0.95,
    normalised: bool = False,
    task: Task = DEFAULT_TASK,
    groups: npt.NDArray[Any] | None = None,
    shared: int = 0,
    names: Sequence[str] = (),
) -> list[Outcome]:
    """Run the attacks on one model.

    Parameters
    ----------
    target_logits : numpy.ndarray
        Shape (n, c), of texts (n, steps, 4), of members and others; for probabilities see `logits_from_probabilities`.
    labels : numpy.ndarray
        Shape (n,), integers; (n, steps) of texts, and (n, c) where the task has no classes.
    members : numpy.ndarray
        Bool of shape (n,): the truth that the attacks are judged by. No attack sees it.
    references : References, optional
        Reference models' answers for the same examples.
    attacks : sequence of str, optional
        Names in the catalogue; by default all that these references allow. Choose them before looking at any outcome:
        the correction for having tried several is for exactly those that are run.
    fprs : sequence of float
    confidence : float
        Of the intervals of the outcomes, two-sided, each by itself.
    normalised : bool
        Whether logits, of references too, are logarithms of probabilities; equal probabilities are then exact ties.
    task : Task
        Attacks that it has no signals for are left out (`TaskFacts.not_attacked_by`).
    groups : numpy.ndarray, optional
        Integers of shape (n,), the same for copies of one example on one side (`trustml.data.copies.groups_of`).
        Values are of all examples; no interval or test is surer than that of one of each group.
    shared : int
        The last so many examples are non-members that are members too: left out of values, not of intervals and tests.
    names : sequence of str
        Of the tokens of texts.

    Returns
    -------
    list of Outcome
        In the order of the catalogue.

    Raises
    ------
    UsageError
        For values that are not finite, shapes that do not fit, attacks that cannot be run, all members or none.
    """
    if isinstance(task, Binary):
        target_logits, labels, references = as_two_classes(target_logits, labels, references)
        task = DEFAULT_TASK
    values, truth, classes = answers(target_logits, labels, task)
    _, inside = checked_scores(np.zeros(len(truth)), members)
    numbers = _groups(groups, inside, kept=len(inside) - shared)
    seen = look(values, truth, references, normalised=normalised, task=task, names=tuple(names))
    available = 0 if references is None else len(references.members)
    unfit = unfit_attacks(task) | unfit_to_texts(task, values)
    outcomes = []
    for attack in _choose(attacks, available=available, both=_both_sides(references), unfit=unfit):
        scores, note = _scores_of(attack, seen, task)
        used = available if attack.all_references else attack.references
        outcomes.append(_judge(attack.name, used, scores, note, classes, inside, fprs, confidence, numbers))
    return outcomes


def verdict_of(outcomes: Sequence[Outcome], *, confidence: float = 0.99) -> Verdict:
    """Ask three questions of every attack on one model, corrected for their number.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Of all attacks that were tried on the model, none left out.
    confidence : float
        A model whose outputs tell nothing of membership is flagged with at most about the probability
        1 - `confidence`; "about", because the bounds of the AUC are asymptotic (the test on the surest examples is
        exact). The error is split evenly over attacks and questions.

    Returns
    -------
    Verdict

    Notes
    -----
    What is tested is that members and non-members differ. Held-out examples that differ from the training set for
    another reason (a later date, another source) differ as well, without any membership being leaked. Members *below*
    the others are a difference too: the sets may be exchanged, or the held-out examples easier, which hides a leak.
    """
    rocs = {outcome.attack: outcome.roc for outcome in outcomes}
    if len(rocs) < len(outcomes):
        raise UsageError("outcomes: an attack is there twice; give those of one model")
    return verdict_of_curves(rocs, error=(1.0 - check_confidence(confidence)) / QUESTIONS)


def verdict_of_curves(rocs: Mapping[str, Roc], *, error: float) -> Verdict:
    """Give the verdict that published curves of one model come to.

    Parameters
    ----------
    rocs : mapping
        From each attack that was tried to its curve.
    error : float
        Probability of a wrong answer to one of the three questions, by any attack.
    """
    if not rocs:
        raise UsageError("outcomes: there are none; run at least one attack")
    each = 1.0 - error / len(rocs)
    bounds = {name: auc_lower_bound(roc, confidence=each) for name, roc in rocs.items()}
    uppers = {name: auc_upper_bound(roc, confidence=each) for name, roc in rocs.items()}
    tops = {name: surest(roc) for name, roc in rocs.items()}
    strongest = max(bounds, key=lambda name: bounds[name])
    told = tuple(name for name in rocs if bounds[name] > 0.5)
    exposing = tuple(name for name in rocs if tops[name].p_value <= error / len(rocs))
    reversed_ = tuple(name for name in rocs if uppers[name] < 0.5)
    return Verdict(
        flagged=bool(told or exposing or reversed_),
        lower=bounds[strongest],
        confidence=max(0.0, 1.0 - QUESTIONS * error),
        each=each,
        strongest=strongest,
        bounds=bounds,
        uppers=uppers,
        tops=tops,
        told=told,
        exposing=exposing,
        reversed=reversed_,
    )


def _both_sides(references: References | None) -> bool:
    """Whether some example is in one model and out of another, as the online attacks need it."""
    if references is None:
        return False
    inside = np.asarray(references.members, bool)
    return bool((inside.any(axis=0) & ~inside.all(axis=0)).any())


def _choose(names: Sequence[str] | None, *, available: int, both: bool, unfit: Mapping[str, str]) -> list[Attack]:
    possible = [
        attack
        for attack in CATALOGUE
        if attack.references <= available and (both or not attack.online) and attack.name not in unfit
    ]
    if names is None:
        return possible
    if unknown := sorted(set(names) - set(ATTACKS)):
        raise UsageError(f"attacks: no attack is called {unknown[0]!r}; there are {', '.join(ATTACKS)}")
    if not names or len(set(names)) < len(names):
        raise UsageError(f"attacks: {list(names)} is empty or names one twice; name each once")
    for name in names:
        if name in unfit:
            raise UsageError(f"attacks: {name} {unfit[name]}; leave it out")
        if ATTACKS[name] not in possible:
            raise UsageError(
                f"attacks: {name} needs {ATTACKS[name].references} reference models"
                + (", trained on the attacked examples and not," if ATTACKS[name].online else "")
                + f" where {available} are there; give more, or leave it out"
            )
    return [attack for attack in CATALOGUE if attack.name in names]


def _groups(groups: npt.NDArray[Any] | None, inside: Bools, *, kept: int) -> npt.NDArray[np.int64]:
    """Number groups of members and of others apart, of the examples that are not shared."""
    given = np.arange(len(inside)) if groups is None else np.asarray(groups)
    if given.shape != inside.shape or given.dtype.kind not in "iu":
        raise UsageError(f"groups: shape {given.shape} of {given.dtype}; give one integer for every example")
    pairs = np.stack([given[:kept].astype(np.int64), inside[:kept]])
    return np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)


def _scores_of(attack: Attack, seen: Seen, task: Task) -> tuple[Floats, str]:
    scores, note = attack.score(seen)
    return lowest_without_tokens(scores, seen.labels) if isinstance(task, NextToken) else scores, note


def _judge(
    name: str,
    references: int,
    scores: Floats,
    note: str,
    labels: npt.NDArray[np.int64],
    inside: Bools,
    fprs: Sequence[float],
    confidence: float,
    groups: npt.NDArray[np.int64],
) -> Outcome:
    """Judge an attack by the examples that have a group; those beyond are shared by members and others."""
    kept = len(groups)
    own_scores, own_members = scores[:kept], inside[:kept]
    once = one_of_each(groups)
    roc = compress(roc_of_scores(own_scores, own_members, distinct=once))
    if kept < len(scores):
        roc = replace(roc, shared=compress(roc_of_scores(scores, inside)))
    within = np.flatnonzero(own_members)
    return Outcome(
        attack=name,
        references=references,
        scores=scores,
        roc=roc,
        auc=auc_estimate(roc, confidence=confidence),
        tprs={fpr: tpr_at_fpr(roc, fpr, confidence=confidence) for fpr in fprs},
        advantage=split_advantage(
            own_scores, own_members, groups=None if once.all() else groups, confidence=confidence
        ),
        class_aucs=aucs_by(labels[:kept], own_scores, own_members, groups, confidence=confidence),
        exposed=tuple(within[np.argsort(-own_scores[within], kind="stable")[:MOST_EXPOSED]].tolist()),
        note=note,
    )


def aucs_by(
    kinds: npt.NDArray[np.int64],
    scores: Floats,
    inside: Bools,
    groups: npt.NDArray[np.int64],
    *,
    confidence: float,
) -> dict[int, AttackEstimate]:
    """Areas among the examples of one kind each, of kinds with at least 20 distinct members and 20 others.

    Parameters
    ----------
    kinds : int64 array of shape (n,)
        Such as classes.
    scores : float64 array of shape (n,)
    inside : bool array of shape (n,)
    groups : int64 array of shape (n,)
        The same number for copies of one example.
    confidence : float
        Of the intervals.
    """
    found = {}
    for kind in np.unique(kinds).tolist():
        own = kinds == kind
        once = one_of_each(groups[own])
        distinct = inside[own][once]
        if min(int(distinct.sum()), int((~distinct).sum())) >= FEWEST_OF_A_CLASS:
            roc = roc_of_scores(scores[own], inside[own], distinct=once)
            found[int(kind)] = auc_estimate(roc, confidence=confidence)
    return found
