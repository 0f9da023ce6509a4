"""What a guarantee rests on is decided by facts of the record, never by the words of a note."""

from __future__ import annotations

import itertools
import typing

import msgspec
import pytest

from trustml.data.preparation import Categories, Classes, Preparation, Scaled
from trustml.measures.assumptions import preprocessing_assumption
from trustml.record.schema import DataRecord


@pytest.mark.parametrize(
    ("preparation", "status", "words"),
    [
        (Preparation(scaling="public constants", categories="none", classes="public"), "met", "public constants"),
        (Preparation(scaling="none", categories="declared", classes="public"), "met", "as they are"),
        (Preparation(scaling="none", categories="of the data", classes="public"), "not met", "taken from the data"),
        (Preparation(scaling="training statistics", categories="none", classes="public"), "not met", "mean and dev"),
        (
            Preparation(scaling="declared constants", categories="none", classes="public"),
            "not checked",
            "constants given by the user",
        ),
        (Preparation(scaling="none", categories="none", classes="of the data"), "not checked", "the labels hold"),
        (Preparation(), "not checked", "does not say"),
    ],
)
def test_the_preprocessing_is_judged_by_its_fields(preparation, status, words):
    found = preprocessing_assumption(preparation)
    assert found.status == status and words in found.why


def test_the_worst_point_decides():
    worst = {"training statistics", "of the data"}
    for scaling, categories, classes in itertools.product(*map(typing.get_args, (Scaled, Categories, Classes))):
        found = preprocessing_assumption(Preparation(scaling=scaling, categories=categories, classes=classes))
        assert (found.status == "not met") == bool({scaling, categories} & worst)
        if "unknown" in (scaling, categories, classes):
            assert found.status != "met"
        assert found.why


def test_a_record_of_an_earlier_version_is_unknown_whatever_its_notes_say():
    old = (
        b'{"fingerprint":"0","train_examples":1,"test_examples":1,"input_shape":[1],"class_names":["a","b"],'
        b'"notes":["training statistics"]}'
    )
    record = msgspec.json.decode(old, type=DataRecord)
    assert preprocessing_assumption(record.preparation).status == "not checked"
