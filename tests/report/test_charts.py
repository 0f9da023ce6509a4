"""Every chart of a page: colours for white and for dark pages, legends of what is drawn, every name beside its bar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from tests.auditing.test_run_wording import statement
from tests.report.test_figures import rows, sides
from trustml.privacy.statement import PrivacyCurve, PrivacyStatement
from trustml.report import figures
from trustml.report.accuracy import figures as accuracy
from trustml.report.accuracy.examples import projection_points
from trustml.report.accuracy.learning import learning_lines
from trustml.report.attacks import figures as attacks
from trustml.report.explanations import figures as explanations
from trustml.report.explanations.dependence import dependence_lines
from trustml.report.federated import figures as federated
from trustml.report.federated.partition import partition_bars
from trustml.report.privacy import figures as privacy
from trustml.report.speed import figures as speed
from trustml.report.speed.usage import usage_lines

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # altair's own

BACKGROUNDS = ("#ffffff", "#191816")
LEAST_CONTRAST = 2.0
"""Of a mark against the page: WCAG asks 3 of what must be told apart; colours of regimes stand beside their names."""
REGIMES = [f"regime {number}" for number in range(len(figures.REGIME_COLOURS))]
ON_CELLS = ("white", "black")
"""Words for labels on cells of their own colour."""


def by_round(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"regime": REGIMES, "backend": "jax", "seed": 0, "round": 1, **columns})


def charts(stated: PrivacyStatement) -> Iterator[Any]:
    """Each chart of the pages once, of eight regimes in one framework."""
    value = [0.5] * len(REGIMES)
    of_regimes = rows(*({"regime": name, "backend": "jax"} for name in REGIMES))
    epsilon = {"measure": "epsilon", "privacy_unit": "example", "backend": "jax"}
    yield figures.accuracy_points(of_regimes)
    yield from figures.privacy_accuracy(rows({"backend": "jax"}, epsilon))
    yield from speed.measure_bars(rows({"measure": "step_time_median", "backend": "jax"}), "step_time_median")
    yield privacy.epsilon_by_steps(stated)
    models = {"model": "m", "attack": REGIMES, "auc": value, "low": value, "high": value, "note": ""}
    yield attacks.auc_by_regime(pd.DataFrame({"regime": REGIMES, **models}))
    yield attacks.roc_log_log(
        pd.DataFrame({"attack": REGIMES, "false_positive_rate": value, "true_positive_rate": value})
    )
    rates = {"curve": REGIMES, **dict.fromkeys(("threshold", "false_positives", "recall", "precision"), value)}
    yield accuracy.roc_curves(pd.DataFrame(rates), title="ROC")
    yield accuracy.precision_recall(pd.DataFrame(rates), title="precision and recall")
    names = ("audited", "estimate", "claim", "ceiling", "attainable", "attainable_low", "attainable_high")
    audit = {"audit": ["one", "two"], "violation": [True, False], "note": "", **dict.fromkeys(names, 1.0)}
    yield attacks.audited_epsilons(pd.DataFrame(audit))
    yield federated.accuracy_by_round(
        by_round(accuracy=value), targets=pd.DataFrame({"regime": REGIMES, "target": 0.5}), order=REGIMES
    )
    yield from federated.client_spread(by_round(mean=value, tenth=value, best=value), order=REGIMES)
    yield from federated.participants_by_round(by_round(asked=value, participants=value), order=REGIMES)
    yield federated.norm_by_round(by_round(norm=value), "norm", title="norm", order=REGIMES)
    yield federated.bytes_by_regime(rows({"measure": "bytes_up"}, {"measure": "bytes_down"}))
    curves = {"models": "m", "delta": 1e-5, "whole": False, "epsilon": value}
    yield federated.user_epsilon(by_round(**curves), order=REGIMES)
    yield from partition_bars(np.ones((70, 2), int), names=["x"] * 70, labels=["no", "yes"])
    agreement = {"measure": "attribution_agreement_spearman", **sides("a", "b"), "pair": "same weights"}
    yield explanations.agreement_matrix(rows(agreement), job="j", method="")
    complete = {"measure": "attribution_completeness_error", "kind": "explain", "model": "j", "backend": "jax"}
    yield explanations.completeness_points(rows(complete), job="j")
    yield explanations.feature_bars(np.arange(40.0), title="t", limit=1.0, names=[f"feature {i}" for i in range(40)])
    yield explanations.effects_forest(rows({"measure": "explanation_effect", "backend": "jax"}), method="")
    yield explanations.method_matrix(pd.DataFrame({"first": ["a"], "second": ["b"], "value": [0.5]}))
    learned = {"regime": REGIMES, "backend": "jax", "by": "step", "step": 1, "score": value, "loss": value, "seeds": 1}
    yield from learning_lines(pd.DataFrame(learned), of="loss", score="accuracy")
    yield from usage_lines(pd.DataFrame({"backend": "jax", "seconds": [0.0, 1.0], "cores": 1.0, "memory": 2.0}))
    plane = {"example": 0, "first": value, "second": value, "true": REGIMES, "answered": REGIMES, "answer": "wrong"}
    yield projection_points(pd.DataFrame(plane), title="outputs")
    varied = {"example": [0, 0], "value": [1.0, 2.0], "answer": 0.5, "mean": 0.5}
    yield dependence_lines(pd.DataFrame(varied), feature="age", answer="predicted")
    removed = {"method": ["a", "random"], "share": 0.5, "probability": 0.5, "control": [False, True]}
    yield explanations.removal_curves(pd.DataFrame(removed), title="deletion")


@pytest.fixture(scope="module")
def specifications() -> list[dict[str, Any]]:
    curve = PrivacyCurve(steps=(1, 2), poisson=(0.5, 1.0), shuffle_lower=(None, 1.0), unamplified=(1.0, 2.0))
    return [chart.to_dict() for chart in charts(replace(statement(low=None, high=1.0), curve=curve))]


def parts(spec: Any) -> Iterator[dict[str, Any]]:
    """Give every object in a specification, without the data."""
    if isinstance(spec, dict):
        yield spec
        for name, part in spec.items():
            if name != "datasets":
                yield from parts(part)
    elif isinstance(spec, list):
        for part in spec:
            yield from parts(part)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_every_colour_can_be_seen_on_a_white_page_and_on_a_dark_one(specifications):
    seen = set()
    for spec in specifications:
        for part in parts(spec):
            for name in ("color", "fill", "stroke"):
                seen |= {part[name]} if isinstance(part.get(name), str) else set()
            seen |= {one for one in part.get("range", ()) if isinstance(one, str) and one.startswith("#")}
            if part.get("value") and "condition" in part:
                either = (part["value"], part["condition"]["value"])  # sizes and opacities too
                seen |= {one for one in either if isinstance(one, str)} - set(ON_CELLS)
            mark = part.get("mark")
            if (
                mark == "rule"
                or mark == "text"
                or (isinstance(mark, dict) and mark["type"] in ("rule", "text", "tick"))
            ):
                coloured = isinstance(mark, dict) and "color" in mark
                assert coloured or "color" in part["encoding"], f"{part['encoding']} is black, whatever the page is"
    assert len(seen) > 15
    assert all(re.fullmatch("#[0-9A-Fa-f]{6}", one) for one in seen), seen
    faint = {(one, page) for one in seen for page in BACKGROUNDS if contrast(one, page) < LEAST_CONTRAST}
    assert not faint


def test_legends_name_the_frameworks_that_are_drawn_alone(specifications):
    found = [
        part["scale"]["domain"]
        for spec in specifications
        for part in parts(spec)
        if part.get("field") == "backend" and "scale" in part
    ]
    assert len(found) > 10
    assert all(set(domain) <= {"jax", "torch"} and len(domain) == 1 for domain in found)


def test_legends_of_names_stand_over_or_below_the_chart(specifications):
    legends = [part["legend"] for spec in specifications for part in parts(spec) if part.get("legend")]
    assert len(legends) > 15
    for legend in legends:
        assert legend["orient"] in ("top", "bottom")
        longest = max(map(len, legend["values"]))
        assert legend["columns"] == 1 or legend["columns"] * (longest + 6) <= 72


SAID_BY = {"backend": "cell", "label": "short"}
"""A field that another one has in it."""


def test_colour_never_tells_anything_alone(specifications):
    asked = 0
    for spec in specifications:
        drawn = [(channel, one) for part in parts(spec) for channel, one in part.items() if isinstance(one, dict)]
        said = {one.get("field") for channel, one in drawn if channel != "color"}
        coloured = {one["field"] for channel, one in drawn if channel == "color" and one.get("type") == "nominal"}
        assert all(field in said or SAID_BY.get(field) in said for field in coloured), (coloured, said)
        asked += len(coloured)
    assert asked > 15


def test_sixty_four_names_look_different():
    names = [str(number) for number in range(64)]
    for other in (figures.named_dash, figures.named_shape):
        looks = [one("a", names, legend=None).to_dict()["scale"]["range"] for one in (figures.named_colour, other)]
        assert len(set(map(str, zip(*looks, strict=True)))) == 64
        assert len(set(map(str, looks[1][:8]))) == 8


def test_no_name_beside_a_mark_is_left_out(specifications):
    axes = [
        part[channel]
        for spec in specifications
        for part in parts(spec)
        for channel in ("x", "y")
        if isinstance(part.get(channel), dict) and part[channel].get("type") == "nominal"
    ]
    assert len(axes) > 10
    assert all(one["axis"]["labelOverlap"] is False for one in axes)


def test_no_chart_has_a_width_that_a_small_screen_cannot_hold(specifications):
    for spec in specifications:
        assert not {"hconcat", "vconcat", "concat", "facet"} & set(spec)
        assert spec.get("width", 0) in (0, "container") or spec["width"] <= 240


def test_what_no_entry_knows_is_drawn_in_ink():
    scale = figures.backend_colour(["elsewhere", "jax"]).to_dict()["scale"]
    assert scale["domain"] == ["jax", "elsewhere"]
    assert scale["range"][1] == figures.INK


def test_passes_tell_of_an_error_only_where_one_was_asked_for():
    row = {"measure": "explain_passes", "method": "IntegratedGradients", "subject": "captum"}
    (chart,) = speed.measure_bars(rows(row), "explain_passes")
    assert "error" not in str(chart.to_dict())
    (chart,) = speed.measure_bars(rows({**row, "facts": '{"wanted_error":0.01}'}), "explain_passes")
    assert "at the completeness error asked for (0.01)" in str(chart.to_dict())
