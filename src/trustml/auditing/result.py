"""The outcome of an audit: findings about claims, with their evidence. This is the published JSON.

``python -m trustml.auditing.result > docs/audit.schema.json`` writes its JSON Schema.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any, Literal, TypeAlias

import msgspec

from trustml.auditing.claim import Claim
from trustml.record.curves import RocCounts as RocCounts

AUDIT_FORMAT = 1
DIALECT = "https://json-schema.org/draft/2020-12/schema"

Severity: TypeAlias = Literal["violation", "risk", "note", "pass", "not checked"]
Verdict: TypeAlias = Literal["holds", "broken", "not decided"]
_ROUNDING = 1e-3  # relative: claims are rounded, and targets are met by calibration to about this
SEVERITIES: tuple[Severity, ...] = ("violation", "risk", "note", "pass", "not checked")
"""From the gravest to the least. A violation is a claim shown to be false at a stated confidence."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One figure behind a finding.

    Parameters
    ----------
    measure : str
        Such as ``membership_auc``, ``audited_epsilon``, ``epsilon``.
    value, low, high : float, optional
        None where it is absent or has no such bound.
    confidence : float, optional
        Of the interval from `low` to `high`, or of the one bound that is there.
    unit : str
    n : int
        Examples, trials or canaries behind it.
    note : str
        How the interval was made; why it is absent.
    label : str
        What tells it apart from other figures of the same measure, such as the attack.
    subject : str
        Model it is of, where the finding is about several.
    splits : int
        Random splits of the examples that it is the mean over; 0 where none was drawn.
    monte_carlo_error : float, optional
        Standard error of that mean by the splits that were drawn.
    """

    measure: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    unit: str = "1"
    n: int = 0
    note: str = ""
    label: str = ""
    subject: str = ""
    splits: int = 0
    monte_carlo_error: float | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit concludes about one claim or one property.

    Parameters
    ----------
    id : str
        Stable, such as ``membership.lira-online`` or ``accounting.recomputed``.
    check : str
        Family: ``membership``, ``canaries``, ``mechanism``, ``accounting``, ``sampling``, ``explanations``,
        ``performance``, ``data``, ``deployed`` or ``record``.
    severity : Severity
    title : str
        The conclusion in one sentence.
    subject : str
        Model it is about, where there are several.
    claim : str
        The claim it concerns, in words; empty where nothing was claimed.
    measured : tuple of Measurement
        The first is the one the conclusion rests on; then what it is to be read beside.
    how : str
        How it was measured, in a sentence or two.
    artifacts : tuple of str
        Files of the evidence, relative to the run or bundle.
    would_change : str
        What would change the conclusion.
    verdict : {"holds", "broken", "not decided"}, optional
        Of a claim on epsilon: proved, refuted, or between the two bounds. None where no such claim was judged.
    rule : str
        What was looked at, the same for every model; empty where `id` is that.
    reason : str
        Why it was not checked; empty where it was.
    """

    id: str
    check: str
    severity: Severity
    title: str
    subject: str = ""
    claim: str = ""
    measured: tuple[Measurement, ...] = ()
    how: str = ""
    artifacts: tuple[str, ...] = ()
    would_change: str = ""
    verdict: Verdict | None = None
    rule: str = ""
    reason: str = ""


class ModelIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What tells whether a model is the one that was audited.

    Parameters
    ----------
    kind : {"weights", "file", "answers"}
        What the hash is of: all arrays of the model with their names, types and shapes; a file's bytes; or what the
        model answers to a fixed probe, rounded to three decimals, where no arrays can be reached.
    sha256 : str
    source : str
        Name of the file, or address of the endpoint.
    shape : tuple of int
        Of the probe, examples first: numpy's ``default_rng(0).random(shape)``, or ``.integers(0, 2, shape)`` for
        inputs that are whole numbers. Empty where nothing was asked.
    dtype : str
        Type that the probe was sent as.
    parts : tuple of str
        Where inputs are a stack of parts (n, parts, ...), such as token numbers and their mask, the parts' names.
    columns : tuple of str
        Where a callable was asked for tables, the names of their columns.
    """

    kind: Literal["weights", "file", "answers"]
    sha256: str
    source: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    parts: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind == "answers" and not self.shape:
            raise ValueError("models: identity is of answers, and its shape is empty: it needs that of the probe")


class AuditedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was audited.

    Parameters
    ----------
    name : str
    kind : str
        Such as ``torch.nn.Module``, ``HTTP endpoint (KServe v2)`` or ``run train.torch.DPSGD.s0``.
    members, non_members : int
        Training and hold-out examples it was audited on.
    train_accuracy, holdout_accuracy : float, optional
    claim : Claim, optional
    identity : ModelIdentity, optional
        None where the model could not be identified, and in audits of earlier versions.
    """

    name: str
    kind: str
    members: int = 0
    non_members: int = 0
    train_accuracy: float | None = None
    holdout_accuracy: float | None = None
    claim: Claim | None = None
    identity: ModelIdentity | None = None


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A finished audit, as it is written to JSON.

    Parameters
    ----------
    format : int
    id, title, created : str
        `created` is UTC, ISO 8601.
    run : str
        Identifier of the run that was audited; empty for a stranger's model.
    models : tuple of AuditedModel
    findings : tuple of Finding
    curves : tuple of RocCounts
    settings : dict
        Checks, confidence and seeds it was made with.
    versions, hardware, source : dict
    data : dict
        What is known of the data: fingerprints, sizes, notes.
    """

    format: int = AUDIT_FORMAT
    id: str
    title: str
    created: str
    run: str = ""
    models: tuple[AuditedModel, ...]
    findings: tuple[Finding, ...]
    curves: tuple[RocCounts, ...] = ()
    settings: dict[str, str] = {}
    versions: dict[str, str] = {}
    hardware: dict[str, str] = {}
    source: dict[str, str] = {}
    data: dict[str, str] = {}

    @property
    def worst(self) -> Severity:
        """The gravest severity there is.

        ``not checked`` if there is no finding; and if there is nothing graver than a note, but the model did not answer
        or its claim could not be checked.
        """
        found = {finding.severity for finding in self.findings}
        gravest: Severity = next((severity for severity in SEVERITIES if severity in found), "not checked")
        return "not checked" if gravest in ("note", "pass") and self._silent else gravest

    @property
    def passed(self) -> bool:
        """Whether there is neither a violation nor a risk, and the model answered and its claim could be checked."""
        return self.worst in ("note", "pass")

    @property
    def _silent(self) -> bool:
        """Whether what the audit is about was not looked at: the model's answers, or what a claim rests on."""
        return any(
            one.severity == "not checked"
            and (one.id == "data.predictions" or (one.check in ("accounting", "sampling") and one.claim))
            for one in self.findings
        )


def fails_on(record: AuditRecord, severity: Severity) -> bool:
    """Whether any finding is as grave as `severity` or graver."""
    limit = SEVERITIES.index(severity)
    return any(SEVERITIES.index(finding.severity) <= limit for finding in record.findings)


def encode_audit(record: AuditRecord) -> bytes:
    """Readable JSON of an audit: the same bytes for a record and for what `decode_audit` makes of them."""
    # An epsilon given as 3 would be read back as 3.0, and the report names the hash of these bytes.
    typed = msgspec.convert(msgspec.to_builtins(record), AuditRecord)
    return msgspec.json.format(msgspec.json.encode(typed), indent=2) + b"\n"


def decode_audit(content: bytes) -> AuditRecord:
    """Read an audit back; raises msgspec.ValidationError if it is none."""
    return msgspec.json.decode(content, type=AuditRecord)


def verdict_of(claimed: float, *, low: float, high: float) -> Verdict:
    """Hold an epsilon that is claimed against what is proved from below and from above; 0.1 % may be rounding."""
    allowed = claimed * (1 + _ROUNDING)
    if low > allowed:
        return "broken"
    return "holds" if high <= allowed else "not decided"


def audit_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of what `encode_audit` writes.

    It allows further fields where the record does: later versions may add some without another `format`.
    """
    schema = msgspec.json.schema(AuditRecord)
    for part in schema["$defs"].values():
        if "description" in part:  # from Python 3.13 on, docstrings come without their indentation
            part["description"] = inspect.cleandoc(part["description"])
    return {"$schema": DIALECT, "title": f"trustml audit record, format {AUDIT_FORMAT}", **schema}


def audit_schema_json() -> bytes:
    """Give the schema as readable JSON, byte for byte what is published in ``docs/audit.schema.json``."""
    return msgspec.json.format(msgspec.json.encode(audit_schema(), order="deterministic"), indent=2) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(audit_schema_json())
