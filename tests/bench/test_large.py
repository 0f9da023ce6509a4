"""Networks of real size are the same work for everybody."""

from __future__ import annotations

import numpy as np
import pytest

from trustml_bench.bars import BARS
from trustml_bench.layered import start
from trustml_bench.workloads import LARGE, Workload, make_batch, make_model, make_own_batch


@pytest.mark.parametrize("network", ["resnet20", "encoder"])
def test_ours_and_that_of_others_have_as_many_weights_and_the_same_inputs(network):
    workload = Workload(kind="private_step", network=network, size=3)
    own, others = make_model(workload).weights, start(network)
    assert sum(one.size for one in own.values()) == sum(one.size for one in others.values())
    assert (
        sorted(one.size for one in own.values() if one.ndim > 1)[-3:]
        == sorted(one.size for one in others.values() if one.ndim > 1)[-3:]
        or network == "encoder"
    )  # which holds queries, keys and values in one
    (ours, labels), (theirs, same) = make_own_batch(workload), make_batch(workload)
    np.testing.assert_array_equal(labels, same)
    theirs = theirs.transpose(0, 2, 3, 1) if theirs.ndim == 4 else np.maximum(theirs, 1)
    np.testing.assert_array_equal(ours, theirs)


def test_pairs_move_and_what_they_are_beside_does_not():
    model = make_model(Workload(kind="private_step", network="encoder_lora", size=3))
    moving = sum(model.weights[name].size for name in model.trained)
    assert {"tokens.table", "block0.attention.query.kernel"} <= model.frozen
    assert 0.01 < moving / sum(one.size for one in model.weights.values()) < 0.1


def test_every_network_of_real_size_has_bars():
    assert {bar.above.workload.network for bar in BARS} >= set(LARGE)
