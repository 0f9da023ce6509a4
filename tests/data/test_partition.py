"""Who holds what, by the properties that each way of splitting promises."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trustml.data.partition import Keyed, draw_clients, label_counts
from trustml.errors import ScenarioError
from trustml.scenario.partition import IID, Dirichlet, NaturalKey, Quantity, Shards

CLASSES = 10
LABELS = np.repeat(np.arange(CLASSES), 200)
TEST_LABELS = np.repeat(np.arange(CLASSES), 40)
SITES = np.array(["north"] * 50 + ["south"] * 30 + ["east"] * 3)
WARDS = np.array((["a", "b"] * 42)[:83])


def drawn(partition, *, labels=LABELS, test_labels=TEST_LABELS, seed=0, keys=None, test_keys=None):
    return draw_clients(
        partition,
        train=Keyed(labels=np.asarray(labels), keys=keys or {}),
        test=Keyed(labels=np.asarray(test_labels), keys=test_keys or keys or {}),
        generator=np.random.default_rng(seed),
        field="training.0.partition",
    )


def by_site(partition, **changes):
    labels = np.arange(83) % 2
    keys = {"site": SITES, "ward": WARDS}
    return drawn(partition, **({"labels": labels, "test_labels": labels, "keys": keys} | changes))


def refused(partition, draw=drawn, **changes) -> str:
    with pytest.raises(ScenarioError) as caught:
        draw(partition, **changes)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("training.0.partition.")
    return str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=120),
    st.integers(1, 12),
    st.sampled_from([IID(), Dirichlet(alpha=1.0), Quantity(alpha=0.3), Shards(per_client=1), Shards(per_client=2)]),
    st.integers(0, 9),
)
def test_every_example_has_exactly_one_owner_and_every_client_an_example(labels, clients, partition, seed):
    least = getattr(partition, "per_client", 1) * clients * (3 if isinstance(partition, Dirichlet) else 1)
    assume(len(labels) >= least)
    partition = msgspec.structs.replace(partition, clients=clients)
    found = drawn(partition, labels=labels, test_labels=labels, seed=seed)
    assert found.owners.shape == (len(labels),) and found.owners.dtype == np.int64
    assert set(found.owners) == set(range(clients)) and found.left_out == 0
    assert found.sizes.sum() == len(labels) and found.sizes.min() >= 1
    assert len(found.names) == len(set(found.names)) == clients
    assert found.held_out.shape == (len(labels),) and set(found.held_out) <= set(range(clients))
    counts = label_counts(found, np.array(labels), classes=4)
    np.testing.assert_array_equal(counts.sum(axis=1), found.sizes)
    np.testing.assert_array_equal(counts.sum(axis=0), np.bincount(labels, minlength=4))


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 5))
def test_sizes_of_uniform_clients_differ_by_one_at_most(examples, clients, seed):
    assume(clients <= examples)
    found = drawn(IID(clients=clients), labels=np.zeros(examples, np.int64), test_labels=[0], seed=seed)
    assert found.sizes.max() - found.sizes.min() <= 1


def test_uniform_clients_are_dealt_their_classes_by_chance():
    counts = label_counts(drawn(IID(clients=20)), LABELS, classes=CLASSES)
    assert 3 <= counts.mean(axis=1).min() and abs(counts - 10).max() < 6 * np.sqrt(10)


def skew(partition) -> float:
    """Largest share of one class, in the mean over clients and draws."""
    shares = []
    for seed in range(5):
        counts = label_counts(drawn(partition, seed=seed), LABELS, classes=CLASSES)
        shares.append((counts.max(axis=1) / counts.sum(axis=1)).mean())
    return float(np.mean(shares))


def test_a_smaller_alpha_skews_labels_more():
    skews = [skew(Dirichlet(clients=10, alpha=alpha)) for alpha in (0.1, 0.5, 5.0, 1e6)]
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.4 and skews[-1] == pytest.approx(0.1, abs=0.01)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.3, 5.0), st.integers(2, 12), st.integers(1, 20), st.integers(0, 9))
def test_dirichlet_clients_have_their_fewest_examples(alpha, clients, minimum, seed):
    found = drawn(Dirichlet(clients=clients, alpha=alpha, minimum=minimum), seed=seed)
    assert found.sizes.min() >= minimum


def test_a_minimum_that_no_draw_reaches_names_alpha_and_a_fix():
    message = refused(Dirichlet(clients=20, alpha=0.01, minimum=9))
    assert message.startswith("training.0.partition.alpha: 0.01 left some client with fewer than 9 examples")
    assert "larger alpha" in message


def test_a_minimum_that_cannot_be_names_the_most_clients():
    assert "use 20 clients or fewer" in refused(Dirichlet(clients=21, minimum=100))
    assert drawn(Quantity(clients=20, minimum=100)).sizes.tolist() == [100] * 20


@settings(max_examples=40)
@given(st.floats(0.05, 100.0), st.integers(1, 30), st.integers(1, 60), st.integers(0, 9))
def test_quantity_skewed_sizes_add_up_and_keep_their_minimum(alpha, clients, minimum, seed):
    found = drawn(Quantity(clients=clients, alpha=alpha, minimum=minimum), seed=seed)
    assert found.sizes.sum() == len(LABELS) and found.sizes.min() >= minimum


def test_quantity_skew_is_of_sizes_and_not_of_labels():
    skewed, even = drawn(Quantity(clients=10, alpha=0.3)), drawn(Quantity(clients=10, alpha=1e4))
    assert skewed.sizes.std() > 10 * even.sizes.std()
    counts = label_counts(skewed, LABELS, classes=CLASSES)
    large = counts[skewed.sizes > 100]
    assert (large.max(axis=1) / large.sum(axis=1)).max() < 0.25


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=30, max_size=200), st.integers(1, 8), st.integers(1, 3))
def test_shards_give_a_client_few_classes(labels, clients, per_client):
    labels = np.array(labels)
    found = drawn(Shards(clients=clients, per_client=per_client), labels=labels, test_labels=labels)
    held = (label_counts(found, labels, classes=6) > 0).sum(axis=1)
    borders = len(np.unique(labels)) - 1
    # A shard holds one class more than it has borders of classes inside, and there are so many borders in all.
    assert held.max() <= per_client + borders
    assert held.sum() <= clients * per_client + borders
    assert found.sizes.max() - found.sizes.min() <= per_client


def test_two_shards_of_one_class_each_are_two_classes_at_most():
    found = drawn(Shards(clients=50, per_client=2))
    assert (label_counts(found, LABELS, classes=CLASSES) > 0).sum(axis=1).max() <= 2
    assert set(found.sizes) == {40}


def test_more_shards_than_examples_are_refused():
    message = refused(Shards(clients=500, per_client=5))
    assert message.startswith("training.0.partition.per_client: 2500 shards are more than the 2000")
    assert "use 4 or fewer" in message


@pytest.mark.parametrize("partition", [IID(clients=2001), Dirichlet(clients=2001), Quantity(clients=2001)])
def test_more_clients_than_examples_are_refused(partition):
    message = refused(partition)
    assert message.startswith("training.0.partition.clients: 2001 clients") and "use 2000 clients or fewer" in message


def test_owners_follow_the_column():
    found = by_site(NaturalKey(columns=("site",)))
    assert set(found.names) == {"north", "south", "east"}
    np.testing.assert_array_equal(np.array(found.names)[found.owners], SITES)
    np.testing.assert_array_equal(found.held_out, found.owners)
    assert sorted(found.sizes) == [3, 30, 50]


def test_several_columns_make_clients_together():
    found = by_site(NaturalKey(columns=("site", "ward")))
    assert len(found.names) == 6
    pairs = {(SITES[i], WARDS[i], found.owners[i]) for i in range(83)}
    assert len(pairs) == 6, "one client for each pair of values"
    assert {found.names[client] for *_, client in pairs} == {f"{site} / {ward}" for site, ward, _ in pairs}


def test_a_minimum_leaves_small_groups_out_and_counts_them():
    found = by_site(NaturalKey(columns=("site",), minimum=10))
    assert found.names == ("north", "south") and found.left_out == 3
    assert (found.owners[SITES == "east"] == -1).all() and (found.held_out[SITES == "east"] == -1).all()
    assert found.sizes.tolist() == [50, 30]
    assert label_counts(found, np.arange(83) % 2, classes=2).sum() == 80


def test_held_out_examples_of_unknown_clients_count_for_nobody():
    strangers = {"site": np.array(["south", "west", "north"])}
    found = by_site(NaturalKey(columns=("site",)), test_labels=[0, 0, 0], test_keys=strangers)
    assert [found.names[client] if client >= 0 else "" for client in found.held_out] == ["south", "", "north"]


@pytest.mark.parametrize(
    ("partition", "keys", "words"),
    [
        (NaturalKey(columns=("ward",)), {"ward": np.array(["x"] * 83)}, ("ward has one value, 'x'", "another column")),
        (NaturalKey(columns=("town",)), None, ("'town' is no key", "choose among site, ward")),
        (NaturalKey(columns=("site",), minimum=40), None, ("1 clients of 40 examples", "smaller minimum")),
        (NaturalKey(columns=("site",), minimum=99), None, ("0 clients of 99 examples", "smaller minimum")),
    ],
)
def test_a_key_that_makes_no_federation_is_one_clear_line(partition, keys, words):
    message = refused(partition, by_site, **({"keys": keys} if keys else {}))
    assert message.startswith("training.0.partition.columns: ")
    assert all(word in message for word in words), message


def test_a_key_that_was_not_declared_says_where_to_name_it():
    assert "name it in data.keys, as keys=('site',)" in refused(NaturalKey(columns=("site",)))


@pytest.mark.parametrize("partition", [IID(clients=7), Dirichlet(clients=7, alpha=0.3), Shards(clients=7)])
def test_held_out_examples_follow_the_label_shares(partition):
    found = drawn(partition, seed=3)
    counts = label_counts(found, LABELS, classes=CLASSES)
    tested = np.bincount(found.held_out * CLASSES + TEST_LABELS, minlength=7 * CLASSES).reshape(7, CLASSES)
    expected = counts / counts.sum(axis=0) * 40
    assert abs(tested - expected).max() <= 1 + 1e-9
    assert (tested[counts == 0] == 0).all()


def test_held_out_examples_are_dealt_without_bias():
    labels, test_labels = np.zeros(10, np.int64), np.zeros(3, np.int64)
    counts = []
    for seed in range(500):
        found = drawn(Quantity(clients=3, alpha=1e6, minimum=1), labels=labels, test_labels=test_labels, seed=seed)
        counts.append(np.bincount(found.held_out, minlength=3) - found.sizes / 10 * 3)
    # Each count is one of two whole numbers around its mean: a deviation of 1/2 at most.
    assert abs(np.mean(counts, axis=0)).max() < 5 * 0.5 / np.sqrt(500)


def test_held_out_examples_of_a_class_that_nobody_holds_count_for_nobody():
    found = drawn(IID(clients=2), labels=[0, 0, 1, 1], test_labels=[0, 2, 1, 2])
    assert (found.held_out >= 0).tolist() == [True, False, True, False]


def test_the_same_seed_is_the_same_partition_and_the_fingerprint_tells():
    first, again, other = drawn(Dirichlet()), drawn(Dirichlet()), drawn(Dirichlet(), seed=1)
    np.testing.assert_array_equal(first.owners, again.owners)
    np.testing.assert_array_equal(first.held_out, again.held_out)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
