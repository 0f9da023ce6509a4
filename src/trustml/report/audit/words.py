"""How an audit is put into words and numbers, the same in the report and in the model card."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Literal

import msgspec

from trustml.auditing.claim import Claim
from trustml.auditing.result import SEVERITIES, AuditRecord, Finding, Measurement, ModelIdentity, Severity
from trustml.measures.measure import MEASURES

SYMBOLS: dict[Severity, str] = {"violation": "✖", "risk": "▲", "note": "●", "pass": "✔", "not checked": "○"}
"""A shape for each severity, so that colour is never the only sign."""


def printable(record: AuditRecord) -> AuditRecord:
    """Give the same record with every character replaced that could hide, reorder or break text.

    Control characters, line separators and marks of writing direction become U+FFFD, line breaks and tabs spaces.
    """
    return msgspec.convert(_cleaned(msgspec.to_builtins(record)), AuditRecord)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return "".join(_shown(character) for character in value)
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(item) for item in value]
    return value


def _shown(character: str) -> str:
    if character in "\n\r\t":
        return " "
    # Cf holds the marks that turn the direction of text; U+FFFE and U+FFFF are no characters of XML.
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") or character in "\ufffe\uffff"
    return "\N{REPLACEMENT CHARACTER}" if hidden else character


def short(text: str, most: int) -> str:
    """Cut the middle out of a long name, where names differ least."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[: most - 1 - half]}…{text[len(text) - half :]}"


def finding_ranges(numbers: Iterable[int]) -> str:
    """Write 1, 2, 3, 7 as ``F1-F3, F7`` (with an en dash); empty for none."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"F{low}" if low == high else f"F{low}\N{EN DASH}F{high}" for low, high in runs)


def digits(value: float, *, rounding: str = ROUND_HALF_EVEN, decimals: int = 4) -> str:
    """Write a number: below 1 with so many decimals, from 1 on with so many digits, tiny ones with three.

    Bounds are rounded so that they never claim more than was shown: pass ``ROUND_FLOOR`` for lower ones.
    """
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "\N{MINUS SIGN}∞")
    exact = Decimal(repr(float(value)))
    if exact == exact.to_integral_value() and abs(exact) < 10**15:
        return f"{int(exact):,}".replace("-", "\N{MINUS SIGN}")
    leading = exact.adjusted()
    if leading < -3:
        places = 2 - leading
    else:
        places = decimals if leading < 0 else max(0, decimals - 1 - leading)
    rounded = exact.quantize(Decimal(1).scaleb(-places), rounding=rounding)
    if rounded == exact:  # 0.08 is no claim to 0.0800
        rounded = exact
    text = f"{rounded:,f}" if -6 < leading < 15 else f"{rounded:.2e}"
    return text.replace("-", "\N{MINUS SIGN}")


def stated(value: float | int | None) -> str:
    """Write a number as its owner stated it, with six digits; ``not stated`` for None."""
    if value is None:
        return "not stated"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def stated_bound(value: float) -> str:
    """Write an upper bound as its owner stated it, with six digits, rounded up."""
    return stated(float(Context(prec=6, rounding=ROUND_CEILING).create_decimal(repr(float(value)))))


def percent(share: float) -> str:
    """Write a confidence as a percentage, rounded down: 0.99999 is not 100 %."""
    floored = (Decimal(repr(float(share))) * 100).quantize(Decimal("0.01"), rounding=ROUND_FLOOR).normalize()
    return f"{floored:f} %"


def value_text(measured: Measurement) -> str:
    """Write the value, or the one bound there is, with its sign; ``absent`` where there is neither."""
    value, name = measured.value, measured.measure
    lower, upper = is_bound(name, "lower bound"), is_bound(name, "upper bound")
    if value is None and (measured.low is None) != (measured.high is None):
        lower, upper = measured.low is not None, measured.high is not None
        value = measured.low if lower else measured.high
    if value is None:
        return "absent"
    unit = "" if measured.unit in ("1", "", "nats") else f" {measured.unit}"  # epsilon is in nats everywhere
    if lower or upper:
        rounding = ROUND_FLOOR if lower else ROUND_CEILING
        return f"{'≥' if lower else '≤'} {digits(value, rounding=rounding)}{unit}"
    return digits(value) + unit


def interval_parts(measured: Measurement) -> tuple[str, str]:
    """Write the interval, or the bound beside the value, as its numbers and its kind; both may be empty."""
    low = None if measured.low is None else digits(measured.low, rounding=ROUND_FLOOR)
    high = None if measured.high is None else digits(measured.high, rounding=ROUND_CEILING)
    level = "" if measured.confidence is None else percent(measured.confidence)
    if low is not None and high is not None:
        kind = "range" if measured.measure == "attainable_at_claim" else "interval"
        drawn = measured.monte_carlo_error
        error = "" if drawn is None else f", Monte-Carlo error {digits(drawn, rounding=ROUND_CEILING)}"
        return f"{low} to {high}{error}", f"{level} {kind}".strip()
    is_its_own_bound = is_bound(measured.measure, "lower bound") and measured.low == measured.value
    if (low is None and high is None) or is_its_own_bound or measured.value is None:
        return "", f"confidence {level}" if level else ""
    return (f"at least {low}" if low is not None else f"at most {high}"), f"{level} bound" if level else ""


def interval_text(measured: Measurement) -> str:
    """Write the interval in one line; empty without one."""
    numbers, kind = interval_parts(measured)
    return ": ".join(part for part in (kind, numbers) if part)


def identity_words(identity: ModelIdentity | None) -> str:
    """Say what the hash of a model is of."""
    if identity is None:
        return "not identified"
    source = f" ({identity.source})" if identity.source else ""
    if identity.kind == "answers":
        count, shape = identity.shape[0], " x ".join(map(str, identity.shape[1:]))
        return f"SHA-256 of its answers{source} to the {count} fixed inputs of {shape}, {identity.dtype}"
    return f"SHA-256 of its {'file' if identity.kind == 'file' else 'weights'}{source}"


def measure_words(measure: str) -> str:
    """Say what a measure is; its own name in words if it is none of the table."""
    return MEASURES[measure].named if measure in MEASURES else measure.replace("_", " ")


def measure_label(measure: str) -> str:
    """Name a measure as briefly as it can be, for lines of several figures."""
    return (MEASURES[measure].label if measure in MEASURES else "") or measure_words(measure)


def is_bound(measure: str, kind: Literal["lower bound", "upper bound"]) -> bool:
    """Whether all values of a measure are such bounds."""
    return measure in MEASURES and MEASURES[measure].kind == kind


def measured_named(finding: Finding, *names: str) -> Measurement | None:
    """Give the first figure of a finding with one of these names and a value."""
    found = (one for one in finding.measured if one.measure in names)
    return next((one for one in found if one.value is not None and math.isfinite(one.value)), None)


def value_named(finding: Finding, *names: str) -> float | None:
    """Give the value of the first figure with one of these names and a finite value."""
    found = measured_named(finding, *names)
    return None if found is None else found.value


def attainable_share(finding: Finding) -> str:
    """How much of what an ideal attacker would have shown an audit did show; empty where that is not known."""
    audited = value_named(finding, "audited_epsilon")
    attainable = value_named(finding, "attainable_at_claim")
    return f"{math.floor(100 * audited / attainable)} %" if audited is not None and attainable else ""


def reading(finding: Finding) -> str:
    """Say how far an audited epsilon could have gone at all, so that a small one is read rightly."""
    if value_named(finding, "audited_epsilon") is None:
        return ""
    ceiling = value_named(finding, "ceiling_all_correct")
    attainable = value_named(finding, "attainable_at_claim")
    parts = []
    if ceiling is not None:
        most = digits(ceiling, rounding=ROUND_CEILING)
        parts.append(f"With this many trials no audit could have shown more than {most}.")
    if attainable is not None:
        middle = f"An ideal attacker would have shown about {digits(attainable)} if epsilon were the claim"
        shown = f"; this audit shows {attainable_share(finding)} of that" if attainable > 0 else ""
        parts.append(f"{middle}{shown}.")
    return " ".join(parts)


@dataclass(frozen=True)
class ClaimRow:
    """A claim, and the models it is made for.

    Parameters
    ----------
    claim : Claim
    models : tuple of str
    """

    claim: Claim
    models: tuple[str, ...]

    @property
    def mismatch(self) -> bool:
        """Whether batches are said to be drawn in one way and are drawn in another."""
        said, seen = self.claim.sampling, self.claim.loader
        return "unknown" not in (said, seen) and said != seen


def claim_rows(record: AuditRecord) -> tuple[ClaimRow, ...]:
    """Claims in the order of the models, equal ones together."""
    models: dict[Claim, list[str]] = {}
    for model in record.models:
        if model.claim is not None:
            models.setdefault(model.claim, []).append(model.name)
    return tuple(ClaimRow(claim, tuple(names)) for claim, names in models.items())


def severity_counts(record: AuditRecord) -> dict[Severity, int]:
    """How many findings there are of each severity, from the gravest on."""
    return {one: sum(finding.severity == one for finding in record.findings) for one in SEVERITIES}
