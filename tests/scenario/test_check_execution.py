"""Devices over which a batch is dealt out: a field of the scenario, an option, and what cannot be."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.launch.places.pretended import JOB
from tests.records import stored
from trustml.cli.run import _shortcuts
from trustml.errors import ScenarioError
from trustml.plan.switches import job_variables
from trustml.record.store import RunDirectory
from trustml.scenario.check import check_scenario
from trustml.scenario.read import overridden, to_plain
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.spec import Execution

PRIVATE = "train.jax.DPSGD.s0"


@pytest.mark.parametrize(
    ("backends", "training", "words"),
    [
        (("torch", "tensorflow"), (DPSGD(noise_multiplier=2.0),), "2, but tensorflow trains privately on one device"),
        (("jax",), (Plain(),), "2, but no regime is DPSGD"),
        (("torch",), (DPSGD(noise_multiplier=2.0, engine="stock"),), "the engine 'stock' of DPSGD has one device"),
    ],
)
def test_what_has_one_device_is_refused_more(tiny, backends, training, words):
    asked = replace(tiny, backends=backends, training=training, execution=Execution(devices=2))
    with pytest.raises(ScenarioError) as caught:
        check_scenario(asked)
    assert "execution.devices: " in str(caught.value) and words in str(caught.value)
    check_scenario(replace(asked, execution=Execution(devices=1)))


def test_the_option_is_the_field(tiny):
    two = overridden(replace(tiny, backends=("jax", "torch")), _shortcuts((), None, None, 2))
    check_scenario(two)
    assert two.execution.devices == 2
    assert "devices" not in to_plain(tiny)["execution"], "records of others are what they were"


def test_a_processor_is_several_devices_for_private_training_alone(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=7 --xla_other=1")
    run = RunDirectory(stored("frameworks"))

    def flags(name: str, **execution: object) -> str:
        job = run.job(name)
        return job_variables(replace(job, execution=Execution(**execution))).get("XLA_FLAGS", "unset")

    parts = "--xla_force_host_platform_device_count"
    assert flags(PRIVATE, devices=2) == f"--xla_other=1 {parts}=2"
    assert flags(PRIVATE, devices=2, threads=1) == f"--xla_other=1 --xla_cpu_multi_thread_eigen=false {parts}=2"
    assert flags(PRIVATE, devices=1) == flags(PRIVATE) == flags(JOB, devices=2) == "unset"
