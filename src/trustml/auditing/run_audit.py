"""An audit of one of our own runs: what its table, statements and curves say of its claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from trustml.attacks.membership import Verdict, verdict_of_curves
from trustml.attacks.roc import Roc
from trustml.auditing.checks_accounting import attacked_claim
from trustml.auditing.claim import Claim, ClaimedSampling, Relation
from trustml.auditing.remembered import remembered_findings
from trustml.auditing.result import AuditedModel, AuditRecord, Finding, ModelIdentity
from trustml.auditing.run_wording import (
    accounting_finding,
    bound_finding,
    deployed_finding,
    figure,
    membership_finding,
    pooled_finding,
)
from trustml.compare.table import read_measures, read_statements, rows_of
from trustml.errors import RecordError, UsageError
from trustml.measures.assumptions import NOTHING_ELSE
from trustml.measures.measure import of_family, shown_in
from trustml.measures.row import Row
from trustml.privacy.ledger import (
    ADD_OR_REMOVE,
    REPLACE,
    UNAMPLIFIED,
    ZERO_OUT,
    Charge,
    Drawn,
    NeighboringRelation,
    read_ledger,
)
from trustml.privacy.statement import PrivacyStatement, understated_line
from trustml.record.curves import RocCounts, read_curves
from trustml.record.schema import JobRecord, Manifest, tuned_runs
from trustml.record.starts import earlier_charges, is_void
from trustml.record.store import CURVES, MEASURES, PRIVACY, RunDirectory
from trustml.scenario.read import from_plain
from trustml.scenario.regimes import PrivateRegime

_WEIGHTS = "weights.safetensors"
_CURVES_OF_A_MODEL = 4
_FIGURES = 10
_CLAIMED: dict[Drawn, ClaimedSampling] = {
    "poisson": "poisson",
    "shuffle": "shuffle",
    "fixed": "fixed",
    "all": "full batch",
    "in turn": "in turn",
    "cyclic poisson": "cyclic poisson",
    "unknown": "unknown",
}
_RELATIONS: dict[NeighboringRelation, Relation] = {
    ADD_OR_REMOVE: "add-or-remove-one",
    ZERO_OUT: "zero-out",
    REPLACE: "replace-one",
}


def audit_run(run: RunDirectory) -> AuditRecord:
    """Judge every claim that a run makes, from what is recorded.

    Every private model claims its target epsilon, or what its ledger comes to. Nothing is trained or attacked here: a
    scenario asks for attacks, and the findings say what was not tried.

    Parameters
    ----------
    run : RunDirectory
        Finished and measured.

    Raises
    ------
    RecordError
        If the run has no table yet.
    """
    manifest = run.manifest()
    rows = rows_of(read_measures(run))
    statements = {statement.model: statement for statement in read_statements(run)}
    claims = {model: claim_of_model(run, manifest, one) for model, one in statements.items()}
    trained = [record for record in manifest.jobs if record.kind == "train"]
    verdicts = _curve_verdicts(run, manifest)
    findings = [
        *_bounds(rows),
        *_membership(rows, trained, verdicts),
        *remembered_findings(rows),
        *_deployed(rows),
        *_accounting(statements.values(), claims),
        *_contradicted(rows, claims, verdicts),
        *_behind(statements.values()),
        *_released_beside(statements.values()),
        *_failed(manifest),
        *_explanations(rows),
    ]
    findings += _listed(rows, findings)
    return AuditRecord(
        id=f"audit-{manifest.run}",
        title=f"Audit of the run {manifest.run}",
        created=manifest.ended or manifest.created,
        run=manifest.run,
        models=tuple(_model(record, claims.get(record.id), rows, manifest) for record in trained),
        findings=tuple(findings),
        curves=_strongest(read_curves(run), rows),
        settings={"source": "what the run recorded; nothing was trained or attacked for the audit itself"},
        versions=manifest.versions,
        hardware=manifest.hardware,
        source=manifest.source,
        data={
            "fingerprint": manifest.data.fingerprint,
            "training examples": f"{manifest.data.train_examples:,}",
            "held-out examples": f"{manifest.data.test_examples:,}",
            **{f"note {number + 1}": note for number, note in enumerate(manifest.data.notes)},
        },
    )


def _strongest(curves: list[RocCounts], rows: list[Row]) -> tuple[RocCounts, ...]:
    """Keep the curves of the strongest attacks on each model; the run holds them all."""
    least = {(r.job, r.method): r.value or 0.0 for r in rows if r.measure == "membership_auc_at_least"}
    found: list[RocCounts] = []
    for subject in dict.fromkeys(curve.subject for curve in curves):
        own = sorted(
            (curve for curve in curves if curve.subject == subject),
            key=lambda curve: -least.get((curve.subject, curve.attack), 0.0),
        )
        found += own[:_CURVES_OF_A_MODEL]
    return tuple(found)


def claim_of_model(run: RunDirectory, manifest: Manifest, statement: PrivacyStatement) -> Claim | None:
    """Give what one private model of a run claims; None if infinite."""
    return claim_of(statement, _target(statement.model, manifest), _charges(run, statement.model))


def claim_of(statement: PrivacyStatement, target: float | None, charges: Sequence[Charge]) -> Claim | None:
    """Give what a private model of a run claims: its target epsilon, or what its ledger comes to; None if infinite.

    How batches are drawn is what the ledger was charged for; unknown where there is no ledger to read.
    """
    stated = statement.epsilon if target is None else target
    if stated is None:
        return None
    return Claim(
        epsilon=stated,
        delta=statement.delta,
        unit=charges[0].unit if charges else statement.unit_of_privacy,
        relation=_RELATIONS[statement.neighboring_relation],
        mechanism=statement.mechanism,
        noise_multiplier=statement.noise_multiplier,
        sample_rate=statement.sample_rate,
        # to one example, cyclic batches are those of its group alone, at the rate that is charged
        steps=(sum(c.participation for c in charges) or None)
        if statement.drawn == "cyclic poisson"
        else statement.steps,
        sampling=_claimed_sampling(charges),
        accountant=statement.accountant,
    )


def _claimed_sampling(charges: Sequence[Charge]) -> ClaimedSampling:
    if not charges:
        return "unknown"
    drawn = charges[0].sampling
    secret = drawn in UNAMPLIFIED or all(charge.secret_sampling for charge in charges)
    return _CLAIMED[drawn] if secret else "published"


def _charges(run: RunDirectory, model: str) -> list[Charge]:
    try:
        return read_ledger(run.job_folder(model) / "ledger.jsonl")
    except RecordError:
        return []


def _target(record_id: str, manifest: Manifest) -> float | None:
    """Target epsilon of a model's regime; none where a start used these rows, or it is the best of several runs."""
    record = next(one for one in manifest.jobs if one.id == record_id)
    regimes = {regime.title: regime for regime in from_plain(manifest.scenario).training}
    regime = regimes.get(record.regime)
    if not isinstance(regime, PrivateRegime) or tuned_runs(manifest) is not None:
        return None
    return None if is_void(manifest, regime) or earlier_charges(manifest, regime) else regime.epsilon


def _model(record: JobRecord, claim: Claim | None, rows: list[Row], manifest: Manifest) -> AuditedModel:
    own = {row.measure: row.value for row in rows if row.job == record.id}
    weights = record.artifacts.get(_WEIGHTS)
    left_out = max((int(row.facts.get("seen_left_out", 0)) for row in rows if row.job == record.id), default=0)
    return AuditedModel(
        name=record.id,
        kind=f"run {manifest.run}",
        members=manifest.data.train_examples,
        non_members=manifest.data.test_examples - left_out,
        train_accuracy=own.get("training_accuracy"),
        holdout_accuracy=own.get("accuracy"),
        claim=claim,
        identity=ModelIdentity(kind="file", sha256=weights, source=f"jobs/{record.id}/{_WEIGHTS}") if weights else None,
    )


def _bounds(rows: list[Row]) -> Iterable[Finding]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.measure in of_family("audited"):
            groups.setdefault((row.job, row.subject), []).append(row)
    return [bound_finding(group, audits=len(groups)) for group in groups.values()]


def _curve_verdicts(run: RunDirectory, manifest: Manifest) -> dict[str, Verdict]:
    """Judge every attacked model by its published curves, at the confidence that its rows were made with."""
    wanted = from_plain(manifest.scenario).attacks.membership
    rocs: dict[str, dict[str, Roc]] = {}
    for curve in read_curves(run) if wanted is not None else ():
        try:
            roc = curve.roc
        except UsageError as error:
            raise RecordError(f"{CURVES}: {curve.attack} on {curve.subject} is no curve ({error})") from None
        rocs.setdefault(curve.subject, {})[curve.attack] = roc
    if wanted is None:
        return {}
    return {subject: verdict_of_curves(own, error=1.0 - wanted.confidence) for subject, own in rocs.items()}


def _membership(rows: list[Row], trained: list[JobRecord], verdicts: Mapping[str, Verdict]) -> Iterable[Finding]:
    attacked = [row for row in rows if row.measure.startswith("membership_")]
    if not attacked:
        yield Finding(
            id="membership.none",
            check="membership",
            severity="not checked",
            title="No membership inference was tried in this run.",
            would_change="a scenario with attacks=Attacks(membership=MembershipInference())",
        )
        return
    for record in trained:
        own = [row for row in attacked if row.job == record.id]
        if own:
            yield membership_finding(record, own, verdicts.get(record.id))
    for regime in dict.fromkeys(row.regime for row in attacked if row.seed < 0):
        for backend in dict.fromkeys(row.backend for row in attacked if row.seed < 0 and row.regime == regime):
            own = [r for r in attacked if r.seed < 0 and r.regime == regime and r.backend == backend]
            yield pooled_finding(regime, backend, own)


def _deployed(rows: list[Row]) -> Iterable[Finding]:
    """Judge every exported file that was attacked."""
    bounds = {(row.job, row.subject): row for row in rows if row.measure == "deployed_membership_auc_at_least"}
    for row in rows:
        if row.measure == "deployed_membership_auc":
            yield deployed_finding(row, bounds.get((row.job, row.subject)))


def _accounting(statements: Iterable[PrivacyStatement], claims: Mapping[str, Claim | None]) -> Iterable[Finding]:
    return [accounting_finding(s, claims[s.model], artifact=f"jobs/{s.model}/ledger.jsonl") for s in statements]


def _contradicted(
    rows: list[Row], claims: Mapping[str, Claim | None], verdicts: Mapping[str, Verdict]
) -> Iterable[Finding]:
    """Name the models whose claim and attacks do not go together; what stays within a claim says nothing for it."""
    areas = {(row.job, row.method): row.value for row in rows if row.measure == "membership_auc"}
    for model, claim in claims.items():
        verdict = verdicts.get(model)
        area = None if verdict is None else areas.get((model, verdict.strongest))
        if claim is None or verdict is None or area is None:
            continue
        found = attacked_claim(claim, verdict, auc=area, subject=model)
        if found is not None and found.severity == "risk":
            yield msgspec.structs.replace(found, id=f"{found.id}.{model}", rule=found.id)


def _behind(statements: Iterable[PrivacyStatement]) -> Iterable[Finding]:
    """Name the models whose record says less than their ledger."""
    for statement in statements:
        if statement.understated is not None:
            yield Finding(
                id=f"record.behind.{statement.model}",
                rule="record.behind",
                check="record",
                severity="violation",
                title=f"{statement.model}: {understated_line(statement.understated.recorded)}.",
                subject=statement.model,
                how="the SHA-256 of the ledger against that of the ledger the record was made from",
                artifacts=(f"jobs/{statement.model}/ledger.jsonl", PRIVACY),
                would_change="a record that follows from the ledger",
            )


def _released_beside(statements: Iterable[PrivacyStatement]) -> Iterable[Finding]:
    """Say once what voids every guarantee of the run."""
    for statement in statements:
        for one in statement.assumptions:
            if one.name == NOTHING_ELSE and one.status == "not met":
                return [
                    Finding(
                        id="accounting.released-beside",
                        check="accounting",
                        severity="note",
                        title=f"The epsilons hold while only private models leave this run: {one.why}.",
                        how="read from the list of what the run trained",
                        would_change="a run without models that are trained without privacy on the same data",
                    )
                ]
    return []


def _failed(manifest: Manifest) -> Iterable[Finding]:
    for record in manifest.jobs:
        if record.status != "ok":
            yield Finding(
                id=f"record.{record.id}",
                rule="record",
                check="record",
                severity="not checked",
                title=f"{record.id} ended {record.status}: {record.reason or 'no reason was recorded'}",
                subject=record.id,
                how="read from the manifest",
                would_change=f"`trustml run --resume {manifest.run}`",
            )


def _listed(rows: list[Row], findings: Sequence[Finding]) -> Iterable[Finding]:
    """Give the figures that the table of measures wants in an audit and no check has judged, without a verdict."""
    judged = {one.measure for finding in findings for one in finding.measured} | of_family("audited").keys()
    for name, measure in shown_in("audit").items():
        found = [row for row in rows if row.measure == name and row.value is not None]
        if name in judged or not found:
            continue
        sign = 1 if measure.better == "higher" else -1
        worst = sorted(found, key=lambda row: sign * (row.value or 0.0))[:_FIGURES]
        more = f"; shown are {_FIGURES}, the worst first" if len(found) > _FIGURES else ""
        yield Finding(
            id=f"measures.{name}",
            check="measures",
            severity="note",
            title=f"{measure.title}: {len(found)} figure{'s' if len(found) > 1 else ''}{more}.",
            measured=tuple(figure(row) for row in worst),
            how=measure.meaning,
            artifacts=(MEASURES,),
            would_change="nothing: it is there to be read, and no claim rests on it",
        )


def _explanations(rows: list[Row]) -> Iterable[Finding]:
    errors = [row for row in rows if row.measure == "attribution_completeness_error" and row.value is not None]
    if not errors:
        return [
            Finding(
                id="explanations.none",
                check="explanations",
                severity="not checked",
                title="This run explained nothing.",
                would_change="a scenario with explanation methods",
            )
        ]
    measured = tuple(figure(row) for row in sorted(errors, key=lambda row: -(row.value or 0.0))[:_FIGURES])
    return [
        Finding(
            id="explanations.completeness",
            check="explanations",
            severity="note",
            title="How far attributions are from adding up to what they explain; the ten largest errors.",
            measured=measured,
            how="the sum of each example's attributions against the difference of logits it stands for",
            would_change="more integration steps; or a library whose output follows the definition",
        )
    ]
