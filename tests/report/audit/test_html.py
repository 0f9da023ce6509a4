"""The report holds every finding, no script, nothing of the record unescaped, and prints."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections import Counter
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from html.parser import HTMLParser
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tests.report.audit.examples import CLAIM, HOSTILE, empty_audit, example_audit, hostile_audit
from trustml.auditing.result import SEVERITIES, AuditedModel, AuditRecord, Finding, Measurement, RocCounts, encode_audit
from trustml.errors import UsageError
from trustml.report.audit import figures as audit_figures
from trustml.report.audit import words as audit_words
from trustml.report.audit.figures import (
    auc_figure,
    claimed_epsilon,
    curve_area,
    drawn_rates,
    epsilon_figure,
    roc_figures,
    worst_of,
)
from trustml.report.audit.groups import figure_lines, finding_groups, numbered
from trustml.report.audit.html import audit_html, css_string, write_audit_html
from trustml.report.audit.prose import environment
from trustml.report.audit.svg import SIGNS

ACTIVE = {"script", "iframe", "object", "embed", "link", "img", "form", "input", "base", "audio", "video", "a-b", "b"}
VOID = {"meta", "br", "col"}
VERDICTS = environment().get_template("texts.j2").module.VERDICTS
FILLABLE = {"2(b)", "2(c)", "2(d)", "2(g)", "3", "4", "6"}


class Page(HTMLParser):
    """Tags, attributes, text and headings of a page; fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[int] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def record() -> AuditRecord:
    return example_audit(plain=10, private=30)


@pytest.fixture(scope="module")
def source(record: AuditRecord) -> str:
    return audit_html(record)


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


@pytest.fixture(scope="module")
def hostile() -> str:
    return audit_html(hostile_audit())


def test_a_report_of_forty_models_is_small(source):
    assert 100_000 < len(source.encode()) < 5_000_000


def test_there_is_no_script_and_nothing_is_loaded(source, page):
    assert not ACTIVE & set(page.tags)
    assert not [key for _, key, _ in page.attributes if key.startswith("on") or key in ("src", "action", "srcset")]
    assert all(value.startswith("#") for key in ("href", "xlink:href") for value in page.values(key))
    assert set(re.findall(r"url\(([^)]?)", source)) <= {"#"}
    assert "@import" not in source and "javascript:" not in source
    assert "default-src 'none'; style-src 'unsafe-inline'" in page.values("content")


def test_identifiers_are_unique_and_every_link_has_its_end(page):
    assert not [name for name, times in Counter(page.values("id")).items() if times > 1]
    ends = {"#" + name for name in page.values("id")}
    assert set(page.values("href")) | set(page.values("xlink:href")) <= ends
    assert len(page.values("href")) > 10
    labels = {"#" + name for name in page.values("aria-labelledby")}
    assert labels <= ends and len(labels) == 10


def test_headings_skip_no_level(page):
    assert page.headings[0] == 1 and page.headings.count(1) == 1 and page.headings.count(2) == 10
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))


def test_every_finding_is_there_with_its_figures(record, page):
    for number, finding in numbered(record):
        assert f"f{number}" in page.values("id")
        for text in (finding.title, finding.subject, finding.claim, finding.how, finding.would_change):
            assert text in page.text
        for measured in finding.measured:
            assert audit_words.measure_words(measured.measure) in page.text
            assert audit_words.value_text(measured) in page.text
            assert audit_words.interval_parts(measured)[0] in page.text.replace("\N{NO-BREAK SPACE}", " ")
            assert measured.note in page.text
    assert {finding.id for finding in record.findings} <= set(page.text.split())
    assert [number for number, _ in numbered(record)] == list(range(1, len(record.findings) + 1))


def test_findings_come_from_the_gravest_on(record):
    order = [SEVERITIES.index(finding.severity) for _, finding in numbered(record)]
    assert order == sorted(order) and len(order) == len(record.findings)


def test_models_claims_and_identification_are_there(record, page):
    for text in (record.id, record.title, record.created, record.run, "ε ≤ 3", "1e-05", "add-or-remove-one", "675"):
        assert text in page.text
    assert all(model.name in page.text for model in record.models)
    assert page.text.count(hashlib.sha256(encode_audit(record)).hexdigest()) == 2
    assert "stated: poisson; in the code: shuffle ▲ mismatch" in page.text
    assert "30 models: DPSGD seed 0 … DPSGD seed 29" in page.text


def test_an_audited_epsilon_stands_beside_what_could_have_been_shown():
    canary = next(one for one in example_audit(1, 1).findings if one.check == "canaries")
    text = Page(audit_html(AuditRecord(id="a", title="t", created="c", models=(), findings=(canary,)))).text
    assert "no audit could have shown more than 5.78" in text
    assert "about 0.91 if epsilon were the claim; this audit shows 34 % of that" in text
    assert "90 % range: 0.55 to 1.25" in text


def test_hostile_strings_are_shown_and_do_nothing(hostile, page):
    spoiled = Page(hostile)
    assert set(spoiled.tags) <= set(page.tags)
    assert spoiled.tags["style"] == 1 and hostile.count("</style>") == 1
    assert {key for _, key, _ in spoiled.attributes} <= {key for _, key, _ in page.attributes}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", hostile)
    shown = audit_words.printable(AuditRecord(id=HOSTILE, title="", created="", models=(), findings=())).id
    assert spoiled.text.count(shown) > 50
    assert "<script>" in shown and "\N{REPLACEMENT CHARACTER}" in shown


def test_a_string_cannot_leave_a_style_sheet():
    assert css_string('a"</style>\\é') == '"a\\22 \\3c \\2f style\\3e \\5c \\e9 "'


def test_figures_have_words_beside_them(record, page):
    assert page.tags["figure"] == page.tags["figcaption"] == page.tags["svg"] == 8
    curve = next(one for one in record.curves if (one.subject, one.attack) == ("Plain seed 9", "lira-online"))
    assert f"Area under the curve: lira-online {audit_words.digits(curve_area(curve), decimals=3)}," in page.text
    assert "planted: no clipping: audited epsilon 5.31, claim 1.9, ceiling 8.4" in page.text


def test_the_report_of_an_empty_audit_supports_nothing():
    text = Page(audit_html(empty_audit())).text
    assert "○ Not checked" in text and "supports no conclusion" in text
    assert "No privacy claim was made" in text and "holds nothing to draw" in text
    assert not [row for table in frameworks(audit_html(empty_audit())) for row in table if row.filled or row.findings]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_verdict_is_the_gravest_finding(severity):
    milder = SEVERITIES[SEVERITIES.index(severity) :]
    findings = tuple(Finding(id=f"x.{one}", check="data", severity=one, title=f"about {one}") for one in milder)
    text = Page(audit_html(AuditRecord(id="a", title="t", created="c", models=(), findings=findings))).text
    assert f"{audit_words.SYMBOLS[severity]} {severity.capitalize()} {VERDICTS[severity]}" in text
    assert ("1 check was not made" in text) == (severity != "not checked")


class Row(NamedTuple):
    """One point of a framework, as the page shows it."""

    point: str
    about: str
    filled: str
    findings: str
    operator: str


def frameworks(source: str) -> list[list[Row]]:
    """Tables of section 7."""
    section = source.partition('<h2 id="frameworks">')[2].partition("</section>")[0]
    cells = [
        re.findall(r"<tr><th scope=.row.>(.*?)</th>" + r"<td[^>]*>(.*?)</td>" * 4 + "</tr>", table)
        for table in section.split("<h3>")[1:]
    ]
    return [[Row(*(re.sub("<.*?>", "", cell) for cell in row)) for row in table] for table in cells]


def test_only_what_a_tool_can_know_is_filled_in(source):
    tables = frameworks(source)
    hazards, rmf, annex, regulators, managed = tables
    assert {row.point for row in annex if row.filled} == FILLABLE
    assert {row.point for row in annex if not row.filled} == {"1", "2(a)", "2(e)", "2(f)", "2(h)", "5", "7", "8", "9"}
    assert all(
        row.operator.startswith("operator input required") for table in tables for row in table if not row.filled
    )
    assert source.count("to be checked against the official text") == len(tables) == 5
    assert [row.point for row in rmf] == ["MEASURE 2.9", "MEASURE 2.10"] and len(hazards) == 7
    assert {row.point for row in regulators if not row.filled} >= {
        "inversion",
        "reconstruction",
        "properties",
        "context",
    }
    assert [row.point for row in managed] == ["A.5", "A.6.2.4", "A.7.4"]


def test_frameworks_name_findings_of_their_kind_and_only_checks_that_were_made(record, source):
    numbers = {number: finding for number, finding in numbered(record)}
    rows = {row.point: row for table in frameworks(source)[1:] for row in table}
    skipped = next(number for number, finding in numbers.items() if finding.severity == "not checked")
    assert rows["MEASURE 2.9"].findings == audit_words.finding_ranges(
        number for number, finding in numbers.items() if finding.check == "explanations"
    )
    assert rows["2(g)"].findings == audit_words.finding_ranges(range(1, skipped)) and rows["3"].findings == ""


def test_what_regulators_ask_for_names_the_findings_of_that_attack_alone():
    alone = {
        "attributes": "attribute_inference_rate",
        "inversion": "model_inversion_likeness",
        "reconstruction": "reconstruction_rate",
        "properties": "property_inference_rate",
    }
    kinds = ("", ".extraction_rate", ".canary_exposure", *(f".{measure}" for measure in alone.values()))
    findings = tuple(
        Finding(id=f"x{number}", rule=f"membership{kind}", check="membership", severity="pass", title=f"about {number}")
        for number, kind in enumerate(kinds)
    )
    source = audit_html(AuditRecord(id="a", title="t", created="c", models=(), findings=findings))
    rows = {row.point: row.findings for row in frameworks(source)[3]}
    numbers = {finding.rule: number for number, finding in numbered(AuditRecord(
        id="a", title="t", created="c", models=(), findings=findings))}  # fmt: skip
    assert rows["membership"] == audit_words.finding_ranges([numbers["membership"]])
    for point, measure in alone.items():
        assert rows[point] == audit_words.finding_ranges([numbers[f"membership.{measure}"]])
    texts = (numbers["membership.extraction_rate"], numbers["membership.canary_exposure"])
    assert rows["regurgitation"] == audit_words.finding_ranges(texts)


@given(
    st.floats(min_value=0.01, max_value=1e6),
    st.floats(min_value=1e-12, max_value=0.5),
    st.floats(min_value=0, max_value=1e4),
    st.integers(min_value=1, max_value=10**9),
)
@settings(max_examples=25, deadline=None)
def test_the_numbers_of_a_claim_are_in_every_sentence_about_it(epsilon, delta, noise, steps):
    claim = msgspec.structs.replace(CLAIM, epsilon=epsilon, delta=delta, noise_multiplier=noise, steps=steps)
    model = AuditedModel(name="m", kind="k", claim=claim, holdout_accuracy=0.99999)
    source = audit_html(AuditRecord(id="a", title="t", created="c", models=(model,), findings=()))
    hazards, _, annex, *_ = frameworks(source)
    stated = f"As stated: DP-SGD, noise multiplier {noise:.6g}, sampling rate 0.0445, steps {steps:,}, batches drawn: "
    most = [audit_words.stated_bound(value) for value in (epsilon, delta)]
    assert hazards[0].filled == f"Claimed: m: epsilon {most[0]} at delta {most[1]}."
    assert hazards[1].filled == "Claimed: m: one example, neighbours by add-or-remove-one."
    assert hazards[2].filled == annex[2].filled == f"{stated}poisson."
    assert hazards[3].filled == "Accuracy on held-out examples of 1 models: 99.99 % (section 3)."  # never rounded up
    text = Page(source).text
    assert f"ε ≤ {most[0]}, δ = {most[1]}" in text
    assert f"noise multiplier {noise:.6g}, sampling rate 0.0445, steps {steps:,}" in text


def audit_of(*findings: Finding, models: int = 0) -> AuditRecord:
    named = tuple(AuditedModel(name=f"m{number}", kind="callable", claim=CLAIM) for number in range(models))
    return AuditRecord(id="a", title="t", created="c", models=named, findings=findings)


def test_findings_that_name_their_model_in_their_id_are_put_together_by_their_rule():
    found = [
        Finding(
            id=f"membership.m{turn}",
            rule="membership",
            check="membership",
            severity="risk",
            title=f"m{turn}: AUC",
            subject=f"m{turn}",
        )
        for turn in range(8)
    ]
    (group,) = finding_groups(audit_of(*found))["risk"]
    assert (group.name, group.title, group.columns) == ("membership", "membership: 8 findings", ())
    text = Page(audit_html(audit_of(*found, models=8))).text
    assert "m5: AUC" in text.partition("4. Findings")[0] and "and 2 more" in text
    assert all(finding.title in text.partition("4. Findings")[2] for finding in found)


def test_many_figures_of_a_finding_are_listed_by_attack():
    figures = []
    for attack, auc in (("rmia", 0.7), ("lira", 0.6), ("loss", 0.55)):
        both = {"measure": "membership_auc", "value": auc, "low": auc - 0.125, "high": auc + 0.125}
        figures += [
            Measurement(**both, confidence=0.95, n=80, note="DeLong", label=attack),
            Measurement(
                measure="membership_auc_at_least", value=auc - 0.25, confidence=0.99, note="one side", label=attack
            ),
        ]
    finding = Finding(id="membership.m0", check="membership", severity="risk", title="x", measured=tuple(figures))
    assert figure_lines(finding)[0] == "rmia: AUC 0.7 (0.575 to 0.825), AUC ≥ 0.4499"
    text = Page(audit_html(audit_of(finding))).text
    assert all(line in text for line in figure_lines(finding)) and len(figure_lines(finding)) == 3
    assert text.count("AUC (guessing: 0.5): 95 % interval; n = 80; DeLong") == 1


def test_a_finding_without_a_model_is_about_the_only_one():
    finding = Finding(id="accounting.recomputed", check="accounting", severity="violation", title="x")
    assert worst_of(audit_of(finding, models=1), "m0") == "violation"
    assert worst_of(audit_of(finding, models=2), "m0") == "not checked"
    assert claimed_epsilon(audit_of(finding, models=1), finding) == 3.0
    assert claimed_epsilon(audit_of(finding, models=2), finding) is None


def test_equal_findings_are_put_together_and_what_differs_stays():
    exposed = [one for one in example_audit(3, 0).findings if one.id == "membership.rmia"]
    (group,) = finding_groups(AuditRecord(id="", title="", created="", models=(), findings=tuple(exposed)))["risk"]
    auc, _, rare = group.columns
    assert auc.shared == "99 % interval; n = 1,436; DeLong, Bonferroni over 5 attacks"
    assert [cell.split()[0] for cell in auc.cells] == ["0.668", "0.676", "0.684"]
    assert rare.cells == ("absent",) * 3 and "10,000 are needed" in rare.shared
    fewer = msgspec.structs.replace(exposed[0].measured[0], n=9)
    other = msgspec.structs.replace(exposed[0], measured=(fewer, *exposed[0].measured[1:]))
    findings = (other, *exposed[1:])
    (group,) = finding_groups(AuditRecord(id="", title="", created="", models=(), findings=findings))["risk"]
    assert group.columns[0].shared == "99 % interval; DeLong, Bonferroni over 5 attacks"
    assert "n = 9" in group.columns[0].cells[0] and "n = 1,436" in group.columns[0].cells[1]


@given(st.floats(min_value=-1e9, max_value=1e9, allow_nan=False, allow_subnormal=False))
def test_bounds_are_rounded_to_their_own_side(value):
    low, high = (
        Decimal(audit_words.digits(value, rounding=side).replace("\N{MINUS SIGN}", "-").replace(",", ""))
        for side in (ROUND_FLOOR, ROUND_CEILING)
    )
    exact = Decimal(repr(value))
    assert low <= exact <= high
    assert high - low <= max(abs(exact) * Decimal("0.01"), Decimal("0.0001"))


@given(st.floats(min_value=0, max_value=1))
def test_a_confidence_is_never_rounded_up(share):
    assert Decimal(audit_words.percent(share).removesuffix(" %")) <= Decimal(repr(share)) * 100


def test_values_carry_the_sign_of_their_bound():
    assert audit_words.value_text(Measurement(measure="audited_epsilon", value=1.23456)) == "≥ 1.234"
    assert audit_words.value_text(Measurement(measure="epsilon", value=1.23412)) == "≤ 1.235"
    assert audit_words.value_text(Measurement(measure="epsilon_estimate", value=float("inf"))) == "∞"
    assert audit_words.value_text(Measurement(measure="membership_auc")) == "absent"
    assert audit_words.value_text(Measurement(measure="epsilon_shuffle_lower", low=19.8266)) == "≥ 19.82"
    one_sided = Measurement(measure="membership_auc", value=0.7, low=0.66666, confidence=0.995)
    assert audit_words.interval_text(one_sided) == "99.5 % bound: at least 0.6666"


def curve_of(members: np.ndarray, others: np.ndarray) -> RocCounts:
    thresholds = np.unique(np.concatenate([members, others]))[::-1]
    counts = ([int((scores >= one).sum()) for one in thresholds] for scores in (others, members))
    false, true = map(tuple, counts)
    return RocCounts(subject="m", attack="a", false_positives=false, true_positives=true)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_the_area_in_the_legend_is_the_auc(members, others):
    expected = roc_auc_score([1] * len(members) + [0] * len(others), members + others)
    assert curve_area(curve_of(np.array(members), np.array(others))) == pytest.approx(expected, abs=1e-12)


def test_a_drawn_curve_shows_at_each_rate_what_was_reached_there():
    rng = np.random.default_rng(0)
    members, others = rng.normal(1, 1, 400), rng.normal(0, 1, 3000)
    curve = curve_of(members, others)
    false, true = drawn_rates(curve, 1 / 3000)
    for rate, shown in zip(false, true, strict=True):
        allowed = int(np.floor(rate * 3000 + 1e-9))
        threshold = np.sort(others)[::-1][allowed] if allowed < 3000 else -np.inf
        assert shown == pytest.approx((members > threshold).mean(), abs=1e-9)


def test_many_models_give_few_panels_and_the_gravest_first(record, page, monkeypatch):
    panels = [f"ROC curves: Plain seed {turn}" for turn in range(9, 3, -1)]
    assert [title for title in page.values("aria-label") if title.startswith("ROC")] == panels
    assert "Drawn are the 6 models with the gravest findings out of 40" in page.text
    monkeypatch.setattr(audit_figures, "MOST_CURVES", 2)
    (first,) = roc_figures(msgspec.structs.replace(record, curves=record.curves[:5]))
    assert "3 weaker attacks are not drawn" in first.caption and "entropy" not in first.svg
    monkeypatch.setattr(audit_figures, "MOST_ROWS", 10)
    forest = auc_figure(record)
    assert "The 30 least exposed models are not drawn." in forest.caption and "DPSGD" not in forest.svg


def test_no_two_attacks_in_a_panel_look_alike():
    curve = RocCounts(subject="m", attack="", false_positives=(0, 4, 9), true_positives=(3, 6, 8))
    curves = tuple(msgspec.structs.replace(curve, attack=f"a{turn}") for turn in (0, 8, 16, 1, 9, 2, 3, 4))
    unseen = tuple(msgspec.structs.replace(curve, subject="n", attack=f"a{turn}") for turn in range(20))
    figures = roc_figures(msgspec.structs.replace(audit_of(), curves=(*unseen, *curves)))
    figure = next(one for one in figures if one.title.endswith(" m"))
    lines = re.findall(r'style="([^"]*stroke-width: 1.5[^"]*)"', figure.svg)
    assert len({re.search(r"stroke: (#[0-9a-f]{6})", line)[1] for line in lines}) == len(curves)


def test_broken_curves_and_values_that_are_not_finite_are_left_out():
    empty = RocCounts(subject="m", attack="a", false_positives=(), true_positives=())
    nobody = RocCounts(subject="m", attack="b", false_positives=(0, 0), true_positives=(1, 2))
    infinite = Measurement(measure="audited_epsilon", value=float("inf"))
    finding = Finding(id="x", check="canaries", severity="note", title="", subject="m", measured=(infinite,))
    record = AuditRecord(id="", title="", created="", models=(), findings=(finding,), curves=(empty, nobody))
    assert roc_figures(record) == () and auc_figure(record) is None and epsilon_figure(record) is None
    assert "≥ ∞" in Page(audit_html(record)).text


def test_the_same_record_gives_the_same_page():
    whole = example_audit(1, 1)
    record = msgspec.structs.replace(whole, curves=whole.curves[:2], findings=whole.findings[:2])
    assert audit_html(record) == audit_html(record)


def test_colours_have_contrast_on_white():
    for _, colour in SIGNS.values():
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 4.5, colour
    assert len({marker for marker, _ in SIGNS.values()}) == len(SIGNS) == len(set(audit_words.SYMBOLS.values()))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    assert (
        write_audit_html(empty_audit(), tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    )
    with pytest.raises(UsageError, match="cannot be written"):
        write_audit_html(empty_audit(), tmp_path / "nothing" / "a.html")


@pytest.mark.browser
@pytest.mark.long
def test_it_prints_with_page_numbers(tmp_path, source):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("chromium is not installed: apt-get install chromium")
    (tmp_path / "audit.html").write_text(source, encoding="utf-8")
    target = tmp_path / "audit.pdf"
    command = [
        *(chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--no-pdf-header-footer", f"--print-to-pdf={target}", (tmp_path / "audit.html").as_uri()),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=90)
    content = target.read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b", content))
    assert content.startswith(b"%PDF") and 10 <= pages <= 60
