"""How much better members are told apart in one group of examples than in another."""

from __future__ import annotations

import numpy as np

from trustml.attacks.estimates import AttackEstimate
from trustml.attacks.membership import aucs_by, verdict_of_curves
from trustml.data.slices import CODES, NAMES
from trustml.measures.evidence import Evidence
from trustml.measures.membership import AttackedModel, attacked_models, wanted_attacks
from trustml.measures.notes import absent
from trustml.measures.row import About, Row
from trustml.plan.attack_files import TRAINING_SLICES

MEASURE = "membership_auc_of_group"
_CONFIDENCE = 0.95


def attacked_group_rows(evidence: Evidence) -> list[Row]:
    """AUC by group of the scenario's ``slices``, by the attack that is strongest on the model as a whole.

    Groups with fewer than 20 members or 20 others have no row. Runs of before training examples had their groups
    recorded have none at all.
    """
    wanted, columns = wanted_attacks(evidence), evidence.manifest.scenario.get("slices", ())
    if wanted is None or not columns or NAMES not in evidence.heldout or not _were_recorded(evidence):
        return []
    rows: list[Row] = []
    for model in evidence.once(attacked_models):
        if not model.outcomes:
            about = absent(model.why_not, not_at_hand=model.not_at_hand)
            rows += [evidence.row(MEASURE, None, record=model.record, subject=one, n=0, about=about) for one in columns]
            continue
        verdict = verdict_of_curves({one.attack: one.roc for one in model.outcomes}, error=1.0 - wanted.confidence)
        for place, column in enumerate(columns):
            rows += _of_column(evidence, model, verdict.strongest, place=place, column=column)
    return rows


def _were_recorded(evidence: Evidence) -> bool:
    """Whether the groups of training examples lie beside their scores, or ``private/`` is not at hand as a whole."""
    return evidence.run.file(TRAINING_SLICES).is_file() or not evidence.run.file("private").is_dir()


def _of_column(evidence: Evidence, model: AttackedModel, attack: str, *, place: int, column: str) -> list[Row]:
    outcome = next(one for one in model.outcomes if one.attack == attack)
    codes = np.concatenate([evidence.run.arrays(TRAINING_SLICES)[CODES][place], evidence.heldout[CODES][place]])
    codes = codes[model.kept]
    known = codes >= 0
    found = aucs_by(
        codes[known], outcome.scores[known], model.members[known], model.groups[known], confidence=_CONFIDENCE
    )
    names = evidence.heldout[NAMES][place]
    return [_row(evidence, model, one, column, str(names[code]), attack=attack) for code, one in found.items()]


def _row(
    evidence: Evidence, model: AttackedModel, estimate: AttackEstimate, column: str, group: str, *, attack: str
) -> Row:
    interval = None if estimate.low is None or estimate.high is None else (estimate.low, estimate.high)
    about = About(
        pair="members and held-out",
        first="members",
        second="held-out",
        confidence=estimate.confidence,
        interval=estimate.interval,
        facts={"slice": column, "group": group, "how": estimate.note},
    )
    return evidence.row(
        MEASURE,
        estimate.value,
        record=model.record,
        subject=f"{column}: {group}",
        method=attack,
        n=estimate.n,
        interval=interval,
        about=about,
    )
