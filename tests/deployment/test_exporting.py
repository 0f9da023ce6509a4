"""Every target of every backend: the file computes what the network computes, and carries its statement."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import WHOLE
from tests.deployment.exported_cases import ALL_TARGETS, FAULTS, FAULTY, STALE
from trustml.launch.added import find_addition
from trustml.launch.environments import find_environment
from trustml.measures.deployed import MOST_APART

ROOT = Path(__file__).resolve().parents[2]
LOGITS, GRADIENTS = 1e-5, 1e-5
# Layers that a target may stumble over, which the three networks of `make test-targets` have not.
ALSO = {"torch": ("tokens",), "jax": ("sequences",), "tensorflow": ()}
EVERYTHING = (
    "conv_asymmetric", "max_pool_overlap", "group_norm", "layer_norm", "smooth_cnn", "mixed", "activations", "graph",
    "conv_groups", "conv_dilated", "conv_standardised", "rms_norm", "sequence", "resized", "recurrent", "tokens",
    "residual", "random1", "small_cnn", "mlp", "encoder", "decoder", "vision", "ft_transformer",
)  # fmt: skip
KNOWN = {
    "executorch": "narrows this network to",  # lowering takes the example's batch for the most that there may be
    "keras": "no layer of Keras",  # networks with layers that only trustml has
    "tfjs": "step by step",  # TensorFlow.js does not run the loops that TensorFlow writes
    "tflite": "BROADCAST_TO",  # TensorFlow Lite cannot resize what is repeated as often as there are examples
}
ATTENTION = tuple(f"{name}.executorch" for name in ("tokens", "encoder", "decoder", "vision", "ft_transformer"))
WITHOUT_RULE = {"sequences", "recurrent", "tokens", "encoder", "decoder", "vision", "ft_transformer"}
"""Networks with a layer of whose gradient there is no rule for TensorFlow Lite."""
LOST = {"rounded: int8.residual.tflite"}  # TensorFlow Lite's int8 of group norms, as docs/deployment.md says


def in_environment(backend, module, output, *names):
    """Run one of these modules where the framework is; it writes `output`."""
    environment, log = find_environment(backend), output.with_name("log.txt")
    with log.open("wb") as stream:
        done = subprocess.run(
            [environment.require(), "-m", f"tests.deployment.{module}", backend, output, *names],
            env={**os.environ, **environment.variables, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            timeout=1800,
        )
    assert done.returncode == 0, log.read_text()[-2000:]


ASKED = [] if ALL_TARGETS else [pytest.mark.long]  # `make test-targets`, which CI runs after `make test`
BACKENDS = [
    pytest.param("torch", marks=pytest.mark.torch),
    pytest.param("jax", marks=pytest.mark.jax),
    pytest.param("tensorflow", marks=pytest.mark.tensorflow),
]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backend", [pytest.param(*one.values, marks=[*one.marks, *ASKED]) for one in BACKENDS])
def test_files_compute_what_networks_compute(backend, tmp_path):
    names = EVERYTHING if WHOLE else (*FAULTY, *ALSO[backend])
    output = tmp_path / "found.json"
    in_environment(backend, "exported_cases", output, "networks", *names)
    found = json.loads(output.read_text())
    hostile = found.pop("hostile", {})
    assert all("which may do more than compute" in said for said in hostile.values()), hostile
    assert len(hostile) == 2 * (backend == "tensorflow")
    assert found
    exported = 0
    for case, result in found.items():
        why = result.get("refused") or result.get("failed") or ""
        if why:
            assert KNOWN.get(case.partition(".")[2], "never") in why and case not in ATTENTION, (case, result)
            continue
        exported += 1
        assert result["statement"], case
        assert result["logits"] <= LOGITS and result["differ"] == 0, (case, result)
        assert result.get("gradients", 0.0) <= GRADIENTS, (case, result)
        assert "gradient_failed" not in result, (case, result)
        if case.endswith(".tflite"):  # by rules of trustml's own, of each layer
            assert ("gradients" in result) == (not result["without_gradient"]), (case, result)
            assert bool(result["without_gradient"]) == (case.partition(".")[0] in WITHOUT_RULE), (case, result)
    assert exported >= len(found) * 0.6


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FAULTY)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_planted_fault_is_told_in_every_target_and_rounding_is_no_more_than_that(backend, name, tmp_path):
    output = tmp_path / "found.json"
    in_environment(backend, "exported_cases", output, "faults", name)
    found = json.loads(output.read_text())
    assert len(found) >= len(FAULTS) + 1
    for case, result in found.items():
        if case.startswith("fault: "):
            stale = STALE in case
            assert result["logits"] <= LOGITS if stale else result["logits"] > MOST_APART, (case, result)
            assert result["statement"] != stale, (case, result)
            if case.endswith(".tflite"):
                assert (result["gradients"] > MOST_APART) != stale, (case, result)
        elif "failed" in result:  # the runtime's own failure, by which `export` keeps no file
            assert case.startswith("rounded: dynamic.") and case.endswith(".executorch"), (case, result)
        elif result["rounded"]:
            assert result["statement"] and MOST_APART < result["logits"] < 1.0, (case, result)
            assert (result["logits"] > 0.2) == (case in LOST), (case, result)
        else:  # such as TensorFlow Lite's `dynamic` of few weights, which `export` refuses
            assert result["logits"] <= LOGITS, (case, result)


@pytest.mark.long
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_calls_of_the_how_to_give_what_the_model_says(backend, tmp_path):
    output = tmp_path / "found.json"
    in_environment(backend, "how_to_cases", output)
    found = json.loads(output.read_text())
    assert {"torch": "pt2", "jax": "stablehlo", "tensorflow": "tflite gradients"}[backend] in found
    assert max(found.values()) <= LOGITS, found


@pytest.mark.long
@pytest.mark.tensorflow
def test_the_gradient_in_a_file_is_held_against_the_model(tmp_path):
    """Also where its answers are right, and where windows hold equal values; kernels are in the file once."""
    output = tmp_path / "found.json"
    in_environment("tensorflow", "lite_cases", output)
    found = json.loads(output.read_text())
    interpreter = found.pop("interpreter").partition(".")[0]
    assert interpreter == ("tensorflow" if find_addition("litert") is None else "ai_edge_litert")
    assert set(found) == {"mlp", "small_cnn", "residual"}
    for name, result in found.items():
        assert result["gradients_of_equal_values"] <= GRADIENTS, (name, result)
        assert result["logits_of_swapped"] <= LOGITS and result["gradients_of_swapped"] > MOST_APART, (name, result)
        assert result["numbers"] < result["weights"] + 2048, (name, result)


@pytest.mark.long
@pytest.mark.tensorflow
def test_damaged_bytes_are_one_line_on_the_file(tmp_path):
    output = tmp_path / "found.json"
    in_environment("tensorflow", "damaged_cases", output)
    found = json.loads(output.read_text())
    assert len(found) >= 16  # one file of keras, and three of a SavedModel
    unread = {"tfjs.weights.bin.random", "tfjs.weights.bin.one byte"}  # any numbers are weights
    for case, said in found.items():
        if case not in unread:
            assert said != "answered" and "\n" not in said and "/trustml-" not in said, (case, said)
            assert "model" in said.partition(":")[0] and ("name another" in said or "name module" in said), (case, said)
