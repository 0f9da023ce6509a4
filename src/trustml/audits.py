"""Audits as users call them: somebody's model or one of our runs in, findings out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustml.auditing.claim import Claim
from trustml.auditing.endpoints import Endpoint
from trustml.auditing.models import JaxModel
from trustml.auditing.result import AuditRecord, Finding, Severity, encode_audit, fails_on

if TYPE_CHECKING:
    from trustml.auditing.outputs import Outputs
    from trustml.measures.deployed import HeldAgainst

__all__ = ["Audit", "Claim", "Endpoint", "JaxModel", "audit"]

_TITLE_WIDTH = 100


class Audit:
    """A finished audit.

    Parameters
    ----------
    record : AuditRecord

    Examples
    --------
    >>> audit = trustml.audit(model, train=(x, y), holdout=(u, v))        # doctest: +SKIP
    >>> audit.passed, [finding.title for finding in audit.findings]      # doctest: +SKIP
    """

    def __init__(self, record: AuditRecord) -> None:
        self._record = record

    @property
    def record(self) -> AuditRecord:
        """Everything, as it is written to JSON."""
        return self._record

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, in the order of the checks."""
        return self._record.findings

    @property
    def passed(self) -> bool:
        """Whether there is neither a violation nor a risk, something was checked at all, and the model answered."""
        return self._record.passed

    @property
    def worst(self) -> Severity:
        """The gravest severity among the findings."""
        return self._record.worst

    def fails_on(self, severity: Severity) -> bool:
        """Whether any finding is as grave as `severity` or graver."""
        return fails_on(self._record, severity)

    def to_json(self) -> str:
        """Encode the audit as JSON text, by the published schema."""
        return encode_audit(self._record).decode()

    def report(self, path: str | Path) -> Path:
        """Write the audit as one self-contained HTML file and give its path.

        Raises
        ------
        UsageError
            If the file cannot be written.
        """
        from trustml.report.audit.html import write_audit_html

        return write_audit_html(self._record, path)

    def model_card(self, path: str | Path) -> Path:
        """Write a model card in Markdown, with the front matter of the Hugging Face hub, and give its path.

        Raises
        ------
        UsageError
            If the file cannot be written.
        """
        from trustml.report.audit.model_card import write_model_card

        return write_model_card(self._record, path)

    def ml_bom(self, path: str | Path) -> Path:
        """Write a bill of materials (CycloneDX, JSON), with a model card each, and give its path.

        Raises
        ------
        UsageError
            If the file cannot be written.
        """
        from trustml.report.audit.ml_bom import write_ml_bom

        return write_ml_bom(self._record, path)

    def __repr__(self) -> str:
        model = self._record.models[0].name if len(self._record.models) == 1 else f"{len(self._record.models)} models"
        verdict = "passed" if self.passed else "not passed"
        return f"<Audit of {model}: {verdict}, worst finding: {self.worst}, {len(self.findings)} findings>"

    def _repr_html_(self) -> str:
        """For notebooks: the verdict and the gravest findings."""
        from trustml.report.audit.words import printable
        from trustml.report.notebook import audit_html_in_short

        return audit_html_in_short(printable(self._record))

    def __str__(self) -> str:
        rows = [(finding.severity, finding.id, _short(finding.title)) for finding in self.findings]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
        lines = [f"{severity:{widths[0]}}  {name:{widths[1]}}  {title}" for severity, name, title in rows]
        return "\n".join([self._record.title, *lines, repr(self)[1:-1]])


def audit(
    model: Any,
    *,
    train: tuple[Any, Any] | None = None,
    holdout: tuple[Any, Any] | None = None,
    claim: Claim | None = None,
    checks: Sequence[str] | None = None,
    references: int | None = None,
    retrain: Callable[[Any, Any, int], Any] | None = None,
    outputs: Outputs = "auto",
    confidence: float = 0.99,
    seed: int = 0,
    name: str = "",
    explain_memory: int = 1 << 30,
    explain_seconds: float = 600.0,
    batch_size: int | None = None,
    against: HeldAgainst | None = None,
    listener: Callable[[str, int, int], None] | None = None,
) -> Audit:
    """Find out what a model leaks, whether its privacy claim adds up, and whether its explanations can be relied on.

    Parameters
    ----------
    model : object
        A torch module, a Keras model, ``trustml.JaxModel(function, params)``, an estimator of classes or a
        number, a callable, a ``trustml.Endpoint``, or a ``trustml.Run`` and no other argument; None is a claim alone.
    train, holdout : pair of arrays
        Inputs (n, ...) in the model's layout, a DataFrame of numbers or what a tokenizer gives, and labels (n,): what
        it was trained on, and examples of the same source that it was not.
    claim, checks : Claim and sequence of str, optional
        Of ``membership``, ``accounting``, ``explanations`` and ``performance``: by default all.
    references, retrain : int and callable, optional
        Reference models of random halves, for LiRA and RMIA, 16 by default, and ``retrain(inputs, labels, seed)``.
    outputs, confidence, seed, name : {"auto", "probabilities", "logits", "values"}, float, int and str
        What the model returns (one column is of class 1 of two, or a value: of a regressor, or labels not whole); of
        the lower bounds that make a risk, all attacks taken together, and of intervals.
    explain_memory, explain_seconds : int and float
        Bytes that explaining may need at once, about, and its time; then, or at Ctrl-C, what is finished is kept.
    batch_size, listener, against : int, callable and HeldAgainst, optional
        Examples that the model gets at once; who is told of progress (what, how much is done, of how much); what
        :func:`trustml.deployment.against.hold_against` gives of a file that is said to be a model of a run.

    Raises
    ------
    UsageError
        If the arguments cannot work, before anything is computed. A model that fails to answer is a finding.
    """
    if (run := _audit_of_run(model)) is not None:
        return run
    from trustml.auditing.examples import given
    from trustml.auditing.model_audit import audit_model
    from trustml.auditing.request import CHECKS, Request

    request = Request(
        train=None if train is None else given(train, field="train"),
        holdout=None if holdout is None else given(holdout, field="holdout"),
        claim=claim,
        checks=tuple(CHECKS if checks is None else checks),
        references=references,
        retrain=retrain,
        outputs=outputs,
        confidence=confidence,
        seed=seed,
        name=name or _name_of(model),
        explain_memory=explain_memory,
        explain_seconds=explain_seconds,
        batch_size=batch_size,
        against=against,
    )
    return Audit(audit_model(model, request, tell=listener or _silent))


def _audit_of_run(model: Any) -> Audit | None:
    from trustml.api import Run

    if not isinstance(model, Run):
        return None
    from trustml.auditing.run_audit import audit_run

    return Audit(audit_run(model.directory))


def _name_of(model: Any) -> str:
    function = model[0] if isinstance(model, tuple) and model else getattr(model, "function", model)
    for part in (getattr(model, "model", ""), getattr(function, "__name__", "")):
        if isinstance(part, str) and part:
            return part
    return "the claim" if model is None else type(model).__name__


def _silent(what: str, done: int, of: int) -> None:
    """Say nothing."""


def _short(title: str) -> str:
    return title if len(title) <= _TITLE_WIDTH else title[: _TITLE_WIDTH - 3] + "..."
