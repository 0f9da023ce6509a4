"""Private training is refused where float32 is computed with fewer bits."""

from __future__ import annotations

import re

import pytest

import trustml
from trustml.models.layers import Architecture, Flatten
from trustml.models.zoo import mlp
from trustml.plan.switches import reducing_variables, switches_in_force
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Execution, Explanations, Scenario


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NVIDIA_TF32_OVERRIDE", "1"),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16"),
        ("TF_SET_ONEDNN_FPMATH_MODE", "bf16"),
        ("TF_ENABLE_AUTO_MIXED_PRECISION", "1"),
    ],
)
def test_a_variable_that_reduces_precision_is_named_and_recorded(monkeypatch, name, value):
    assert reducing_variables() == ()
    monkeypatch.setenv(name, value)
    assert reducing_variables() == (f"{name}={value}; unset {name}",)
    assert switches_in_force()[name] == value


@pytest.mark.parametrize(("name", "value"), [("NVIDIA_TF32_OVERRIDE", "0"), ("ONEDNN_DEFAULT_FPMATH_MODE", "STRICT")])
def test_values_that_keep_precision_are_no_matter(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert reducing_variables() == ()


def test_fast_mathematics_of_xla_is_named(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2 --xla_cpu_enable_fast_math=true")
    assert reducing_variables() == ("XLA_FLAGS has --xla_cpu_enable_fast_math=true; leave it out",)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    assert reducing_variables() == ()


@pytest.mark.jax
def test_the_private_job_fails_with_the_reason_and_the_plain_one_does_not(monkeypatch, tmp_path):
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    scenario = Scenario(
        name="coarse",
        data=Digits(test_fraction=0.9),
        model=Architecture(layers=(Flatten(), *mlp([8], classes=10).layers)),
        training=(Plain(epochs=1, batch_size=64), DPSGD(noise_multiplier=2.0, epochs=1, batch_size=64)),
        explanations=Explanations(methods=()),
        backends=("jax",),
        execution=Execution(threads=1),
    )
    run = trustml.run(scenario, out=tmp_path)
    jobs = {job.id: job for job in run.manifest.jobs}
    refused = next(job for name, job in jobs.items() if "DPSGD" in name)
    plain = next(job for name, job in jobs.items() if "Plain" in name)
    assert plain.status == "ok", plain.reason
    assert refused.status == "error"
    assert re.search("full float32.*ONEDNN_DEFAULT_FPMATH_MODE=BF16; unset", refused.reason)
    assert run.manifest.status == "partial"
    assert not list(run.path.rglob("*DPSGD*/ledger.jsonl")), "refused before anything was charged"
