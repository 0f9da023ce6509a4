"""The attacks there are: their stable names, where they come from and what they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.learned import learned_scores
from trustml.attacks.lira import lira
from trustml.attacks.rmia import OFFLINE_A, rmia, tune_a
from trustml.attacks.signals import Bools, Floats, Signals
from trustml.attacks.texts import (
    calibrated_scores,
    compressed_scores,
    least_likely_scores,
    least_likely_standardised_scores,
)
from trustml.attacks.threshold import (
    confidence_scores,
    entropy_scores,
    gap_scores,
    loss_scores,
    modified_entropy_scores,
)


@dataclass(frozen=True, kw_only=True)
class References:
    """Reference (shadow) models: what they answer for the attacked examples, and who was trained on in which.

    Attributes
    ----------
    logits : numpy.ndarray
        Shape (k, n, c); of texts (k, n), the mean log-probability of the tokens that follow.
    members : numpy.ndarray
        Bool of shape (k, n).
    """

    logits: npt.NDArray[Any] = field(repr=False)
    members: npt.NDArray[np.bool_] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Everything an attack may look at. The target's membership is not among it.

    Attributes
    ----------
    logits, labels : numpy.ndarray
        The target's answers, (n, c), and the true labels, (n,) for classes and (n, c) else; of texts (n, steps, 4)
        and (n, steps).
    signals : Signals
        The target's, arrays of shape (n,).
    references : References, optional
    reference_signals : Signals, optional
        Arrays of shape (k, n).
    names : tuple of str
        Of the tokens of texts; empty if they are not known.
    """

    logits: Floats
    labels: npt.NDArray[Any]
    signals: Signals
    references: References | None = None
    reference_signals: Signals | None = None
    names: tuple[str, ...] = ()

    def of_references(self) -> tuple[Signals, Bools, References]:
        """Signals and membership of the reference models; only for attacks that need them."""
        assert self.references is not None and self.reference_signals is not None
        return self.reference_signals, self.references.members, self.references


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attack.

    Attributes
    ----------
    name : str
        Stable identifier.
    title : str
    paper : str
    references : int
        Fewest reference models it needs; it uses just so many where `all_references` is not set. 0: none.
    all_references : bool
        Whether it uses all there are.
    online : bool
        Whether it cannot do without models trained on the attacked examples and others not.
    labels : bool
        Whether it looks at labels.
    texts : bool
        Whether it is for texts alone.
    score : callable
        From what is seen to scores of shape (n,) and a note.
    """

    name: str
    title: str
    paper: str
    references: int = 0
    all_references: bool = False
    online: bool = False
    labels: bool = True
    texts: bool = False
    score: Callable[[Seen], tuple[Floats, str]] = field(repr=False)


def _lira(*, online: bool, fixed: bool) -> Callable[[Seen], tuple[Floats, str]]:
    def score(seen: Seen) -> tuple[Floats, str]:
        signals, members, _ = seen.of_references()
        found = lira(
            seen.signals.scaled_confidence, signals.scaled_confidence, members, online=online, fixed_variance=fixed
        )
        return found.scores, found.note

    return score


def _rmia(*, models: int | None, online: bool) -> Callable[[Seen], tuple[Floats, str]]:
    def score(seen: Seen) -> tuple[Floats, str]:
        signals, members, _ = seen.of_references()
        values, inside = signals.confidence[:models], members[:models]
        a = tune_a(values, inside) if len(values) > 2 else OFFLINE_A
        one_sided = int((inside.all(axis=0) | ~inside.any(axis=0)).sum()) if online else len(inside[0])
        note = f"a = {a:g} for {one_sided} of {len(inside[0])} examples" if one_sided else ""
        return rmia(seen.signals.confidence, values, inside, online=online, a=a), note

    return score


def _learned(seen: Seen) -> tuple[Floats, str]:
    _, members, references = seen.of_references()
    return learned_scores(seen.logits, seen.labels, references.logits, members), ""


def _calibrated(seen: Seen) -> tuple[Floats, str]:
    signals, members, _ = seen.of_references()
    return calibrated_scores(seen.signals.loss, signals.loss, members), ""


_YEOM = "Yeom et al., CSF 2018, arXiv 1709.01604"
_SALEM = "Salem et al., NDSS 2019, arXiv 1806.01246"
_SONG = "Song & Mittal, USENIX Security 2021, arXiv 2003.10595"
_SHOKRI = "Shokri et al., S&P 2017, arXiv 1610.05820"
_CARLINI = "Carlini et al., S&P 2022, arXiv 2112.03570"
_RMIA = "Zarifzadeh et al., ICML 2024, arXiv 2312.03262"


CATALOGUE: tuple[Attack, ...] = (
    Attack(name="loss", title="Loss threshold", paper=_YEOM, score=lambda seen: (loss_scores(seen.signals), "")),
    Attack(
        name="confidence",
        title="Largest probability, without the label",
        paper=_SALEM,
        labels=False,
        score=lambda seen: (confidence_scores(seen.signals), ""),
    ),
    Attack(
        name="entropy",
        title="Entropy threshold",
        paper=_SALEM,
        labels=False,
        score=lambda seen: (entropy_scores(seen.signals), ""),
    ),
    Attack(
        name="modified-entropy",
        title="Modified entropy threshold",
        paper=_SONG,
        score=lambda seen: (modified_entropy_scores(seen.signals), ""),
    ),
    Attack(
        name="label-only",
        title="Gap attack: is the predicted class right?",
        paper=_YEOM,
        score=lambda seen: (gap_scores(seen.signals), ""),
    ),
    Attack(
        name="min-k",
        title="Min-K%: the least likely fifth of the tokens",
        paper="Shi et al., ICLR 2024, arXiv 2310.16789",
        texts=True,
        score=lambda seen: (least_likely_scores(seen.logits, seen.labels), ""),
    ),
    Attack(
        name="min-k++",
        title="Min-K%++: the same against what the model expects",
        paper="Zhang et al., ICLR 2025, arXiv 2404.02936",
        texts=True,
        score=lambda seen: (least_likely_standardised_scores(seen.logits, seen.labels), ""),
    ),
    Attack(
        name="zlib",
        title="Loss over the length of the packed text",
        paper="Carlini et al., USENIX Security 2021, arXiv 2012.07805",
        texts=True,
        score=lambda seen: (compressed_scores(seen.signals.loss, seen.labels, seen.names), ""),
    ),
    Attack(
        name="calibrated",
        title="Loss against that of reference models",
        paper="Watson et al., ICLR 2022, arXiv 2111.08440",
        references=1,
        all_references=True,
        texts=True,
        score=_calibrated,
    ),
    Attack(
        name="lira-online",
        title="LiRA, online, a variance for each example",
        paper=_CARLINI,
        references=2,
        all_references=True,
        online=True,
        score=_lira(online=True, fixed=False),
    ),
    Attack(
        name="lira-online-fixed",
        title="LiRA, online, one variance",
        paper=_CARLINI,
        references=2,
        all_references=True,
        online=True,
        score=_lira(online=True, fixed=True),
    ),
    Attack(
        name="lira-offline",
        title="LiRA, offline, a variance for each example",
        paper=_CARLINI,
        references=2,
        all_references=True,
        score=_lira(online=False, fixed=False),
    ),
    Attack(
        name="lira-offline-fixed",
        title="LiRA, offline, one variance",
        paper=_CARLINI,
        references=2,
        all_references=True,
        score=_lira(online=False, fixed=True),
    ),
    *(
        Attack(
            name=f"rmia-{models}",
            title=f"RMIA with {models} reference model{'' if models == 1 else 's'}",
            paper=_RMIA,
            references=models,
            score=_rmia(models=models, online=True),
        )
        for models in (1, 2, 4)
    ),
    Attack(
        name="rmia-all",
        title="RMIA with all reference models, online where possible",
        paper=_RMIA,
        references=5,
        all_references=True,
        score=_rmia(models=None, online=True),
    ),
    Attack(
        name="rmia-offline",
        title="RMIA with all reference models, offline",
        paper=_RMIA,
        references=1,
        all_references=True,
        score=_rmia(models=None, online=False),
    ),
    Attack(
        name="learned",
        title="Logistic regression taught on reference models",
        paper=_SHOKRI,
        references=1,
        all_references=True,
        score=_learned,
    ),
)
"""All attacks, in the order in which they are run."""

ATTACKS: dict[str, Attack] = {attack.name: attack for attack in CATALOGUE}
