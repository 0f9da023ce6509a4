"""Rules: their weights, their degree, and that nested ones are nested."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustml.attribution import quadrature
from trustml.attribution.quadrature import PATTERSON_SIZES, clenshaw_curtis, gauss_legendre, patterson

RULES = {
    "left": (quadrature.left, lambda n: 0),
    "right": (quadrature.right, lambda n: 0),
    "midpoint": (quadrature.midpoint, lambda n: 1),
    "trapezoid": (quadrature.trapezoid, lambda n: 1),
    "gauss_legendre": (quadrature.gauss_legendre, lambda n: 2 * n - 1),
    "clenshaw_curtis": (quadrature.clenshaw_curtis, lambda n: n - 1),
}


@pytest.mark.parametrize("name", RULES)
@given(n=st.integers(2, 40), data=st.data())
@settings(max_examples=40)
def test_a_rule_averages_and_is_exact_up_to_its_degree(name, n, data):
    make, degree = RULES[name]
    rule = make(n)
    assert len(rule.points) == len(rule.weights) == n
    assert rule.weights.sum() == pytest.approx(1, abs=1e-12)
    assert (rule.weights > 0).all()
    assert (np.diff(rule.points) > 0).all() and rule.points[0] >= 0 and rule.points[-1] <= 1
    power = data.draw(st.integers(0, degree(n)))
    assert rule.weights @ rule.points**power == pytest.approx(1 / (power + 1), abs=1e-12)


@pytest.mark.parametrize("n", PATTERSON_SIZES)
def test_patterson_is_exact_beyond_its_points_and_no_further(n):
    rule = patterson(n)
    degree = {3: 5, 7: 11, 15: 23, 31: 47}[n]
    legendre = np.polynomial.legendre.legvander(2 * rule.points - 1, degree + 1).T @ rule.weights
    assert np.abs(legendre[1 : degree + 1]).max() < 1e-12  # as exact in the mean as the polynomials are 0 there
    assert abs(legendre[degree + 1]) > 1e-9
    assert (rule.weights > 0).all() and rule.weights.sum() == pytest.approx(1, abs=1e-12)


def test_nested_rules_hold_the_points_of_the_smaller():
    for small, large in itertools.pairwise(PATTERSON_SIZES):
        assert np.isin(patterson(small).points, patterson(large).points).all()  # to the last bit, to be looked up
    np.testing.assert_allclose(clenshaw_curtis(9).points[::2], clenshaw_curtis(5).points, atol=1e-15)
    np.testing.assert_allclose(patterson(3).points, gauss_legendre(3).points, atol=1e-15)
    np.testing.assert_allclose(patterson(3).weights, gauss_legendre(3).weights, atol=1e-15)


@pytest.mark.parametrize("n", PATTERSON_SIZES)
def test_each_point_lies_well_inside_a_cell_as_long_as_its_weight(n):
    rule = patterson(n)
    ends = np.cumsum(rule.weights)
    places = (rule.points - (ends - rule.weights)) / rule.weights
    assert places.min() > 1 / 12 and places.max() < 11 / 12


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="3, 7, 15, 31 points, not 5"):
        patterson(5)
