"""An audit of somebody's model, from beginning to end: one check that fails stops no other."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trustml.attacks.membership import Verdict
from trustml.attacks.roc import auc_of_counts
from trustml.auditing.answers import Answers, answers_of
from trustml.auditing.checks_accounting import attacked_claim, check_accounting, check_claim_terms
from trustml.auditing.checks_data import CheckedData, check_data
from trustml.auditing.checks_deployed import check_deployed
from trustml.auditing.checks_explanations import check_explanations
from trustml.auditing.checks_forward import check_forward
from trustml.auditing.checks_membership import check_membership, without_references
from trustml.auditing.checks_performance import check_errors, check_performance
from trustml.auditing.claim import Claim
from trustml.auditing.examples import Given, are_targets, in_order
from trustml.auditing.explained import Budget, prepare
from trustml.auditing.findings import not_checked, reason
from trustml.auditing.identity import identity_of
from trustml.auditing.models import AskedModel, Target, Tell, ask_all, target_of
from trustml.auditing.outputs import accuracy, meaning_of, values_instead
from trustml.auditing.references import COUNT, Asked, train_references
from trustml.auditing.request import CHECKS, Request, check_request
from trustml.auditing.result import AuditedModel, AuditRecord, Finding, ModelIdentity, RocCounts
from trustml.errors import DataError
from trustml.frameworks.table import backend_names, entry_of
from trustml.models.tasks import DEFAULT_TASK
from trustml.record.provenance import MAIN_PACKAGES, hardware, package_versions, source_revision


@dataclass
class _Audit:
    """An audit under way."""

    model: Any
    request: Request
    asked: Asked
    tell: Tell
    target: Target | None = None
    data: CheckedData | None = None
    answers: Answers | None = None
    identity: ModelIdentity | None = None
    budget: Budget | None = None
    problem: str = "no train and holdout were given"
    findings: list[Finding] = field(default_factory=list)
    curves: tuple[RocCounts, ...] = ()
    membership: Verdict | None = None

    @property
    def is_interrupted(self) -> bool:
        """Whether the user wanted no more, so that what is there is kept and nothing else is begun."""
        return self.budget is not None and self.budget.interrupted


def audit_model(model: Any, request: Request, *, tell: Tell) -> AuditRecord:
    """Audit a model.

    Parameters
    ----------
    model : object
        See :func:`trustml.auditing.models.target_of`; None where only the claim is looked at.
    request : Request
    tell : callable

    Returns
    -------
    AuditRecord

    Raises
    ------
    UsageError
        If the request or the data cannot work. Whatever the model itself does wrong becomes a finding.
    """
    audit = _Audit(model=model, request=request, asked=check_request(model, request), tell=tell)
    if model is not None:
        given = request.train
        audit.target = target_of(
            model,
            parts=() if given is None else given.parts,
            columns=() if given is None else given.columns,
            batch_size=request.batch_size,
        )
        request = audit.request = _with_outputs(_in_order(request, audit.target), audit.target)
    if request.train is not None and request.holdout is not None:
        tell("data", 0, 1)
        audit.data = check_data(
            request.train,
            request.holdout,
            confidence=request.confidence,
            seed=request.seed,
            targets=request.outputs == "values",
        )
        audit.findings += audit.data.findings
        tell("data", 1, 1)
        _ask(audit)
    _identify(audit)
    if request.against is not None:
        audit.findings += check_deployed(request.against)
    steps: dict[str, Callable[[_Audit], None]] = {
        "membership": _membership,
        "accounting": _accounting,
        "explanations": _explanations,
        "performance": _performance,
    }
    for name in CHECKS:
        if name in request.checks and audit.is_interrupted:
            audit.findings.append(not_checked(name, "interrupted", why="interrupted before"))
        elif name in request.checks:
            tell(name, 0, 1)
            try:
                steps[name](audit)
            except Exception as error:  # whatever a stranger's model raises
                audit.findings.append(not_checked(name, "failed", why=reason(error)))
            tell(name, 1, 1)
    return _record(audit)


def _in_order(request: Request, target: Target) -> Request:
    """Put the columns of tables in the order of the model, or the hold-out's in that of the training examples."""
    train, holdout = request.train, request.holdout
    if train is None or holdout is None:
        return request
    if train.parts != holdout.parts:
        raise DataError(f"holdout: its parts are {holdout.parts}, those of train {train.parts}; give the same")
    if bool(train.columns) != bool(holdout.columns):
        raise DataError("train, holdout: one is a table with names and the other is not; give both with names")
    train = in_order(train, target.columns, field="train")
    return replace(request, train=train, holdout=in_order(holdout, train.columns, field="holdout"))


def _with_outputs(request: Request, target: Target) -> Request:
    """Decide whether outputs are values of a regression, where that is known without asking."""
    labels = np.zeros(0) if request.train is None else request.train.labels
    if request.outputs == "auto" and (target.regression or are_targets(labels)):
        return replace(request, outputs="values")
    return request


def _ask(audit: _Audit) -> None:
    """Ask the model for all examples; a failure is one finding, and the checks that rest on it say so."""
    target, data = audit.target, audit.data
    if target is None or data is None:
        audit.problem = "no model was given"
        return
    try:
        parts = [
            ask_all(target, examples.inputs, tell=audit.tell, what=f"predictions, {name}")
            for name, examples in (("train", data.train), ("holdout", data.holdout))
            if len(examples)
        ]
        raw = np.concatenate(parts)
        try:
            meaning = meaning_of(raw, audit.request.outputs)
            audit.answers = answers = answers_of(raw, meaning, data, classes=target.classes)
        except DataError as error:
            labels = data.train.labels if len(data.train) else data.holdout.labels
            known = target.classes is not None or audit.request.outputs == "values"
            raise DataError(f"{error}{'' if known else values_instead(raw, labels)}") from None
    except Exception as error:  # whatever a stranger's model raises
        audit.problem = reason(error)
        audit.findings.append(not_checked("data", "predictions", why=audit.problem))
        return
    audit.findings.append(
        Finding(
            id="data.predictions",
            check="data",
            severity="note",
            title=f"The model answers with {answers.form}, {meaning.note}",
            would_change="outputs='logits', 'probabilities' or 'values', if this reading is wrong",
        )
    )
    audit.findings += _without_mask(target, data)


def _without_mask(target: Target, data: CheckedData) -> list[Finding]:
    """Note that padding is read as text: Hugging Face's models take it for such unless a mask says otherwise."""
    padding, inputs = target.padding, np.concatenate([data.train.inputs, data.holdout.inputs])
    if padding is None or inputs.dtype.kind not in "iu" or not (inputs == padding).any():
        return []
    return [
        Finding(
            id="data.mask",
            check="data",
            severity="note",
            title=f"{(inputs == padding).mean():.1%} of the tokens are the padding {padding}, and no attention mask "
            "was given: the model reads them as text",
            would_change="inputs as a mapping of input_ids and attention_mask, as a tokenizer gives them",
        )
    ]


def _identify(audit: _Audit) -> None:
    """Say by a hash which model this is; a failure is a finding."""
    target, given = audit.target, audit.request.train
    if target is None or (given is not None and audit.answers is None):
        return  # a model that does not answer is a finding already
    probe: dict[str, Any] = {}
    if given is not None:
        probe = {"shape": given.inputs.shape[1:], "dtype": given.inputs.dtype.str}
        probe |= {"parts": given.parts, "columns": given.columns}
    try:
        audit.identity = identity_of(target, **probe)
    except Exception as error:  # whatever a stranger's model raises
        audit.findings.append(not_checked("data", "identity", why=reason(error)))


def _membership(audit: _Audit) -> None:
    answers, data, request = audit.answers, audit.data, audit.request
    if answers is None or data is None:
        audit.findings.append(not_checked("membership", "predictions", why=audit.problem))
        return
    references, missing = None, None
    if audit.asked.retrain is None:
        missing = without_references(COUNT)
    else:
        everything = replace(
            data.train,
            inputs=np.concatenate([data.train.inputs, data.holdout.inputs]),
            labels=np.concatenate([data.train.labels, data.holdout.labels]),
        )
        try:
            references = train_references(
                audit.asked,
                everything=everything,
                meaning=answers.meaning,
                classes=audit.target.classes if audit.target else None,
                columns=answers.train.shape[1],
                seed=request.seed,
                tell=audit.tell,
                batch_size=request.batch_size,
            )
        except Exception as error:  # somebody else's training
            missing = without_references(audit.asked.count, why=reason(error))
    found = check_membership(
        answers.train,
        answers.train_labels,
        answers.holdout,
        answers.holdout_labels,
        references=references,
        confidence=request.confidence,
        alike=data.alike,
        subject=request.name,
        probabilities=answers.meaning.scale == "probabilities",
        groups=data.groups,
        shared=(data.shared, answers.shared_labels),
        task=answers.task,
    )
    audit.findings += found.findings
    audit.curves, audit.membership = found.curves, found.verdict
    if missing is not None:
        audit.findings.append(missing)


def _accounting(audit: _Audit) -> None:
    if audit.request.claim is None:
        audit.findings.append(
            not_checked("accounting", "recomputed", why="no claim was made", would_change="claim=trustml.Claim(...)")
        )
        return
    audit.findings += accounting_findings(
        audit.request.claim,
        members=len(audit.data.train) if audit.data else 0,
        verdict=audit.membership,
        curves=audit.curves,
        subject=audit.request.name,
    )


def accounting_findings(
    claim: Claim, *, members: int, verdict: Verdict | None, curves: Sequence[RocCounts], subject: str
) -> list[Finding]:
    """Judge a claim by its own figures, and by what attacks showed where there were any."""
    findings = [*check_accounting(claim), *check_claim_terms(claim, members=members)]
    if verdict is None:
        return findings
    (curve,) = [one for one in curves if one.attack == verdict.strongest]
    auc = auc_of_counts(curve.false_positives, curve.true_positives)
    beside = attacked_claim(claim, verdict, auc=auc, subject=subject)
    return [*findings, beside] if beside is not None else findings


def _explanations(audit: _Audit) -> None:
    target, answers, data, request = audit.target, audit.answers, audit.data, audit.request
    if target is None or answers is None or data is None:
        audit.findings.append(not_checked("explanations", "predictions", why=audit.problem))
        return
    if target.live is None:
        audit.findings.append(
            not_checked(
                "explanations",
                "gradients",
                why=target.without_gradients,
                would_change="the model itself, in PyTorch, JAX or Keras",
            )
        )
    audit.budget = Budget(memory=request.explain_memory, seconds=request.explain_seconds, tell=audit.tell)
    use_holdout = len(data.holdout) > 0
    explained = prepare(
        target.live or AskedModel(target),
        data.holdout.inputs if use_holdout else data.train.inputs,
        answers.explained_columns(holdout=use_holdout),
        train=data.train.inputs,
        single=answers.meaning.single,
        confidence=request.confidence,
        seed=request.seed,
        budget=audit.budget,
    )
    if target.live is None:
        audit.findings += check_forward(explained, shuffles=target.shuffles is not None)
    else:
        audit.findings += check_explanations(explained)


def _performance(audit: _Audit) -> None:
    answers = audit.answers
    if audit.target is None or audit.data is None or answers is None:
        audit.findings.append(not_checked("performance", "predictions", why=audit.problem))
        return
    if answers.meaning.scale == "values":
        for name, said, labels in (
            ("holdout", answers.holdout, answers.holdout_labels),
            ("train", answers.train, answers.train_labels),
        ):
            if len(labels):
                audit.findings.append(check_errors(said[:, 0], labels[:, 0].astype(np.float64), of=name))
    audit.findings += check_performance(audit.target, audit.data.train.inputs)


def _record(audit: _Audit) -> AuditRecord:
    request, answers, data = audit.request, audit.answers, audit.data
    classified = answers if answers is not None and answers.task == DEFAULT_TASK else None
    created = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    model = AuditedModel(
        name=request.name,
        kind=audit.target.kind if audit.target else "a claim alone",
        members=len(data.train) if data else 0,
        non_members=len(data.holdout) if data else 0,
        train_accuracy=accuracy(classified.train, classified.train_labels) if classified else None,
        holdout_accuracy=accuracy(classified.holdout, classified.holdout_labels)
        if classified and len(classified.holdout)
        else None,
        claim=request.claim,
        identity=audit.identity,
    )
    described: dict[str, str] = {}
    for name, examples in (("train", request.train), ("holdout", request.holdout)):
        if examples is not None:
            described[f"{name} sha256"] = _fingerprint(examples)
            described[f"{name} shape"] = str(examples.inputs.shape)
    return AuditRecord(
        id=audit_id(created, request.name, described),
        title=f"Audit of {request.name}",
        created=created,
        models=(model,),
        findings=tuple(audit.findings),
        curves=audit.curves,
        settings={
            "checks": ", ".join(name for name in CHECKS if name in request.checks),
            "confidence": f"{request.confidence:g}",
            "seed": str(request.seed),
            "outputs": request.outputs,
            "reference models": str(audit.asked.count),
            **({} if request.batch_size is None else {"batch size": str(request.batch_size)}),
            **({"interrupted": "while explaining; what was finished is kept"} if audit.is_interrupted else {}),
        },
        versions=package_versions(_packages()),
        hardware=hardware(),
        source=source_revision(),
        data=described,
    )


def audit_id(created: str, name: str, described: dict[str, str]) -> str:
    """Name an audit by when it was made, of which model and on which data."""
    return f"audit-{hashlib.sha256(repr((created, name, described)).encode()).hexdigest()[:12]}"


def _fingerprint(examples: Given) -> str:
    digest = hashlib.sha256(f"{examples.inputs.dtype.str} {examples.inputs.shape}".encode())
    digest.update(np.ascontiguousarray(examples.inputs).tobytes())
    digest.update(repr(examples.labels.tolist()).encode())
    return digest.hexdigest()


def _packages() -> tuple[str, ...]:
    """Distributions whose versions the record of an audit names, where they are there."""
    return (*MAIN_PACKAGES, *(package for name in backend_names() for package in entry_of(name).live_packages))
