"""A torch module of somebody's own code: what it must keep to, and its clipped sums held against one at a time."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from torch.nn import functional

from tests.own_code import torch_networks
from trustml.backends.contract import ExplainRequest, Model
from trustml.backends.settings import PrivateSettings
from trustml.backends.torch.attribution import explain
from trustml.backends.torch.dp import OpacusTrainer
from trustml.backends.torch.native import look_at
from trustml.backends.torch.network import TorchNetwork
from trustml.errors import UsageError
from trustml.models.layers import Architecture, NativeModule
from trustml.models.native import trusting_code
from trustml.models.shapes import weight_shapes
from trustml.scenario.methods import Saliency
from trustml.scenario.optimizers import SGD

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:Full backward hook is firing")]
FOLDER = str(Path(__file__).parents[2] / "own_code")
SHAPE = (8, 8, 1)


@pytest.fixture(autouse=True)
def trusted():
    with trusting_code():
        yield


def layer_of(name):
    return NativeModule(backend="torch", module=f"torch_networks:{name}", folder=FOLDER)


def model_of(name, *, factor=1.0):
    found = look_at(layer_of(name), SHAPE, (0,))
    parameters = tuple((key, array.shape) for key, array in found.weights[0].items())
    layer = NativeModule(
        backend="torch", module=f"torch_networks:{name}", folder=FOLDER, parameters=parameters, outputs=found.outputs
    )
    weights = {key: factor * array for key, array in found.weights[0].items()}
    return Model(architecture=Architecture(layers=(layer,)), input_shape=SHAPE, weights=weights)


def settings_of(**other):
    return PrivateSettings(optimizer=SGD(), expected_batch_size=4, noise_seed=(1, 2, 3, 4), **other)


def batch(count=5):
    generator = np.random.default_rng(3)
    return generator.normal(0, 1, (count, *SHAPE)).astype(np.float32), generator.integers(0, 10, count)


def by_hand(kind, model, inputs, labels, clipping_norm, *, of=None):
    """Clipped sum by plain PyTorch, one example after the other, in float64."""
    module = kind().double()
    if any(isinstance(one, torch.nn.LazyLinear) for one in module.modules()):
        module(torch.zeros(1, 1, 8, 8, dtype=torch.float64))
    module.load_state_dict({key: torch.from_numpy(array.astype(np.float64)) for key, array in model.weights.items()})
    total = {key: np.zeros(array.shape) for key, array in model.weights.items()}
    for image, label in zip(inputs, labels, strict=True):
        module.zero_grad()
        outputs = module(torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None])
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        functional.cross_entropy(outputs, torch.tensor([int(label)])).backward()
        gradient = {key: value.grad.numpy() for key, value in module.named_parameters() if key in (of or total)}
        norm = np.sqrt(sum((part**2).sum() for part in gradient.values()))
        for key, part in gradient.items():
            total[key] += part * min(1.0, clipping_norm / norm)
    return total


KINDS = [torch_networks.Scaled, torch_networks.Twice, torch_networks.Tupled, torch_networks.Viewed]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clipping_norm", [0.5, 100.0])
def test_the_clipped_sum_is_that_of_examples_one_by_one(kind, clipping_norm):
    model, (inputs, labels) = model_of(kind.__name__, factor=2.0), batch()
    trainer = OpacusTrainer(model, settings=settings_of(), dropout_seed=0)
    trainer.accumulate(inputs[:, None], labels, clipping_norm=clipping_norm)
    expected = by_hand(kind, model, inputs, labels, clipping_norm)
    for key, part in trainer.clipped_sum().items():
        assert np.abs(part - expected[key]).max() <= 1e-5 * clipping_norm, (key, trainer.choice)


def test_what_is_frozen_has_no_gradient_no_noise_and_no_part_in_the_norm():
    model, (inputs, labels) = model_of("Scaled", factor=2.0), batch()
    tuned = replace(model, frozen=frozenset({"scale", "conv.weight", "conv.bias"}))
    trainer = OpacusTrainer(tuned, settings=settings_of(), dropout_seed=0)
    trainer.accumulate(inputs[:, None], labels, clipping_norm=0.5)
    expected = by_hand(torch_networks.Scaled, model, inputs, labels, 0.5, of=tuned.trained)
    sums = trainer.clipped_sum()
    assert list(sums) == ["head.weight", "head.bias"]
    for key, part in sums.items():
        assert np.abs(part - expected[key]).max() <= 5e-6, (key, trainer.choice)
    trainer.update(clipping_norm=0.5, noise_multiplier=1.0, learning_rate=0.1)
    for key, array in trainer.weights().items():
        assert np.array_equal(array, model.weights[key]) == (key in tuned.frozen)


@pytest.mark.parametrize("mode", ["hooks", "functorch", "book_keeping"])
def test_a_way_that_sees_whole_batches_is_neither_chosen_nor_taken_when_it_is_asked_for(mode):
    model = model_of("Twice")
    assert set(OpacusTrainer(model, settings=settings_of(), dropout_seed=0).choice.seconds) <= {"vmap", "one by one"}
    with pytest.raises(UsageError, match=rf"execution.grad_sample_mode: '{mode}' (sees|knows) .*; use auto$"):
        OpacusTrainer(model, settings=settings_of(grad_sample_mode=mode), dropout_seed=0)


def test_batches_of_any_size_are_clipped_one_by_one_where_examples_mix_in_large_ones_alone():
    model, (inputs, labels) = model_of("Crowded"), batch(24)
    trainer = OpacusTrainer(model, settings=settings_of(), dropout_seed=0)
    trainer.accumulate(inputs[:, None], labels, clipping_norm=0.5)
    expected = by_hand(torch_networks.Crowded, model, inputs, labels, 0.5)
    for key, part in trainer.clipped_sum().items():
        assert np.abs(part - expected[key]).max() <= 1e-5, (key, trainer.choice)


def test_an_example_moves_a_sum_by_one_clipping_norm_where_large_values_alone_would_mix():
    model, (inputs, labels) = model_of("Guarded"), batch(24)
    sums = []
    for count in (23, 24):
        trainer = OpacusTrainer(model, settings=settings_of(), dropout_seed=0)
        inputs[23] = 1e3
        trainer.accumulate(inputs[:count, None], labels[:count], clipping_norm=0.5)
        sums.append(trainer.clipped_sum())
    moved = np.sqrt(sum(((sums[1][key] - sums[0][key]) ** 2).sum() for key in sums[0]))
    assert moved <= 0.5 * (1 + 1e-5), trainer.choice


def test_weights_keep_their_own_names_and_go_in_and_out_as_they_are():
    model = model_of("Scaled")
    assert list(model.weights) == ["scale", "conv.weight", "conv.bias", "head.weight", "head.bias"]
    assert weight_shapes(model.architecture, SHAPE)["conv.weight"] == (3, 1, 3, 3)
    trainer = OpacusTrainer(model, settings=settings_of(), dropout_seed=0)
    for key, array in trainer.weights().items():
        assert np.array_equal(array, model.weights[key])


@pytest.mark.parametrize("kind", [torch_networks.Scaled, torch_networks.Viewed])
def test_predictions_and_gradients_are_the_networks_own(kind):
    model, (inputs, labels) = model_of(kind.__name__), batch()
    own = kind()
    own.load_state_dict({key: torch.from_numpy(array) for key, array in model.weights.items()})
    images = torch.from_numpy(inputs.reshape(-1, 1, 8, 8)).requires_grad_()
    outputs = own(images)
    outputs.gather(1, torch.from_numpy(labels)[:, None]).sum().backward()
    network = TorchNetwork(model)
    np.testing.assert_allclose(network.logits(inputs), outputs.detach().numpy(), atol=1e-6)
    expected = images.grad.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(network.input_gradients(inputs, labels), expected, atol=1e-6)
    asked = ExplainRequest(
        model=model, inputs=inputs, targets=labels, method=Saliency(), baseline=np.zeros_like(inputs),
        background=inputs[:0], features=np.arange(64).reshape(SHAPE), layer=-1, seed=0,
    )  # fmt: skip
    saliency = explain(asked)["native"]
    np.testing.assert_allclose(saliency, np.abs(expected), atol=1e-6)


@pytest.mark.parametrize(
    "name, layer",
    [
        ("batch_norm", "1 (BatchNorm2d)"),
        ("batch_statistics", "1 (BatchNorm2d)"),
        ("Centred", "body (Linear)"),
        ("Scaled", ""),
        ("dropped", ""),
    ],
)
def test_a_layer_by_which_examples_mix_is_named_and_dropout_is_none(name, layer):
    assert look_at(layer_of(name), SHAPE, (0,)).mixes == layer


@pytest.mark.parametrize(
    "name, moves",
    [
        ("batch_norm", ("1.running_mean", "1.running_var", "1.num_batches_tracked")),
        ("spectral", ("1.parametrizations.weight.0._u", "1.parametrizations.weight.0._v")),
        ("Scaled", ()),
    ],
)
def test_what_moves_and_is_no_weight_is_found(name, moves):
    assert set(look_at(layer_of(name), SHAPE, (0,)).moves) == set(moves)


def test_dropout_draws_and_seeds_draw_other_weights():
    assert look_at(layer_of("dropped"), SHAPE, (0,)).draws
    found = look_at(layer_of("Scaled"), SHAPE, (0, 1, 0))
    assert not found.draws
    assert not np.array_equal(found.weights[0]["head.weight"], found.weights[1]["head.weight"])
    assert np.array_equal(found.weights[0]["head.weight"], found.weights[2]["head.weight"])


@pytest.mark.parametrize(
    "name, said",
    [
        ("frozen", "1.weight does not train (requires_grad=False)"),
        ("Drawn", "buffer features is drawn anew each time"),
        ("nothing", "torch_networks:nothing gives int; return a torch.nn.Module"),
        ("absent", "has nothing to call that is named 'absent'"),
        ("Late", "head.weight is made when it is called, and would be neither trained nor stored"),
        ("Written", "body.bias is written to when it is called"),
        ("Remembering", "it keeps something of the batch before"),
        ("Complex", "turn is torch.complex64; hold its real and imaginary parts"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(name, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        look_at(layer_of(name), SHAPE, (0, 1))


def test_code_that_changed_is_not_run():
    model = model_of("Scaled")
    layer = replace_code(model, "0" * 64)
    with pytest.raises(UsageError, match="is no longer the code that the run was prepared with"):
        TorchNetwork(replace(model, architecture=Architecture(layers=(layer,))))


def replace_code(model, code):
    import msgspec

    return msgspec.structs.replace(model.architecture.layers[0], code=code)
