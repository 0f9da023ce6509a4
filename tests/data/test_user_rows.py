"""Rows of users: whose they are, which a step sees, and what fills up."""

from __future__ import annotations

import numpy as np

from trustml.data.dataset import Examples
from trustml.data.user_rows import stacked, user_rows

OWNERS = np.array([1, 0, 1, -1, 1, 2, 0, 1])
USABLE = np.array([True, True, True, True, False, False, True, True])


def test_every_usable_row_is_its_users_and_nobody_elses():
    users = user_rows(OWNERS, USABLE, users=4)
    assert [users.of(user).tolist() for user in range(4)] == [[1, 6], [0, 2, 7], [], []]
    assert users.counts.tolist() == [2, 3, 0, 0]


def test_the_subset_is_drawn_anew_each_step_and_follows_from_no_other_user():
    owners = np.repeat([0, 1], [40, 40])
    users = user_rows(owners, np.ones(80, bool), users=2)
    (alone,) = users.chosen(np.array([1]), most=5, entropy=(7, 3))
    first, beside = users.chosen(np.array([0, 1]), most=5, entropy=(7, 3))
    assert beside.tolist() == alone.tolist() and len(set(alone)) == 5 and set(owners[alone]) == {1}
    assert set(first) != set(alone - 40), "users draw by streams of their own"
    (later,) = users.chosen(np.array([1]), most=5, entropy=(7, 4))
    assert later.tolist() != alone.tolist()
    seen = np.concatenate([users.chosen(np.array([0]), most=5, entropy=(step,))[0] for step in range(200)])
    counts = np.bincount(seen, minlength=40)
    assert counts.min() > 0 and abs(counts - 25).max() < 25, "each row is as likely as any"


def test_rows_that_are_not_there_are_marked_and_hold_numbers():
    for labels, absent in ((np.arange(8), -1), (np.arange(8, dtype=np.float32)[:, None], np.nan)):
        examples = Examples(inputs=np.arange(16, dtype=np.float32).reshape(8, 2), labels=labels)
        inputs, found = stacked(examples, [np.array([1, 6]), np.array([0, 2, 7])], most=3)
        assert inputs.shape == (2, 3, 2) and found.shape == (2, 3, *labels.shape[1:]) and found.dtype == labels.dtype
        np.testing.assert_array_equal(inputs[0], examples.inputs[[1, 6, 1]])
        np.testing.assert_array_equal(found[0].ravel(), [1, 6, absent])
        np.testing.assert_array_equal(found[1].ravel(), [0, 2, 7])


def test_a_batch_of_nobody_has_no_rows():
    examples = Examples(inputs=np.zeros((8, 2), np.float32), labels=np.zeros(8, np.int64))
    inputs, labels = stacked(examples, [], most=3)
    assert inputs.shape == (0, 3, 2) and labels.shape == (0, 3)
