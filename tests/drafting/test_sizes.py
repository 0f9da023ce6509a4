"""Rules for sizes, whatever the number of examples."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trustml import DPSGD, FedAvg, Plain
from trustml.drafting.sizes import largest_delta, private_batch, regimes_for

_EXAMPLES = st.integers(2, 10**9)


@given(examples=_EXAMPLES)
def test_delta_is_below_one_over_n_and_batches_are_there(examples):
    assert 0 < largest_delta(examples) <= examples**-1.1 * (1 + 1e-9) < 1 / examples
    assert 1 <= private_batch(examples) <= max(1, examples / 4)


@given(examples=_EXAMPLES)
def test_a_draft_trains_long_enough_and_not_for_ever(examples):
    regimes, notes = regimes_for(examples, clients=None)
    plain, private = regimes[:2]
    assert isinstance(plain, Plain) and isinstance(private, DPSGD)
    assert plain.batch_size <= examples and 2 <= plain.epochs <= 60
    assert private.total_steps(examples) >= 8
    assert len(regimes) == 2 or isinstance(regimes[2], FedAvg)
    assert all(int(name.split(".")[1]) < len(regimes) for name in notes)


def test_figures_of_the_documentation():
    assert [largest_delta(n) for n in (500, 1_438, 26_049, 60_000)] == [1e-3, 1e-4, 1e-5, 1e-6]
    assert [private_batch(n) for n in (100, 1_438, 26_049, 1_000_000)] == [16, 128, 512, 4096]
    epochs = [regimes_for(n, clients=None)[0][2].local_epochs for n in (400, 1_848, 26_049)]
    assert epochs == [5, 4, 1]  # 40 local steps of 16 a round, in five epochs at the most
