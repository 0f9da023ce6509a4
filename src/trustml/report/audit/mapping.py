"""What an audit knows of the points that frameworks ask for; ``templates/frameworks.html.j2`` says it."""

from __future__ import annotations

from dataclasses import dataclass

from trustml.auditing.claim import Claim
from trustml.auditing.result import AuditRecord, Finding
from trustml.measures.measure import of_family
from trustml.report.audit.groups import numbered
from trustml.report.audit.words import claim_rows, finding_ranges, stated


@dataclass(frozen=True, kw_only=True)
class FrameworkFacts:
    """Facts of an audit that fill points of a framework.

    Parameters
    ----------
    findings : tuple of (int, Finding)
        With their numbers in the report.
    mechanisms : tuple of Claim
        Those that state different mechanisms, noise, rates, steps or ways to draw batches.
    accuracies : tuple of float
        On held-out examples, of the models that have one.
    kinds, measures : tuple of str
        Of models and of figures, each once.
    """

    findings: tuple[tuple[int, Finding], ...]
    mechanisms: tuple[Claim, ...]
    accuracies: tuple[float, ...]
    kinds: tuple[str, ...]
    measures: tuple[str, ...]

    def numbers(self, *checks: str) -> str:
        """Numbers of the findings of these checks, of all without any; a check that was not made is no evidence."""
        made = ((number, one) for number, one in self.findings if one.severity != "not checked")
        return finding_ranges(number for number, finding in made if finding.check in checks or not checks)

    def remembered(self, *measures: str) -> str:
        """Numbers of the findings on what models remember, by their measures."""
        rules = {f"membership.{measure}" for measure in measures}
        made = ((number, one) for number, one in self.findings if one.severity != "not checked")
        return finding_ranges(number for number, one in made if one.rule in rules)

    def inferred(self) -> str:
        """Numbers of the findings of attacks on membership alone."""
        others = {f"membership.{measure}" for measure in of_family("remembered")}
        made = ((number, one) for number, one in self.findings if one.severity != "not checked")
        return finding_ranges(number for number, one in made if one.check == "membership" and one.rule not in others)


def framework_facts(record: AuditRecord) -> FrameworkFacts:
    """Collect what an audit knows."""
    claims = [row.claim for row in claim_rows(record)]
    mechanisms: dict[tuple[str, ...], Claim] = {}
    for claim in claims:
        numbers = map(stated, (claim.noise_multiplier, claim.sample_rate, claim.steps))
        mechanisms.setdefault((claim.mechanism, *numbers, claim.sampling), claim)
    return FrameworkFacts(
        findings=numbered(record),
        mechanisms=tuple(mechanisms.values()),
        accuracies=tuple(model.holdout_accuracy for model in record.models if model.holdout_accuracy is not None),
        kinds=tuple(dict.fromkeys(model.kind for model in record.models if model.kind)),
        measures=tuple(dict.fromkeys(one.measure for finding in record.findings for one in finding.measured)),
    )
