"""Sensitivity of tree aggregation, against the matrix that it stands for and against dp-accounting."""

from __future__ import annotations

import math

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustml.privacy.noise_strategy import tree_squared_sensitivity


def complete_nodes(rounds: int) -> np.ndarray:
    """One row for each node of the tree that is complete, one column for each round."""
    rows, size = [], 1
    while size <= rounds:
        for start in range(0, rounds - size + 1, size):
            row = np.zeros(rounds, np.int64)
            row[start : start + size] = 1
            rows.append(row)
        size *= 2
    return np.array(rows)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 40), st.integers(1, 45))
def test_it_is_the_largest_norm_of_the_node_matrix_times_a_participation(rounds, separation):
    nodes = complete_nodes(rounds)
    found = []
    for first in range(rounds):
        taken = np.zeros(rounds, np.int64)
        taken[first::separation] = 1
        found.append(int(((nodes @ taken) ** 2).sum()))
    assert tree_squared_sensitivity(rounds=rounds, separation=separation) == max(found)


@settings(max_examples=40)
@given(st.integers(1, 1000))
def test_a_client_that_comes_once_adds_to_one_node_a_level(rounds):
    found = tree_squared_sensitivity(rounds=rounds, separation=rounds)
    assert found == math.floor(math.log2(rounds)) + 1


@given(st.integers(1, 200), st.integers(1, 50))
def test_coming_less_often_or_for_fewer_rounds_never_costs_more(rounds, separation):
    found = tree_squared_sensitivity(rounds=rounds, separation=separation)
    assert found >= -(-rounds // separation), "the leaves alone are as many as its visits"
    assert tree_squared_sensitivity(rounds=rounds + 1, separation=separation) >= found
    assert tree_squared_sensitivity(rounds=rounds, separation=rounds) <= found


def test_values_by_hand():
    assert tree_squared_sensitivity(rounds=4, separation=1) == 4 + 2 * 4 + 16
    assert tree_squared_sensitivity(rounds=4, separation=2) == 2 + 2 + 4
    assert tree_squared_sensitivity(rounds=3, separation=1) == 3 + 4, "the last leaf has no complete node above it"


@pytest.mark.parametrize("rounds", [1, 2, 3, 7, 8, 100, 1000])
def test_one_visit_costs_what_dp_accounting_says_of_a_single_epoch(rounds):
    orders = [2, 8, 32]

    def renyi(event):
        accountant = dp_accounting.rdp.RdpAccountant(orders, dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
        return accountant.compose(event)._rdp

    squared = tree_squared_sensitivity(rounds=rounds, separation=rounds)
    tree = renyi(dp_accounting.SingleEpochTreeAggregationDpEvent(3.0, rounds))
    gaussian = renyi(dp_accounting.GaussianDpEvent(3.0 / math.sqrt(squared)))
    np.testing.assert_allclose(tree, gaussian)
