"""What targets say of themselves."""

from __future__ import annotations

from trustml.deployment import targets
from trustml.deployment.targets import TARGETS


def test_a_target_is_asked_in_what_replaces_its_runtime_where_that_is_there(monkeypatch, tmp_path):
    monkeypatch.setattr(targets, "find_addition", lambda name: None)
    assert TARGETS["tflite"].asked_in == "TensorFlow Lite"
    monkeypatch.setattr(targets, "find_addition", lambda name: tmp_path if name == "litert" else None)
    assert [name for name, one in TARGETS.items() if one.asked_in != one.runtime] == ["tflite"]
    assert TARGETS["tflite"].asked_in == "LiteRT"
