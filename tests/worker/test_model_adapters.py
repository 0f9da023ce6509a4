"""What the worker of a stranger's model answers where it cannot."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from trustml.worker.model_adapters import _answered, _FileModel


def test_what_a_file_cannot_be_asked_is_said_in_our_own_words():
    """Such as a TensorFlow Lite file with its gradient, whose weights nobody reaches: an audit tells it as it is."""
    file = _FileModel(SimpleNamespace(gradients=True, logits=lambda inputs: inputs))
    inputs = np.ones((2, 3), np.float32)
    assert not file.shuffles
    np.testing.assert_array_equal(_answered(file, {"inputs": inputs, "seed": np.array(-1)})["outputs"], inputs)
    found = _answered(file, {"inputs": inputs, "seed": np.array(0)})
    assert str(found["problem"]) == "the weights of such a file cannot be shuffled"


def test_an_error_of_the_model_itself_keeps_its_name():
    def fails(inputs):
        raise ValueError("two rows at the most\nand more")

    found = _answered(
        _FileModel(SimpleNamespace(gradients=False, logits=fails)), {"inputs": np.ones((3, 1)), "seed": np.array(-1)}
    )
    assert str(found["problem"]) == "ValueError: two rows at the most"
