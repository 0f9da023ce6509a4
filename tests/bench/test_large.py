"""Networks of real size are the same work for everybody."""

from __future__ import annotations

import numpy as np
import pytest

from trustml_bench.bars import BARS
from trustml_bench.layered import start
from trustml_bench.workloads import LARGE, Workload, make_batch, make_model, make_own_batch, trained_numbers


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
    assert {bar.above.workload.network for bar in BARS} | {bar.below.workload.network for bar in BARS} >= set(LARGE)


def test_numbers_that_move_are_those_of_the_table_and_of_the_head():
    def moving(network: str) -> int:
        return trained_numbers(Workload(kind="private_step", network=network, size=3))

    assert moving("encoder_64k") - moving("encoder_8k") == 56_000 * 128
    assert moving("resnet20_head") == 64 * 10 + 10


@pytest.mark.torch
def test_a_resnet_is_the_same_function_as_that_of_others():
    from trustml.backends.torch.network import TorchNetwork
    from trustml_bench.engines.torch_network import batch, start

    workload = Workload(kind="plain_step", network="resnet20", size=2)
    theirs = start(workload)(batch(workload)[0]).detach().numpy()
    ours = TorchNetwork(make_model(workload)).logits(make_own_batch(workload)[0])
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.torch
@pytest.mark.long
def test_an_epoch_on_features_is_a_step_of_the_whole_network():
    """One batch, no noise: the head moves as it does when the frozen front is gone through in each step."""
    from trustml_bench.engines import own

    given = {"network": "resnet20_head", "size": 2, "noise_multiplier": 0.0}
    on_features = own.feature_epoch("torch", Workload(kind="feature_epoch", batch_size=2, **given))
    whole = own.private_step("torch", Workload(kind="private_step", **given))
    for work in (on_features, whole):
        work()
    moved, expected = on_features.outcome(), whole.outcome()
    begin = make_model(Workload(kind="private_step", **given)).weights
    assert set(moved) == {"logits.kernel", "logits.bias"}
    for name, array in moved.items():
        step = expected[name] - begin[name]
        np.testing.assert_allclose(array - begin[name], step, atol=1e-4 * np.abs(step).max())
