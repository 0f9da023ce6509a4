"""A scenario that is written as Python and read again is the same scenario."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trustml
from trustml import DPSGD, SGD, Csv, Dirichlet, FedAvg, Plain, Scenario
from trustml.drafting.python_text import expression, names_in
from trustml.models.layers import Padding
from trustml.models.zoo import mlp, small_cnn
from trustml.scenario.read import read_scenario
from trustml.scenario.ready import ready_scenarios, shipped

_TEXT = st.text(max_size=12)
_FLOAT = st.floats(allow_nan=False, allow_infinity=False)


def evaluated(text: str) -> object:
    names = {name: getattr(trustml, name) for name in dir(trustml)}
    return eval(text, {**names, "Padding": Padding})


# A study is no scenario, and a network of own code is never drafted: nothing but its own file says how it is called.
NOT_DRAFTED = {"privacy_and_explanations", "my_module", "my_lightning", "my_flax"}


@pytest.mark.parametrize("name", [name for name in ready_scenarios() if name not in NOT_DRAFTED])
def test_ready_scenarios_are_written_as_they_are(name):
    scenario = read_scenario(shipped("scenarios") / f"{name}.py")
    assert evaluated(expression(scenario)) == scenario
    assert names_in(scenario) <= set(dir(trustml)) | {"Padding"}


@settings(max_examples=60, deadline=None)
@given(
    path=_TEXT,
    drop=st.lists(_TEXT, max_size=3),
    ranges=st.dictionaries(_TEXT, st.tuples(_FLOAT, _FLOAT), max_size=3),
    categories=st.dictionaries(_TEXT, st.lists(_TEXT, max_size=2).map(tuple), max_size=2),
    notes=st.lists(
        st.sampled_from(["data", "data.drop", "data.path", "training.0", "training.1.optimizer"]), max_size=4
    ),
    note=st.text(alphabet=st.characters(blacklist_categories=("C",)), max_size=200),
)
def test_whatever_texts_and_comments_it_holds(path, drop, ranges, categories, notes, note):
    scenario = Scenario(
        name="x",
        data=Csv(path=path, label="y", drop=tuple(drop), ranges=ranges, categories=categories),
        model=mlp([3], classes=2),
        training=(Plain(), DPSGD(epsilon=1.0), FedAvg(partition=Dirichlet(clients=3), client_optimizer=SGD())),
    )
    text = expression(scenario, comments=dict.fromkeys(notes, note))
    assert evaluated(text) == scenario


def test_what_a_reader_looks_for_is_written_though_it_is_the_default():
    text = expression(DPSGD(epsilon=1.0))
    assert "delta=1e-05" in text and "clipping_norm=1.0" in text and "batch_size=64" in text
    assert "sampling" not in text


def test_another_expression_may_stand_for_a_part():
    scenario = Scenario(name="x", data=trustml.Digits(), model=small_cnn(), training=(Plain(),))
    assert "model=small_cnn()," in expression(scenario, written={"model": "small_cnn()"})
