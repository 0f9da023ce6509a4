"""The ledger beside a Trainer of Lightning's: a step is charged before it is seen, and what is none is refused."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest

pytest.importorskip("opacus")
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler

from trustml.backends.torch.lightning import PoissonLoader, StepLedger, ledger_callback
from trustml.errors import PrivacyError
from trustml.privacy.accounting import epsilon_of
from trustml.privacy.ledger import Charge, read_ledger

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:Full backward hook is firing")]


def private_optimizer(network, *, noise_multiplier=1.0):
    sgd = torch.optim.SGD(network.parameters(), lr=0.1)
    return DPOptimizer(sgd, noise_multiplier=noise_multiplier, max_grad_norm=0.7, expected_batch_size=8)


def examples(count=40):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (count,), generator=generator)
    return TensorDataset(torch.randn(count, 5, generator=generator), labels)


def trainer_of(loader=None, optimizer=None, **other):
    fields = {
        "accumulate_grad_batches": 1,
        "precision": "32-true",
        "world_size": 1,
        "optimizers": [optimizer or private_optimizer(nn.Linear(5, 3))],
        "train_dataloader": loader or DataLoader(examples(), batch_size=8, shuffle=True),
        "lightning_module": SimpleNamespace(automatic_optimization=True),
        "callbacks": [],
        "global_step": 0,
        "training": True,
    }
    return SimpleNamespace(**fields | other)


@pytest.mark.parametrize(
    "other, said",
    [
        ({"accumulate_grad_batches": 4}, "accumulate_grad_batches: 4 makes one step of several batches"),
        ({"precision": "16-mixed"}, "precision: '16-mixed' scales or rounds gradients"),
        ({"precision": "bf16-true"}, "precision: 'bf16-true' scales or rounds gradients"),
        ({"world_size": 2}, r"devices, num_nodes: 2 processes .*\(DDP\); use 1"),
        ({"optimizers": [torch.optim.SGD([nn.Parameter(torch.ones(1))])]}, "optimizer: SGD adds no noise"),
        ({"optimizers": [private_optimizer(nn.Linear(5, 3), noise_multiplier=0.0)]}, "noise_multiplier 0.0 adds none"),
        ({"optimizers": [1, 2]}, "optimizers: 2 take steps of their own"),
        ({"optimizers": [type("DPOptimizer", (), {})()]}, "optimizer: DPOptimizer adds no noise that is known"),
        ({"lightning_module": SimpleNamespace(automatic_optimization=False)}, "automatic_optimization: False may make"),
        ({"global_step": 3}, "ckpt_path: 3 steps were taken, and ledger.jsonl has 0"),
        ({"callbacks": [type("Mine", (type("LearningRateFinder", (), {}),), {})()]}, "LearningRateFinder .* trains on"),
        ({"callbacks": [type("BatchSizeFinder", (), {})()]}, "BatchSizeFinder .* trains on the data before the ledger"),
    ],
)
def test_what_makes_a_step_another_than_the_charged_one_is_refused_by_name(other, said, tmp_path):
    with pytest.raises(PrivacyError, match=said):
        StepLedger(tmp_path / "ledger.jsonl", data="mine").check(trainer_of(**other))


def test_a_step_of_several_batches_and_a_sampler_that_draws_twice_are_refused(tmp_path):
    ledger, data = StepLedger(tmp_path / "ledger.jsonl", data="mine"), examples()
    optimizer = private_optimizer(nn.Linear(5, 3))
    for named, twice in (
        ("RandomSampler", {"batch_size": 8, "sampler": RandomSampler(data, replacement=True)}),
        ("RandomSampler", {"batch_size": 32, "sampler": RandomSampler(data, num_samples=80)}),
        ("list", {"batch_sampler": [[0] * 8] * 5}),
        ("WeightedRandomSampler", {"batch_sampler": BatchSampler(WeightedRandomSampler([1.0] * 40, 40), 8, False)}),
        ("DataLoader", {"batch_size": None}),
    ):
        with pytest.raises(PrivacyError, match=f"its {named} may take an example twice"):
            ledger.charge(trainer_of(DataLoader(data, **twice), optimizer), optimizer)
    optimizer.signal_skip_step(do_skip=True)
    with pytest.raises(PrivacyError, match="BatchMemoryManager"):
        ledger.charge(trainer_of(optimizer=optimizer), optimizer)
    assert read_ledger(ledger.path) == []


def test_epsilon_is_amplified_where_the_loader_is_ours_and_nowhere_else(tmp_path):
    data, found = examples(), {}
    for name, loader in (
        ("theirs", DataLoader(data, batch_size=8, shuffle=True)),
        ("ours", PoissonLoader(data, batch_size=8, steps=5)),
    ):
        ledger = StepLedger(tmp_path / name, data="mine")
        optimizer = private_optimizer(nn.Linear(5, 3))
        for _ in range(6):
            ledger.charge(trainer_of(loader, optimizer), optimizer)
        charges = read_ledger(ledger.path)
        assert [(one.first_step, one.end_step) for one in charges] == [(step, step + 1) for step in range(6)]
        assert {(one.noise_multiplier, one.clipping_norm, one.coordinates) for one in charges} == {(1.0, 0.7, 18)}
        found[name] = ledger.epsilon(1e-5).value, charges
    theirs, ours = found["theirs"][1][0], found["ours"][1][0]
    assert (theirs.sampling, theirs.secret_sampling, theirs.sample_rate) == ("unknown", False, 1.0)
    assert (ours.sampling, ours.secret_sampling, ours.sample_rate) == ("poisson", True, 8 / 40)
    whole = Charge(**{f: getattr(theirs, f) for f in theirs.__struct_fields__} | {"end_step": 6, "participation": 6})
    assert found["theirs"][0] == pytest.approx(epsilon_of([whole], delta=1e-5).value)
    assert found["ours"][0] < 0.7 * found["theirs"][0]


def test_a_ledger_that_goes_on_is_another_attempt_of_the_same_mechanism(tmp_path):
    optimizer = private_optimizer(nn.Linear(5, 3))
    for _ in range(2):
        StepLedger(tmp_path / "one", data="mine").charge(trainer_of(optimizer=optimizer), optimizer)
    assert [one.attempt for one in read_ledger(tmp_path / "one")] == [1, 2]
    with pytest.raises(PrivacyError, match="data was 'mine' and is now 'yours'"):
        StepLedger(tmp_path / "one", data="yours").charge(trainer_of(optimizer=optimizer), optimizer)


def test_poisson_batches_are_new_in_every_epoch_may_be_empty_and_have_the_stated_mean():
    data = examples(400)
    loader = PoissonLoader(data, batch_size=2, steps=300)
    sizes = [[len(labels) for _, labels in loader] for _ in range(2)]
    assert sizes[0] != sizes[1] and 0 in sizes[0]
    assert sum(map(sum, sizes)) / 600 == pytest.approx(2, abs=6 * (2 / 600) ** 0.5)
    empty = next(batch for batch in loader if not len(batch[1]))
    assert empty[0].shape == (0, 5) and empty[1].dtype == torch.int64
    with pytest.raises(PrivacyError, match="batch_size: 401 is not among 1 to 400"):
        PoissonLoader(data, batch_size=401, steps=1)


def watched(path, **other):
    """A network with a gradient, its optimizer, and the ledger that watches it."""
    network = GradSampleModule(nn.Linear(5, 3))
    optimizer, ledger = private_optimizer(network), StepLedger(path, data="mine")
    ledger.watch(trainer_of(optimizer=optimizer, **other))
    backward(network)
    return network, optimizer, ledger


def backward(network):
    inputs, labels = examples().tensors
    nn.functional.cross_entropy(network(inputs[:8]), labels[:8]).backward()


def test_a_step_that_nobody_announces_is_charged_before_its_noise_is_drawn(tmp_path, monkeypatch):
    seen = []
    draw = DPOptimizer.add_noise
    monkeypatch.setattr(DPOptimizer, "add_noise", lambda self: (seen.append(len(read_ledger(path))), draw(self)))
    path = tmp_path / "ledger"
    network, optimizer, ledger = watched(path)
    ledger.watch(ledger._trainer)  # asked twice, it charges once
    optimizer.step()
    assert seen == [1] and len(read_ledger(path)) == 1
    optimizer.zero_grad()
    backward(network)
    before = network._module.weight.detach().clone()
    with pytest.raises(PrivacyError, match="a step beside that of DPOptimizer has no noise"):
        optimizer.original_optimizer.step()
    assert torch.equal(before, network._module.weight) and len(read_ledger(path)) == 1


def test_a_step_of_several_backward_passes_or_outside_of_fit_changes_nothing(tmp_path):
    network, optimizer, ledger = watched(tmp_path / "two")
    before = network._module.weight.detach().clone()
    backward(network)
    with pytest.raises(PrivacyError, match="one step of several backward passes"):
        optimizer.step()
    _, optimizer, outside = watched(tmp_path / "outside", training=False)
    with pytest.raises(PrivacyError, match="a step outside of the training that fit makes"):
        optimizer.step()
    assert torch.equal(before, network._module.weight)
    assert read_ledger(ledger.path) == read_ledger(outside.path) == []


def test_noise_follows_from_no_seed_and_a_generator_that_is_given_is_refused(tmp_path):
    drawn = []
    for name in ("one", "two"):
        torch.manual_seed(42)  # as by seed_everything
        _, optimizer, _ = watched(tmp_path / name)
        optimizer.step()
        drawn.append(torch.cat([p.grad.flatten() - p.summed_grad.flatten() / 8 for p in optimizer.params]))
    assert (drawn[0] - drawn[1]).abs().max() > 1e-3
    given = private_optimizer(nn.Linear(5, 3))
    given.generator = torch.Generator().manual_seed(1)
    with pytest.raises(PrivacyError, match="a generator of its own may be seeded"):
        StepLedger(tmp_path / "three", data="mine").check(trainer_of(optimizer=given))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ours", [True, False])
def test_a_trainer_charges_each_step_it_takes(ours, tmp_path):
    lightning = pytest.importorskip("lightning")

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = GradSampleModule(nn.Linear(5, 3))
            self.seen = []

        def training_step(self, batch, _):
            self.seen.append(len(read_ledger(path)))
            return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            return private_optimizer(self.network)

    path, data = tmp_path / "ledger.jsonl", examples()
    loader = PoissonLoader(data, batch_size=8, steps=4) if ours else DataLoader(data, batch_size=10, shuffle=True)
    options = {"max_epochs": 2, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    options |= {"accelerator": "cpu", "devices": 1, "enable_model_summary": False, "default_root_dir": tmp_path}
    model, ledger = Classifier(), StepLedger(path, data="mine")
    before = model.network._module.weight.detach().clone()
    lightning.Trainer(**options, callbacks=[ledger_callback(ledger)]).fit(model, loader)
    assert len(read_ledger(path)) == 8 and model.seen == list(range(8))
    assert not torch.equal(before, model.network._module.weight)
    assert {one.sampling for one in read_ledger(path)} == {"poisson" if ours else "unknown"}
    with pytest.raises(PrivacyError, match="accumulate_grad_batches: 2"):
        refused = lightning.Trainer(**options, accumulate_grad_batches=2, callbacks=[ledger_callback(ledger)])
        refused.fit(Classifier(), loader)
    steps = len(read_ledger(path))
    finder = importlib.import_module("lightning.pytorch.callbacks").LearningRateFinder(num_training_steps=2)
    with pytest.raises(PrivacyError, match="callbacks: LearningRateFinder"):
        lightning.Trainer(**options, callbacks=[finder, ledger_callback(ledger)]).fit(Classifier(), loader)
    trainer = lightning.Trainer(**options, callbacks=[ledger_callback(ledger)])
    trainer.fit(Classifier(), loader)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert len(read_ledger(path)) == steps + 8
    path = tmp_path / "empty.jsonl"
    more = lightning.Trainer(**options | {"max_epochs": 3}, callbacks=[ledger_callback(StepLedger(path, data="mine"))])
    with pytest.raises(PrivacyError, match=r"ckpt_path: 8 steps were taken, and empty\.jsonl has 0"):
        more.fit(Classifier(), loader, ckpt_path=tmp_path / "last.ckpt")
