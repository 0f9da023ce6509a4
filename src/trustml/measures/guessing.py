"""The most that the ledger of a private model lets anybody guess, for whatever an attack on it guessed."""

from __future__ import annotations

import itertools

from trustml.measures.evidence import Evidence
from trustml.measures.privacy import privacy_statements
from trustml.measures.row import Facts
from trustml.privacy.accounting import epsilon_released
from trustml.privacy.ledger import PrivacyUnit, read_ledger
from trustml.privacy.reconstruction import most_guessed, most_guessed_of
from trustml.privacy.statement import PrivacyStatement
from trustml.record.choices import composed_runs
from trustml.record.schema import JobRecord
from trustml.record.starts import earlier_charges
from trustml.scenario.read import from_plain


def guessed_at_most(evidence: Evidence, record: JobRecord, *, unit: PrivacyUnit, chance: float) -> Facts:
    """Bound how often a guess about one of what a model protects is right, were `chance` what is right without it.

    Parameters
    ----------
    evidence : Evidence
    record : JobRecord
        Of a training.
    unit : {"example", "user"}
        What the guess is about; a model that protects another unit has no bound here.
    chance : float

    Returns
    -------
    dict
        ``guessed_without`` and ``guessed_at_most``; {} where nothing is promised.
    """
    for stated in evidence.once(privacy_statements):
        if stated.model == record.id and stated.unit_of_privacy == unit and stated.epsilon is not None:
            return {"guessed_without": chance, "guessed_at_most": _bound(evidence, record, stated, chance)}
    return {}


def _bound(evidence: Evidence, record: JobRecord, stated: PrivacyStatement, chance: float) -> float:
    assert stated.epsilon is not None
    by_statement = most_guessed(epsilon=stated.epsilon, delta=stated.delta, chance=chance)
    own = read_ledger(evidence.run.job_folder(record.id) / "ledger.jsonl")
    regimes = [one for one in from_plain(evidence.manifest.scenario).training if one.title == record.regime]
    earlier = (charges for one in regimes for charges in earlier_charges(evidence.manifest, one))
    charges = [*own, *itertools.chain.from_iterable(earlier)]
    runs = composed_runs(evidence.manifest, regimes)

    def epsilon(delta: float) -> float:
        return epsilon_released([charges], delta=delta, tuned_runs=runs).value

    return min(by_statement, most_guessed_of(epsilon, chance=chance))
