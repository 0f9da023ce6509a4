"""What a worker's environment holds follows from the scenario, and the worker says what it finds."""

from __future__ import annotations

import pytest

from trustml.launch.process import clean_environment
from trustml.plan.switches import (
    ALLOCATOR_VARIABLES,
    compiled_programs,
    reuse_compiled,
    switch_variables,
    switches_in_force,
)
from trustml.scenario.spec import Execution


def test_the_allocator_is_tuned_unless_the_default_is_asked_for(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    assert set(ALLOCATOR_VARIABLES) <= set(switch_variables(Execution()))
    bare = clean_environment() | switch_variables(Execution(allocator="default"))
    assert not set(ALLOCATOR_VARIABLES) & set(bare)  # what the caller's shell had set does not go through


def test_flags_of_xla_stay_but_the_one_of_threads(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2 --xla_cpu_multi_thread_eigen=true")
    for threads, several in ((1, "false"), (2, "true")):
        flags = switch_variables(Execution(threads=threads))["XLA_FLAGS"]
        assert flags == f"--xla_cpu_max_isa=AVX2 --xla_cpu_multi_thread_eigen={several}"
    assert "XLA_FLAGS" not in switch_variables(Execution())


def test_another_allocator_is_recorded(monkeypatch):
    for name in ALLOCATOR_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LD_PRELOAD", "libother.so")
    assert switches_in_force()["LD_PRELOAD"] == "libother.so"
    assert not set(ALLOCATOR_VARIABLES) & set(switches_in_force())


@pytest.mark.parametrize(("backend", "expected"), [("jax", 2), ("torch", 0), ("tensorflow", 0)])
def test_programs_compiled_before_are_counted_where_they_would_be_found(monkeypatch, tmp_path, backend, expected):
    for name in ("a-cache", "b-cache", "a-atime"):
        (tmp_path / name).touch()
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert compiled_programs(backend) == 0
    for name, value in reuse_compiled(tmp_path).items():
        monkeypatch.setenv(name, value)
    assert compiled_programs(backend) == expected
    for name, value in switch_variables(Execution(compilation_cache="off")).items():
        monkeypatch.setenv(name, value)
    assert compiled_programs(backend) == 0
