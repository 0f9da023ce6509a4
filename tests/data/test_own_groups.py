"""Groups of features that a user names: a partition, or a line that says what is wrong."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from trustml.data.own_groups import explained_features
from trustml.errors import ScenarioError
from trustml.scenario.groups import GroupMap

TABLE = SimpleNamespace(
    input_shape=(5,), feature_names=("age", "sex", "income"), feature_groups=(0, 1, 1, 1, 2)
)  # sex takes three columns
IMAGE = SimpleNamespace(input_shape=(2, 3, 2), feature_names=(), feature_groups=())


def test_columns_of_all_features_of_a_group_are_one_feature():
    found = explained_features(TABLE, groups=(("income", "sex"), ("age",)))
    np.testing.assert_array_equal(found, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(explained_features(TABLE), TABLE.feature_groups)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((("age", "sex"),), "explanations.groups: leaves out income; name every feature in one group"),
        ((("age", "sex"), ("income", "age")), "explanations.groups.0.0: 'age' is named 2 times; name it in one group"),
        ((("age", "sexx"), ("income",)), "explanations.groups.0.1: 'sexx' names no feature; did you mean 'sex'?"),
    ],
)
def test_what_is_no_partition_is_refused_by_name(groups, message):
    with pytest.raises(ScenarioError) as error:
        explained_features(TABLE, groups=groups)
    assert str(error.value).startswith(message)


def test_an_image_takes_a_map_of_any_numbers(tmp_path):
    places = np.array([[7, 7, 3], [7, 3, 3]])
    np.savez(tmp_path / "map.npz", groups=places, wide=np.zeros((2, 2), np.int64), real=places / 2)
    found = explained_features(IMAGE, groups=GroupMap(path=str(tmp_path / "map.npz")))
    np.testing.assert_array_equal(found, np.repeat((places == 7)[..., None].astype(int), 2, axis=-1))
    for array, told in (("wide", "int64 of shape (2, 2)"), ("real", "float64 of shape (2, 3)")):
        with pytest.raises(ScenarioError, match="give whole numbers of shape") as error:
            explained_features(IMAGE, groups=GroupMap(path=str(tmp_path / "map.npz"), array=array))
        assert told in str(error.value)
    with pytest.raises(ScenarioError, match=r"have none; use GroupMap"):
        explained_features(IMAGE, groups=(("age",),))
