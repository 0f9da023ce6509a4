"""Numbers in the words of an audit: a lower bound is never rounded up, an upper one never down."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from trustml.auditing.claim import Claim
from trustml.auditing.result import AuditedModel, AuditRecord, Finding, Measurement
from trustml.report.audit.figures import auc_figure, epsilon_figure
from trustml.report.audit.svg import interval_words
from trustml.report.audit.words import attainable_share, interval_text, reading, stated_bound, value_text

numbers = st.floats(min_value=1e-6, max_value=1e6)


def number(text: str) -> Decimal:
    return Decimal(text.replace(",", "").replace("\N{MINUS SIGN}", "-"))


def exact(value: float) -> Decimal:
    return Decimal(repr(value))


def audited(value: float, *, ceiling: float = 9.0, attainable: float | None = None) -> Finding:
    beside = [Measurement(measure="ceiling_all_correct", value=ceiling)]
    if attainable is not None:
        beside.append(Measurement(measure="attainable_at_claim", value=attainable))
    found = Measurement(measure="audited_epsilon", value=value)
    return Finding(id="a", check="canaries", severity="note", title="t", subject="m", measured=(found, *beside))


@given(numbers)
def test_a_bound_that_was_stated_is_written_with_six_digits_and_never_below(value):
    shown = number(stated_bound(value))
    assert exact(value) <= shown <= exact(value) * (1 + Decimal("1e-5"))


def test_a_stated_bound_that_has_six_digits_stays():
    assert [stated_bound(one) for one in (3.0, 1e-5, 0.1, 2.99871)] == ["3", "1e-05", "0.1", "2.99871"]
    assert stated_bound(2.998710001) == "2.99872"
    assert stated_bound(float("inf")) == "inf"


@given(numbers, numbers)
def test_what_no_audit_could_have_passed_is_never_rounded_down(value, ceiling):
    words = reading(audited(value, ceiling=ceiling))
    assert words.startswith("With this many trials no audit could have shown more than ")
    assert number(words.removesuffix(".").rpartition(" ")[2]) >= exact(ceiling)


@given(numbers, st.floats(min_value=1e-3, max_value=1e3))
def test_the_share_of_the_attainable_is_never_rounded_up(value, attainable):
    finding = audited(value, attainable=attainable)
    share = attainable_share(finding)
    assert 0 <= 100 * value / attainable - int(share.removesuffix(" %")) < 1
    assert f"; this audit shows {share} of that." in reading(finding)


@given(numbers, numbers, numbers)
def test_intervals_are_written_outwards(low, value, high):
    low, value, high = sorted((low, value, high))
    measured = Measurement(measure="membership_auc", value=value, low=low, high=high, confidence=0.95)
    left, right = interval_words(measured).partition(" (")[2].removesuffix(")").split("\N{EN DASH}")
    assert number(left) <= exact(low) and exact(high) <= number(right)
    left, right = interval_text(measured).removeprefix("95 % interval: ").split(" to ")
    assert number(left) <= exact(low) and exact(high) <= number(right)


@given(numbers)
def test_values_that_are_bounds_are_rounded_to_their_own_side(value):
    lower, upper = (value_text(Measurement(measure=name, value=value)) for name in ("audited_epsilon", "epsilon"))
    assert number(lower.removeprefix("≥ ")) <= exact(value) <= number(upper.removeprefix("≤ "))


def test_figures_round_bounds_to_their_own_side_and_keep_thousands():
    model = AuditedModel(name="m", kind="k", claim=Claim(epsilon=1.9991, delta=1e-5))
    finding = audited(1234.56, ceiling=8.4041)
    record = AuditRecord(id="a", title="", created="", models=(model,), findings=(finding,))
    figure = epsilon_figure(record)
    assert figure.alt == "m: audited epsilon 1,234, claim 2.00, ceiling 8.41"
    assert ">1,234, note</text>" in figure.svg
    auc = Measurement(measure="membership_auc", value=0.7, low=0.67199, high=0.72401)
    one = Finding(id="a", check="membership", severity="risk", title="t", subject="m", measured=(auc,))
    figure = auc_figure(AuditRecord(id="a", title="", created="", models=(model,), findings=(one,)))
    assert figure.alt == "m: AUC 0.7 (0.671\N{EN DASH}0.725), risk" and "0.7 (0.671\N{EN DASH}0.725)" in figure.svg
