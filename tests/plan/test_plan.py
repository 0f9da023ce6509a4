"""A scenario comes to the jobs it should, and jobs hold no secrets."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tests import WHOLE
from tests.privacy.test_accounting import block, epsilon_of
from trustml.data.batches import batches_in_turn, make_plan
from trustml.errors import ScenarioError
from trustml.plan.attacking import why_no_shadows
from trustml.plan.expand import Inputs, expand
from trustml.plan.job import AblatedSteps, Mechanism, decode_job, digest, encode_job, explain_id, job_needs, train_id
from trustml.plan.mechanism import joint_noise, make_charge, next_attempt, plan_mechanism, stock_mechanism
from trustml.plan.support import training_support
from trustml.privacy import accounting
from trustml.privacy.noise_strategy import noise_strategy
from trustml.scenario.attacks import Attacks, GradientInversion, ModelInversion
from trustml.scenario.clipping import Adaptive
from trustml.scenario.federated import BandedMatrix, BufferedToeplitz, TreeAggregation
from trustml.scenario.read import from_plain, to_plain
from trustml.scenario.regimes import DPSGD, Ablation, Plain
from trustml.scenario.spec import Explanations


def expanded(tiny, **changes):
    scenario = from_plain(to_plain(tiny) | changes)
    return expand(
        scenario,
        input_shape=(8, 8, 1),
        files=Inputs(data="private/data.npz", examples="h.npz", baselines="b.npz", data_fingerprint="f"),
        mechanisms={},
    )


def robust(tiny) -> list[dict]:
    """The regimes of `tiny`, with an aggregation that only TensorFlow Federated has."""
    *others, federated = to_plain(tiny)["training"]
    return [*others, federated | {"aggregation": "robust"}]


def test_every_cell_is_a_job_or_a_reason(tiny):
    expansion = expanded(tiny, seeds=[0, 1], training=robust(tiny))
    assert len(expansion.train) == 7 * 2
    assert {(s.backend, s.regime) for s in expansion.skips} == {("torch", "FedAvg"), ("jax", "FedAvg")}
    assert all(skip.reason for skip in expansion.skips)
    assert len({job.id for job in expansion.jobs}) == len(expansion.jobs)


@pytest.mark.parametrize(("scope", "count"), [("own", 9), ("reference", 11), ("all", 27)])
def test_the_scope_of_explanations(tiny, scope, count):
    explanations = msgspec.to_builtins(Explanations(scope=scope))
    expansion = expanded(tiny, explanations=explanations)
    assert len(expansion.explain) == count
    trained = {job.id for job in expansion.train}
    assert {need for job in expansion.explain for need in job_needs(job)} == trained
    reference = {job.backend for job in expansion.explain if job.subject == train_id("torch", "Plain", 0)}
    assert reference == ({"torch"} if scope == "own" else {"torch", "jax", "tensorflow"})


def test_methods_that_do_not_fit_are_left_out_by_name_and_others_go_on(tiny):
    explanations = {
        "methods": [
            {"kind": "IntegratedGradients", "baseline": 0.5},
            {"kind": "GradCam", "layer": 6},
            {"kind": "LRP"},
            {"kind": "Saliency"},
        ]
    }
    expansion = expanded(tiny, explanations=explanations)
    reasons = {(skip.backend, skip.method): skip.reason for skip in expansion.skips if skip.method}
    assert "zero baseline built in" in reasons["tensorflow", "IntegratedGradients"]
    assert "name a convolution" in reasons["torch", "GradCam"]
    assert ("tensorflow", "LRP") in reasons and ("jax", "LRP") not in reasons
    done = {job.backend: [method.title for method in job.methods] for job in expansion.explain}
    assert done["torch"] == ["IntegratedGradients", "LRP", "Saliency", "RandomControl"]
    assert done["tensorflow"] == ["Saliency", "RandomControl"]


def test_a_control_waits_for_the_model_whose_accuracy_it_stops_at(tiny):
    regimes = [*robust(tiny), {"kind": "Plain", "name": "Stopped", "stop_at": "FedAvg"}]
    expansion = expanded(tiny, training=regimes)
    needs = {job.id: job_needs(job) for job in expansion.train if isinstance(job.regime, Plain)}
    assert needs["train.tensorflow.Stopped.s0"] == ("train.tensorflow.FedAvg.s0",)
    assert needs["train.tensorflow.Plain.s0"] == ()
    missing = [skip for skip in expansion.skips if skip.regime == "Stopped"]
    assert {skip.backend for skip in missing} == {"torch", "jax"}
    assert all("FedAvg" in skip.reason for skip in missing)


def test_an_ablation_takes_the_steps_of_its_regime_and_is_attacked_without_shadows(tiny):
    ablated = Plain(name="Noisy", ablation=Ablation(of="DPSGD", keeps="noise"))
    scenario = msgspec.structs.replace(tiny, training=(Plain(), tiny.training[1], ablated))
    steps = Mechanism(
        noise_multiplier=1.7, clipping_norm=1.0, sample_rate=0.1, expected_batch_size=64, examples=640,
        sampling="poisson", secret_sampling=True, largest_participation=20, total_steps=20, steps=20,
    )  # fmt: skip
    expansion = expand(
        scenario,
        input_shape=(8, 8, 1),
        files=Inputs(data="private/data.npz", examples="h.npz", baselines="b.npz", data_fingerprint="f"),
        mechanisms={("DPSGD", 0, backend): steps for backend in scenario.backends},
    )
    jobs = [job for job in expansion.train if job.regime == ablated]
    assert [job.ablated for job in jobs] == [AblatedSteps(regime=tiny.training[1], noise_multiplier=1.7)] * 3
    assert all(decode_job(encode_job(job)) == job and job.mechanism is None for job in jobs)
    assert all(training_support(b, ablated) == training_support(b, tiny.training[1]) for b in scenario.backends)
    assert "ablation" in why_no_shadows(ablated) and not why_no_shadows(Plain())


def test_updates_are_of_clients_and_not_of_users_that_a_key_names(tiny):
    keyed = [DPSGD(noise_multiplier=1.0, key="person", name=unit, unit=unit) for unit in ("example", "user")]
    attacks = Attacks(gradient_inversion=GradientInversion(), model_inversion=ModelInversion())
    training = [*to_plain(tiny)["training"], *map(msgspec.to_builtins, keyed)]
    expansion = expanded(tiny, training=training, attacks=msgspec.to_builtins(attacks))
    assert {job.regime.title for job in expansion.train if job.clients} == {"FedAvg", "example", "user"}
    found = [job for job in expansion.attack if job.inversion is not None]
    assert {job.subject for job in found} == {job.id for job in expansion.train}
    assert {job.regime.title for job in found if job.gradients is not None or job.clients} == {"FedAvg"}


def test_jobs_travel_and_keep_their_digest(tiny):
    for job in expanded(tiny).jobs:
        assert decode_job(encode_job(job)) == job
        assert digest(decode_job(encode_job(job))) == digest(job)
    assert explain_id("jax", "train.torch.Plain.s0") == "explain.jax.of.torch.Plain.s0"


def plan_of(steps: int, participation: int):
    batches = [np.array([0])] * participation + [np.array([1])] * (steps - participation)
    return make_plan(batches)


def test_a_mechanism_meets_its_target_with_and_without_secret_batches():
    regime = DPSGD(epsilon=3.0, epochs=2, batch_size=50)
    plan = plan_of(40, 7)
    secret = plan_mechanism(regime, field="f", examples=1000, plan=plan)
    assert (secret.steps, secret.sample_rate, secret.expected_batch_size) == (40, 0.05, 50)
    assert secret.secret_sampling and secret.largest_participation == 40, "tells nothing of who was drawn"
    public = plan_mechanism(
        DPSGD(epsilon=3.0, epochs=2, batch_size=50, sampling_seed=1), field="f", examples=1000, plan=plan
    )
    assert not public.secret_sampling and public.largest_participation == 33
    assert public.noise_multiplier > secret.noise_multiplier, "what amplification gave must be paid with noise"


def test_another_attempt_gets_what_is_left_of_the_budget():
    regime = DPSGD(epsilon=3.0, epochs=2, batch_size=50)
    plan = plan_of(40, 7)
    mechanism = plan_mechanism(regime, field="f", examples=1000, plan=plan)
    spent = [block(noise_multiplier=mechanism.noise_multiplier, sample_rate=0.05, end_step=20)]
    left = next_attempt(mechanism, spent, regime, plan=plan_of(20, 3), start_step=20, allow_overrun=False)
    assert (left.attempt, left.start_step, left.steps) == (2, 20, 20), "a checkpoint leaves less to be done"
    again = next_attempt(mechanism, spent, regime, plan=plan, start_step=0, allow_overrun=False)
    assert (again.attempt, again.steps) == (2, 20)
    whole = next_attempt(mechanism, spent, regime, plan=plan, start_step=0, allow_overrun=True)
    assert whole.steps == 40
    over = block(noise_multiplier=mechanism.noise_multiplier, sample_rate=0.05, end_step=40, plan="b")
    assert epsilon_of([*spent, over], delta=1e-5) > 3.0


@pytest.mark.parametrize("mechanism", [TreeAggregation(), BandedMatrix(), BufferedToeplitz()])
def test_correlated_noise_meets_its_target_as_one_charge_and_fits_whole_or_not_at_all(mechanism):
    regime = DPSGD(epsilon=3.0, epochs=4, batch_size=50, sampling="in turn", mechanism=mechanism)
    plan = batches_in_turn(1000, steps=80, batch_size=50, generator=np.random.default_rng(1))
    made = plan_mechanism(regime, field="f", examples=1000, plan=plan)
    assert (made.steps, made.separation, made.steps_per_charge) == (80, 20, 80)
    charge = make_charge(made, first=0, end=80, plan="p", data="d", block=made.largest_participation)
    assert charge.relation == "zero out one"
    assert 0.99 * 3.0 < epsilon_of([charge], delta=1e-5) <= 3.0
    in_turn = DPSGD(epsilon=3.0, epochs=4, batch_size=50, sampling="in turn")
    alone = plan_mechanism(in_turn, field="f", examples=1000, plan=plan)
    assert (alone.largest_participation, alone.noise, alone.steps_per_charge) == (4, "independent", 20)
    if not isinstance(mechanism, TreeAggregation):
        assert made.noise_multiplier == alone.noise_multiplier, "scaled so that both cost the same"
    rest = batches_in_turn(1000, steps=70, batch_size=50, generator=np.random.default_rng(2))
    left = next_attempt(made, [charge], regime, plan=rest, start_step=10, allow_overrun=False)
    assert (left.attempt, left.start_step, left.steps) == (2, 10, 0), "nothing is left once it is charged"
    over = next_attempt(made, [charge], regime, plan=rest, start_step=10, allow_overrun=True)
    needed = noise_strategy(mechanism, steps=70, separation=20).participation
    assert (over.steps, over.largest_participation) == (70, needed)


def test_adaptive_clipping_shares_its_noise_between_gradient_and_count():
    regime = DPSGD(noise_multiplier=1.0, clipping=Adaptive(count_noise=2.0), batch_size=50)
    mechanism = plan_mechanism(regime, field="f", examples=1000, plan=plan_of(400, 9))
    assert mechanism.count_noise == 2.0
    assert mechanism.noise_multiplier**-2 + (2 * mechanism.count_noise) ** -2 == pytest.approx(1.0)
    assert mechanism.noise_multiplier > 1.0 and joint_noise(mechanism) == pytest.approx(1.0)
    with pytest.raises(ScenarioError, match=r"f\.clipping\.count_noise: 0\.5 spends the whole"):
        plan_mechanism(
            DPSGD(noise_multiplier=1.0, clipping=Adaptive(count_noise=0.5)),
            field="f",
            examples=1000,
            plan=plan_of(9, 1),
        )


@pytest.mark.parametrize("sampling", ["poisson", "shuffle", "fixed", "in turn"])
def test_a_target_is_met_with_every_sampling(monkeypatch, sampling):
    if not WHOLE:  # with all of them calibration for a fixed size takes half a minute
        monkeypatch.setattr(accounting, "RDP_ORDERS", tuple(range(2, 25)))
    regime = DPSGD(epsilon=4.0, epochs=3, batch_size=100, sampling=sampling)
    told = 3 if sampling in ("shuffle", "in turn") else None
    plan = plan_of(30, 3) if told is None else make_plan([np.arange(n, n + 1) for n in range(10)] * 3)
    mechanism = plan_mechanism(regime, field="f", examples=1000, plan=plan)
    entry = make_charge(mechanism, first=0, end=30, plan="p", data="d", block=told)
    assert 3.95 < epsilon_of([entry], delta=regime.delta) <= 4.0 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("backend", "sampling", "rate"), [("torch", "poisson", 1 / 11), ("tensorflow", "shuffle", 0.1)]
)
def test_a_stock_engine_is_accounted_as_its_library_samples(backend, sampling, rate):
    regime = DPSGD(epsilon=5.0, epochs=2, batch_size=100, engine="stock")
    examples = 1000 if backend == "tensorflow" else 1001
    mechanism = stock_mechanism(regime, backend, field="f", examples=examples)
    assert (mechanism.sampling, mechanism.sample_rate) == (sampling, pytest.approx(rate))
