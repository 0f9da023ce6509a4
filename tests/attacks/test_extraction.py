"""Texts that a model goes on with: one that has them by heart, one that knows their language, one that knows none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from trustml.attacks.extraction import continued, distinct_texts, extracted, long_enough
from trustml.data.dataset import Examples
from trustml.errors import DataError
from trustml.scenario.attacks import Extraction
from trustml.worker.predicting import extract

TOKENS, STEPS, PREFIX, LENGTH = 30, 9, 4, 3


def texts(count, *, seed):
    tokens = np.random.default_rng(seed).integers(1, TOKENS, size=(count, STEPS + 1))
    return tokens[:, :-1].astype(np.float32), tokens[:, 1:]


def by_heart(inputs, labels):
    """Logits of a model that knows what comes after each beginning of these texts, and of others nothing."""
    known = {tuple(row[: step + 1]): next_ for row, ends in zip(inputs, labels, strict=True)
             for step, next_ in enumerate(ends)}  # fmt: skip

    def logits(tokens):
        found = np.zeros((*tokens.shape, TOKENS))
        found[..., 0] = 9.0  # padding, which is no answer
        found[..., 7] = 0.5
        for row, text in enumerate(tokens):
            for step in range(STEPS):
                if tuple(text[: step + 1]) in known:
                    found[row, step, known[tuple(text[: step + 1])]] = 1.0
        return found

    return logits


def test_texts_known_by_heart_come_out_and_others_do_not():
    train, held = texts(70, seed=0), texts(40, seed=1)
    asked = {"prefix": PREFIX, "length": LENGTH}
    own, others = (continued(by_heart(*train), *part, **asked) for part in (train, held))
    np.testing.assert_array_equal(own, LENGTH)
    assert others.max() < LENGTH
    found = extracted(own, others, length=LENGTH)
    assert found.members.low > 0.9 and found.others.value == 0.0 and found.p_value < 1e-20


def test_the_end_of_a_text_comes_out_as_its_middle_does():
    train = texts(5, seed=0)
    whole = continued(by_heart(*train), *train, prefix=PREFIX, length=STEPS + 1 - PREFIX)
    np.testing.assert_array_equal(whole, STEPS + 1 - PREFIX)


def test_nothing_of_the_text_beyond_its_prefix_is_shown():
    """Else a model of nothing but the token before it would be told what it has to say."""
    inputs, labels = texts(20, seed=0)
    seen = []

    def logits(tokens):
        seen.append(tokens.copy())
        return np.zeros((*tokens.shape, TOKENS))

    found = continued(logits, inputs, labels, prefix=PREFIX, length=LENGTH)
    np.testing.assert_array_equal(found[labels[:, PREFIX - 1] != 1], 0)  # always the first token
    for place, tokens in enumerate(seen):
        np.testing.assert_array_equal(tokens[:, :PREFIX], inputs[:, :PREFIX])
        assert (tokens[:, PREFIX : PREFIX + place] == 1).all() and not tokens[:, PREFIX + place :].any()


def test_what_every_text_says_is_no_extraction():
    """A model of the language goes on rightly with held-out texts as well: the control takes that out."""
    inputs, labels = (np.tile(part[:1], (50, 1)) for part in texts(1, seed=0))
    right = continued(by_heart(inputs, labels), inputs, labels, prefix=PREFIX, length=LENGTH)
    found = extracted(right, right, length=LENGTH)
    assert found.members.value == found.others.value == 1.0 and found.p_value == 1.0


def test_texts_that_are_too_short_are_not_called_clean():
    inputs, labels = texts(12, seed=0)
    labels[:5, PREFIX + LENGTH - 2] = 0
    assert len(long_enough(labels, prefix=PREFIX, length=LENGTH)) == 7
    nothing = continued(by_heart(inputs, labels), inputs[:0], labels[:0], prefix=PREFIX, length=LENGTH)
    with pytest.raises(DataError, match="0 training and 12 held-out texts are long enough and distinct, and 10 of"):
        extracted(nothing, np.zeros(12), length=LENGTH)


def test_a_model_that_gives_no_numbers_is_not_called_clean():
    inputs, labels = texts(12, seed=0)

    def broken(tokens):
        logits = by_heart(inputs, labels)(tokens)
        logits[1, PREFIX] = np.nan
        return logits

    right = continued(broken, inputs, labels, prefix=PREFIX, length=LENGTH)
    assert right.tolist() == [LENGTH, -1, *[LENGTH] * 10]
    for sides in ((right, np.zeros(12)), (np.zeros(12), right)):
        with pytest.raises(DataError, match="of 1 texts what the model answers is not finite"):
            extracted(*sides, length=LENGTH)


def test_copies_of_a_text_are_one_question_and_those_of_both_sets_are_none():
    """Else twenty copies of one text that is guessed would be twenty findings."""
    train, held = texts(12, seed=0), texts(12, seed=1)
    own = [
        np.concatenate([part, np.tile(part[:1], (20, 1)), other[5:7]]) for part, other in zip(train, held, strict=True)
    ]
    own[1][20:25, -1] = 29  # alike as far as they are asked
    own[1][3, PREFIX] = 0  # too short
    found = distinct_texts(tuple(own), held, prefix=PREFIX, length=LENGTH)
    np.testing.assert_array_equal(found[0], [n for n in range(12) if n != 3])
    np.testing.assert_array_equal(found[1], [n for n in range(12) if n not in (5, 6)])


def test_a_network_is_asked_for_distinct_texts():
    train, held = texts(12, seed=0), texts(12, seed=1)
    many = Examples(inputs=np.tile(train[0], (3, 1)), labels=np.tile(train[1], (3, 1)))
    network = SimpleNamespace(logits=by_heart(*train))
    asked = Extraction(prefix=PREFIX, length=LENGTH, texts=40)
    found = extract(network, many, Examples(inputs=held[0], labels=held[1]), asked=asked)
    np.testing.assert_array_equal(found["train_right"], np.full(12, LENGTH))
    assert len(found["test_right"]) == 12
