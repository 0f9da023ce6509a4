"""Where time and memory of bars that are not met go: the section of the page, and how parts are told apart."""

from __future__ import annotations

import sys

import msgspec
import pytest

import large_step_parts
from tests.bench.fakes import measured, result
from trustml.errors import RecordError
from trustml_bench.judge import judge_all
from trustml_bench.page import performance_page
from trustml_bench.parts import MeasuredParts, Part, Profile, profile_section, read_profile
from trustml_bench.workloads import Workload

PRIVATE = Workload(kind="private_step", network="resnet20", size=64)
PLAIN = Workload(kind="plain_step", network="resnet20", size=64)


@pytest.fixture
def slow():
    """TensorFlow misses its bar, PyTorch does not."""
    return result(
        measured(PLAIN, "trustml tensorflow plain", 0.4, role="ours", environment="tensorflow"),
        measured(PRIVATE, "trustml tensorflow", 1.1, role="ours", environment="tensorflow"),
        measured(PLAIN, "torch plain", 0.15, role="floor", environment="torch"),
        measured(PRIVATE, "trustml torch", 0.2, role="ours", environment="torch"),
    )


@pytest.fixture
def profile():
    def part(name: str, *values: float, whole: bool = False) -> Part:
        return Part(network="resnet20", work="private step", name=name, unit="ms", values=values, whole=whole)

    parts = (part("whole", 80.0, 120.0, 100.0, whole=True), part("noise", 25.0, 20.0, 30.0))
    held = Part(network="resnet20", work="private step", name="weights", unit="MiB", values=(1.04,))
    other = of("f" * 16, "3", (*parts, held))
    return Profile(frameworks={"torch": of("0123456789abcdef", "0", parts), "tensorflow": other})


def of(commit: str, changed: str, parts: tuple[Part, ...]) -> MeasuredParts:
    revision = {"commit": commit, "changed_files": changed}
    return MeasuredParts(created="2026-11-30T20:00:00Z", revision=revision, machine="2 cores", load=0.1, parts=parts)


def test_parts_stand_below_the_bars_that_they_explain(slow, profile, tmp_path):
    (tmp_path / "parts.json").write_bytes(msgspec.json.encode(profile))
    section = profile_section(read_profile(tmp_path / "parts.json"), judge_all(slow))
    assert "* torch: measured 2026-11-30T20:00:00Z at commit 0123456789ab, on 2 cores at a load of 0.1." in section
    assert "at commit ffffffffffff with 3 changed files, on" in section
    of_torch, of_tensorflow = section.split("### tensorflow, resnet20")
    missed = "- Not met: tensorflow private step / best plain step of tensorflow (resnet20): 2.75, bar <= 2."
    assert missed in of_tensorflow and "Not met" not in of_torch
    assert "| private step | noise | 25.0 | 22.5-27.5 | 25% |" in of_torch
    assert "| private step | weights | 1.0 |  |  |" in of_tensorflow
    page = performance_page(slow, profile)
    assert page.index("## Behind the verdicts") < page.index(section) < page.index("## All times")
    assert "go\n" not in performance_page(slow)


def test_what_is_kept_of_an_earlier_file_keeps_its_own_revision_and_load(profile, tmp_path, monkeypatch):
    monkeypatch.setattr(large_step_parts, "RESULT", tmp_path / "parts.json")
    monkeypatch.setattr(large_step_parts, "source_revision", lambda **also: {"commit": "a" * 40, "changed_files": "2"})
    monkeypatch.setattr(large_step_parts, "measured_parts", lambda framework, turns: ())
    monkeypatch.setattr(large_step_parts.os, "getloadavg", lambda: (7.5, 0.0, 0.0))
    monkeypatch.setattr(sys, "argv", ["large_step_parts.py", "tensorflow"])
    (tmp_path / "parts.json").write_bytes(msgspec.json.encode(profile))
    large_step_parts.main()
    found = read_profile(tmp_path / "parts.json").frameworks
    assert list(found) == ["torch", "tensorflow"] and found["torch"] == profile.frameworks["torch"]
    anew = found["tensorflow"]
    assert (anew.revision, anew.load) == ({"commit": "a" * 40, "changed_files": "2"}, 7.5) and anew.parts == ()


def test_a_file_of_another_form_is_one_line(tmp_path):
    (tmp_path / "parts.json").write_text('{"revision": "b0b6cdf8", "parts": {}}')
    with pytest.raises(RecordError, match=r"missing required field `frameworks`.*make it anew by benchmarks"):
        read_profile(tmp_path / "parts.json")


@pytest.mark.torch
def test_operators_are_told_apart_by_their_names_and_what_autograd_keeps_is_counted_once():
    import torch

    from trustml_bench.engines.torch_parts import operator_kind, saved_bytes

    assert operator_kind("aten::mkldnn_convolution") == "convolutions, forward"
    assert operator_kind("aten::convolution_backward") == "convolutions, backward"
    assert operator_kind("aten::linalg_vector_norm") == "lengths of gradients"
    assert operator_kind("aten::native_group_norm_backward") == "norm layers"
    assert operator_kind("aten::threshold_backward") == "element by element"
    rows = torch.ones(1024, requires_grad=True)

    def unit() -> None:
        square = rows * rows  # keeps `rows` twice, which is one
        (square.exp() * 2).sum().backward()  # and what exp gives

    assert saved_bytes(unit) == 2 * 4096
