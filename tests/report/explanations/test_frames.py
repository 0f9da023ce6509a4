"""What is shown of an explained example: the value of a feature, and the classes it is about."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot

from tests.backends.jax.explained import model_of, request
from trustml.backends.contract import ExplainRequest
from trustml.backends.jax.attribution import explain as explain_in_jax
from trustml.backends.torch.attribution import explain as explain_in_torch
from trustml.catalogue.available import combine_of
from trustml.models.layers import Architecture, Dense
from trustml.report.explanations import frames, selection
from trustml.report.explanations.frames import Classes, ExplainedExample, Panel, features_table
from trustml.report.explanations.picture import save_picture
from trustml.scenario import methods as m
from trustml.scenario.baselines import Background

pytestmark = [pytest.mark.torch, pytest.mark.jax]
GROUPS = (0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 3)
"""A number, a category of eight, a number, a category of two."""
COMPLETE: tuple[m.Method, ...] = (
    m.InputXGradient(),  # of a linear model, from zeros
    m.IntegratedGradients(n_steps=5),
    m.DeepLift(),
    m.DeepLiftShap(background=Background(count=2)),
    m.SmoothGrad(of=m.IntegratedGradients(n_steps=5), n_samples=4, stdev=1e-7),
    m.FeatureAblation(),
    m.ShapleyValueSampling(n_samples=3),
    m.KernelShap(),
    m.Lime(alpha=1e-7),
)


def asked(method: m.Method) -> tuple[ExplainRequest, float]:
    """One row of a table under a linear model, and the change of its logit from a row of zeros."""
    row = np.array([[0.7, 0, 0, 1, 0, 0, 0, 0, 0, -1.2, 0, 1]], np.float32)
    model = model_of(Architecture(layers=(Dense(units=2),)), (12,))
    background = np.zeros((2, 12), np.float32)
    one = request(model, row, method, baseline=0.0, features=np.array(GROUPS), background=background)
    return one, float(row[0].astype(float) @ model.weights["0.kernel"][:, 0].astype(float))


def shown(values: np.ndarray, method: m.Method, *, classes: Classes | None = None) -> ExplainedExample:
    classes = classes or Classes(
        explained="no", explained_probability=0.25, predicted="yes", predicted_probability=0.75, true_probability=0.25
    )
    panel = Panel(
        model="train.jax.Plain.s0",
        library="captum",
        variant="native",
        values=values,
        in_logits=True,
        combine=combine_of(method),
        classes=classes,
    )
    return ExplainedExample(
        run="run",
        method=method.title,
        example=0,
        target="maybe",
        input=np.zeros_like(values),
        feature_names=("age", "work", "hours", "sex") if values.ndim == 1 else (),
        feature_groups=GROUPS if values.ndim == 1 else (),
        panels=(panel,),
    )


@pytest.mark.parametrize("explain", [explain_in_torch, explain_in_jax], ids=["torch", "jax"])
@pytest.mark.parametrize("method", COMPLETE, ids=lambda method: method.title)
def test_shown_values_of_a_linear_model_add_up_to_its_change(explain, method):
    one, change = asked(method)
    found = shown(explain(one)["native"][0], method)
    values = found.by_feature(found.panels[0])
    assert values.shape == (4,)
    # Captum's surrogates: weights of a million in float32, and a lasso that stops at its tolerance.
    assert values.sum() == pytest.approx(change, abs=1e-5 if method.title not in ("KernelShap", "Lime") else 1e-4)
    (told,) = json.loads(json.dumps(found.plain()))["explanations"]
    np.testing.assert_allclose(told["attributions"], values)
    np.testing.assert_array_equal(found.drawn(found.panels[0]), values)


def test_a_pixel_is_drawn_once_whatever_its_channels():
    values = np.full((4, 4, 3), 2.0, np.float32)
    whole, parts = shown(values, m.KernelShap()), shown(values, m.IntegratedGradients())
    np.testing.assert_array_equal(whole.drawn(whole.panels[0]), np.full((4, 4), 2.0))
    np.testing.assert_array_equal(parts.drawn(parts.panels[0]), np.full((4, 4), 6.0))


def test_a_series_lies_on_its_side():
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    found = shown(values, m.IntegratedGradients())
    np.testing.assert_array_equal(found.drawn(found.panels[0]), values.T)


def test_methods_agree_over_features_not_columns(monkeypatch):
    """Both rank the features alike; one gives every column of a category its whole, the other the column that is 1."""
    single = np.array([[0.1, 0, 0, 3, 0, 0, 0, 0, 0, -1, 0, 0.5]], np.float32)
    whole = np.array([[0.1, *[3] * 8, -1, 0.5, 0.5]], np.float32)
    arrays = {"IntegratedGradients": single, "KernelShap": whole}
    job = SimpleNamespace(methods=(m.IntegratedGradients(), m.KernelShap()))
    monkeypatch.setattr(selection, "ExplainJob", SimpleNamespace)
    run = SimpleNamespace(
        manifest=lambda: SimpleNamespace(data=SimpleNamespace(feature_groups=GROUPS)),
        mapped=lambda name: {"inputs": np.zeros((1, 12))},
        job=lambda name: job,
    )
    monkeypatch.setattr(frames, "job_record", lambda manifest, name: SimpleNamespace(id=name))
    monkeypatch.setattr(frames, "methods_done", lambda record: [SimpleNamespace(method=name) for name in arrays])
    monkeypatch.setattr(frames, "variants_of", lambda run, record, title: {"native": arrays[title]})
    found = frames.method_agreement(run, model="train.jax.Plain.s0", backend="jax")
    np.testing.assert_allclose(found.value, 1.0)


def test_the_explained_class_is_named_beside_the_true_and_the_predicted_one(tmp_path, monkeypatch):
    found = shown(np.ones(12, np.float32), m.DeepLift())
    assert found.heading == "DeepLift, example 0: explains no; true class maybe"
    told = found.plain()
    assert (told["target"], told["true_class"]) == ("maybe", "maybe")
    of_one = told["explanations"][0]
    assert (of_one["explained_class"], of_one["predicted_class"]) == ("no", "yes")
    assert [of_one[f"{name}_probability"] for name in ("explained", "predicted", "true")] == [0.25, 0.75, 0.25]
    table = features_table(found)
    assert str(table.title) == found.heading
    assert [str(cell) for cell in table.columns[2].cells] == ["no (p 0.25); predicted yes (p 0.75)"]
    titles = []
    monkeypatch.setattr(pyplot.Figure, "suptitle", lambda figure, text, **settings: titles.append(text))
    save_picture(found, tmp_path / "one.png")
    assert titles[0].startswith(found.heading) and "for the explained class" in titles[0]


@pytest.mark.parametrize("shape", [(12,), (4, 4, 1)], ids=["table", "image"])
def test_a_row_is_named_though_its_first_library_explained_nothing(tmp_path, monkeypatch, shape):
    one = shown(np.ones(shape, np.float32), m.DeepLift())
    (panel,) = one.panels
    other = dataclasses.replace(panel, model="train.jax.Plain.s1", library="another")
    drawn = {}
    monkeypatch.setattr(
        pyplot.Figure,
        "savefig",
        lambda figure, *_, **settings: drawn.update({axis.get_ylabel(): axis.axison for axis in figure.axes}),
    )
    save_picture(dataclasses.replace(one, panels=(panel, other)), tmp_path / "two.png")
    (name,) = [label for label in drawn if label.startswith("jax.Plain.s1")]
    assert drawn[name], "the name of a row goes with its axis"
