"""What shadow models are given, and the job that trains them, from its files to its file."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustml.backends.table import load_backend
from trustml.data.batches import make_plan
from trustml.errors import RecordError
from trustml.models.zoo import mlp
from trustml.plan.job import Mechanism, ShadowJob
from trustml.record.files import encode_arrays, read_arrays, write_atomic
from trustml.scenario.federated import DPFedAvg, FedAvg
from trustml.scenario.optimizers import SGD, Schedule
from trustml.scenario.partition import PoissonCohort
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.spec import Execution
from trustml.worker.clock import Clock
from trustml.worker.job_context import JobContext, Progress
from trustml.worker.shadow_plans import draw_models, padded
from trustml.worker.shadows import learning_rates, train_shadows

POOL, TRAINED, MODELS, CLIENTS = 40, 25, 4, 5
GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.normal(size=(POOL, 6)).astype(np.float32)
LABELS = GENERATOR.integers(0, 3, POOL)
MEMBERS = np.stack([np.isin(np.arange(POOL), GENERATOR.permutation(POOL)[:TRAINED]) for _ in range(MODELS)])
OWNERS = np.full(MEMBERS.shape, -1)
for _row, _held in zip(MEMBERS, OWNERS, strict=True):
    _held[np.flatnonzero(_row)[:-2]] = np.arange(TRAINED - 2) % CLIENTS  # two members belong to nobody


def mechanism_of(**numbers) -> Mechanism:
    fixed = {"sampling": "poisson", "secret_sampling": True, "largest_participation": 1, "examples": TRAINED}
    return Mechanism(noise_multiplier=1.0, clipping_norm=1.0, expected_batch_size=5, **(fixed | numbers))


def job_of(regime, *, mechanism=None, seed=0, clients="") -> ShadowJob:
    return ShadowJob(
        id="shadow.jax.Plain",
        backend="jax",
        model=mlp([4], classes=3),
        input_shape=(6,),
        execution=Execution(),
        regime=regime,
        mechanism=mechanism,
        seed=seed,
        data="private/data.npz",
        members="private/attacks/members.npz",
        clients=clients,
        output="private/attacks/shadow.npz",
    )


def drawn(job: ShadowJob, *, inputs=INPUTS):
    return draw_models(job, inputs, LABELS, members=MEMBERS, owners=OWNERS)


def test_every_plain_model_sees_its_members_once_an_epoch_in_an_order_of_its_own():
    models = drawn(job_of(Plain(epochs=3, batch_size=10)))
    assert models.rows.shape == (MODELS, 9, 10)
    for members, rows in zip(MEMBERS, models.rows, strict=True):
        assert [(row >= 0).sum() for row in rows] == [10, 10, 5] * 3
        for epoch in range(3):
            seen = rows[3 * epoch : 3 * epoch + 3]
            assert sorted(seen[seen >= 0]) == list(np.flatnonzero(members))
        assert not np.array_equal(rows[:3], rows[3:6])
    assert (models.labels == LABELS).all()
    for array in (models.weights["0.kernel"], models.noise_seeds, models.dropout_seeds):
        assert len(np.unique(array.reshape(MODELS, -1), axis=0)) == MODELS


def test_draws_follow_the_seed_and_the_model_alone():
    regime = Plain(epochs=1, batch_size=10)
    one, again, other = (drawn(job_of(regime, seed=seed)) for seed in (1, 1, 2))
    fewer = draw_models(job_of(regime, seed=1), INPUTS, LABELS, members=MEMBERS[:2], owners=None)
    assert np.array_equal(one.rows, again.rows) and not np.array_equal(one.rows, other.rows)
    assert np.array_equal(one.rows[:2], fewer.rows)
    assert np.array_equal(one.weights["0.kernel"][:2], fewer.weights["0.kernel"])
    assert not np.array_equal(one.weights["0.kernel"], other.weights["0.kernel"])


def test_random_labels_are_permuted_among_the_members_of_each_model():
    models = drawn(job_of(Plain(epochs=1, random_labels=True)))
    for members, taught in zip(MEMBERS, models.labels, strict=True):
        assert (taught[~members] == LABELS[~members]).all()
        assert sorted(taught[members]) == sorted(LABELS[members]) and (taught != LABELS).any()


@pytest.mark.parametrize("sampling", ["poisson", "fixed", "shuffle", "in turn"])
def test_private_batches_follow_the_regimes_sampling_and_leave_out_what_is_not_finite(sampling):
    steps = 400
    broken = INPUTS.copy()
    broken[np.flatnonzero(MEMBERS[0])[0]] = np.nan
    mechanism = mechanism_of(sample_rate=0.2, total_steps=2 * steps, steps=steps, sampling=sampling)
    regime = DPSGD(steps=2 * steps, batch_size=5, sampling=sampling, schedule=Schedule(decay="linear"))
    job = job_of(regime, mechanism=mechanism)
    models = drawn(job, inputs=broken)
    assert models.rows.shape[:2] == (MODELS, steps)  # those that the mechanism pays for
    rates = learning_rates(job, steps=steps)
    assert rates[0] == np.float32(0.1) and 0.45 < rates[-1] / rates[0] < 0.55
    for members, rows in zip(MEMBERS, models.rows, strict=True):
        usable = members & np.isfinite(broken).all(axis=1)
        seen = np.bincount(rows[rows >= 0], minlength=POOL)
        assert not seen[~usable].any()
        # Each of 25 members is in a batch with probability 1/5: 80 +- 8 of 400.
        assert seen[usable].min() > 40 and seen[usable].max() < 120
        sizes = (rows >= 0).sum(axis=1)
        if sampling == "poisson":
            assert len(set(sizes)) > 5
        else:
            assert sizes.max() == 5
    assert (models.rows >= 0).any(axis=(0, 1)).all()  # no room that no batch needs


COHORT = PoissonCohort(clients=2)


@pytest.mark.parametrize(
    "regime",
    [
        FedAvg(rounds=6, local_epochs=2, batch_size=3, cohort=COHORT),
        DPFedAvg(rounds=6, batch_size=3, cohort=COHORT),
    ],
)
def test_federated_rows_hold_whole_clients_one_after_the_other(regime):
    private = isinstance(regime, DPFedAvg)
    mechanism = mechanism_of(sample_rate=0.4, total_steps=6, steps=4, unit="user") if private else None
    job = job_of(regime, mechanism=mechanism)
    models = drawn(job)
    rounds = 4 if private else 6
    visits = models.visits
    assert models.rows.shape[:2] == (MODELS, rounds) and visits.weights.shape == models.rows.shape[:3]
    for model in range(MODELS):
        for rows, weights, clients in zip(
            models.rows[model], visits.weights[model], visits.clients[model], strict=True
        ):
            ends = np.flatnonzero(weights >= 0)
            assert len(ends) == clients
            cohort = []
            for first, end in zip([0, *(ends + 1)], ends, strict=False):
                seen = rows[first : end + 1]
                seen = seen[seen >= 0]
                (owner,) = set(OWNERS[model][seen])
                assert sorted(seen) == sorted(np.repeat(np.flatnonzero(OWNERS[model] == owner), regime.local_epochs))
                assert weights[end] == (1 if private else len(seen))
                cohort.append(owner)
            assert len(set(cohort)) == len(cohort) and -1 not in cohort
            assert (rows[ends[-1] + 1 if len(ends) else 0 :] == -1).all()
    assert len(np.unique(visits.clients)) > 2


@given(st.lists(st.lists(st.lists(st.integers(0, 99), max_size=6), min_size=2, max_size=2), min_size=1, max_size=4))
def test_no_batch_is_cut(batches):
    plans = [make_plan([np.array(batch, np.int64) for batch in model]) for model in batches]
    rows = padded([(plan, np.array([2, 0])) for plan in plans], slots=3)
    for model, found in zip(batches, rows, strict=True):
        assert [list(row[row >= 0]) for row in found] == [model[1], [], model[0]]


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "jobs" / "shadow"
    folder.mkdir(parents=True)
    data = {"train_inputs": INPUTS[:TRAINED], "train_labels": LABELS[:TRAINED]}
    data |= {"test_inputs": INPUTS[TRAINED:], "test_labels": LABELS[TRAINED:]}
    write_atomic(tmp_path / "private" / "data.npz", encode_arrays(data))
    return JobContext(
        root=tmp_path, folder=folder, clock=Clock(lambda: None), progress=Progress(folder / "events.jsonl")
    )


def write_members(place: JobContext, **arrays) -> None:
    write_atomic(place.root / "private" / "attacks" / "members.npz", encode_arrays(arrays))


@pytest.mark.jax
def test_a_shadow_job_writes_private_logits_and_tells_only_counts(place):
    job = job_of(Plain(epochs=8, batch_size=8, optimizer=SGD(learning_rate=0.3)))
    write_members(place, members=MEMBERS)
    assert train_shadows(job, load_backend("jax"), at=place) == "trustml on JAX"
    logits = read_arrays(place.root / job.output)["logits"]
    assert logits.dtype == np.float32 and logits.shape == (MODELS, POOL, 3)
    assert (place.root / job.output).stat().st_mode & 0o077 == 0
    right = logits.argmax(axis=2) == LABELS
    assert right[MEMBERS].mean() > right[~MEMBERS].mean() + 0.1  # labels are noise: only members can be known
    assert {"draw", "compile", "train"} <= set(place.clock.stages)
    events = (place.folder / "events.jsonl").read_text()
    assert f'"step":{MODELS},"steps":{MODELS}' in events
    diverging = job_of(Plain(epochs=8, optimizer=SGD(learning_rate=1e30)))
    with pytest.raises(FloatingPointError, match="4 of 4 shadow models diverged"):
        train_shadows(diverging, load_backend("jax"), at=place)


def test_a_backend_without_shadow_models_says_who_has_them(place):
    job = msgspec.structs.replace(job_of(Plain()), backend="torch")
    with pytest.raises(NotImplementedError, match="torch does not train shadow models; jax does"):
        train_shadows(job, load_backend("torch"), at=place)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"members": MEMBERS[:, 1:]}, "not bool of shape"),
        ({"members": MEMBERS.astype(np.int64)}, "not bool of shape"),
        ({}, "not bool of shape"),
        ({"members": np.vstack([MEMBERS, np.ones((1, POOL), bool)])}, "25 to 40 members"),
        ({"members": np.zeros((2, POOL), bool)}, "0 to 0 members"),
        ({"members": MEMBERS, "owners": np.zeros(MEMBERS.shape, np.int64)}, "not in their model"),
    ],
)
def test_members_that_do_not_fit_are_named(place, arrays, message):
    write_members(place, **arrays)
    with pytest.raises(RecordError, match=message):
        train_shadows(job_of(Plain()), load_backend("jax"), at=place)


def test_a_federated_job_without_owners_is_refused(place):
    write_members(place, members=MEMBERS)
    with pytest.raises(RecordError, match="no owners"):
        train_shadows(job_of(FedAvg()), load_backend("jax"), at=place)
