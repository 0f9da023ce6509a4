"""Where an engine runs: an interpreter, and what its process finds in its environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from trustml.launch.environments import find_environment
from trustml.plan.switches import switch_variables
from trustml.scenario.spec import BACKEND_NAMES, BackendName, Execution

Allocator: TypeAlias = Literal["tuned", "default"]
"""``tuned`` as workers of trustml run, ``default`` as glibc comes."""

FEDJAX, FLOWER = "TRUSTML_BENCH_FEDJAX", "TRUSTML_BENCH_FLOWER"
OPAKE, PEFT = "TRUSTML_BENCH_OPAKE", "TRUSTML_BENCH_PEFT"
_HOW_TO_MAKE = {
    FEDJAX: "`pip install --no-deps --target FOLDER fedjax==0.0.17 dm-haiku==0.0.17 jmp==0.0.4 absl-py msgpack "
    f"tabulate tqdm`, then {FEDJAX}=FOLDER",
    OPAKE: "`pip install --no-deps --target FOLDER opake==0.16.1 opake-engine opake-accounting opake-dpsgd "
    f"opake-optimizers opake-patches opake-base optree`, then {OPAKE}=FOLDER",
    PEFT: "`pip install --no-deps --target FOLDER peft transformers accelerate huggingface_hub tokenizers regex pyyaml "
    f"filelock fsspec hf-xet packaging httpx2 httpcore2 truststore`, then {PEFT}=FOLDER",
    FLOWER: "`python3.11 -m venv FOLDER && FOLDER/bin/pip install 'flwr[simulation]' torch numpy msgspec safetensors "
    f"psutil scipy dp-accounting`, then {FLOWER}=FOLDER",
}
_BESIDE: dict[str, tuple[BackendName, str]] = {
    "fedjax": ("jax", FEDJAX),
    "opake": ("torch", OPAKE),
    "peft": ("torch", PEFT),
}
"""Environments that are a folder of packages beside one of ours."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """An interpreter and the variables that are added to its environment."""

    python: Path
    variables: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class NoPlace:
    """Why there is none, and how to make it."""

    reason: str


def find_place(environment: str, allocator: Allocator) -> Place | NoPlace:
    """Find where engines of `environment` run, without starting anything."""
    # Without a cache of compiled programs, as the first call is timed.
    variables = switch_variables(Execution(device="cpu", allocator=allocator, compilation_cache="off"))
    match environment:
        case "fedjax" | "opake" | "peft":
            backend, variable = _BESIDE[environment]
            folder = _named(variable)
            if isinstance(folder, NoPlace):
                return folder
            return _ours(backend, variables | {"PYTHONPATH": str(folder)})
        case "flower":
            folder = _named(FLOWER)
            if isinstance(folder, NoPlace):
                return folder
            python = folder / "bin" / "python"
            if not python.exists():
                return NoPlace(reason=f"{FLOWER}={folder} holds no bin/python; make it by {_HOW_TO_MAKE[FLOWER]}")
            return Place(python=python, variables=variables)
        case name if name in BACKEND_NAMES:
            return _ours(name, variables)
        case _:
            return NoPlace(reason=f"there is no environment {environment!r}")


def _ours(backend: BackendName, variables: dict[str, str]) -> Place | NoPlace:
    found = find_environment(backend)
    if found.python is None:
        return NoPlace(reason=f"{found.problem}; run `{found.fix}`" if found.fix else found.problem)
    return Place(python=found.python, variables=variables)


def _named(variable: str) -> Path | NoPlace:
    value = os.environ.get(variable)
    if not value:
        return NoPlace(reason=f"{variable} is not set; make it by {_HOW_TO_MAKE[variable]}")
    folder = Path(value)
    if not folder.is_dir():
        return NoPlace(reason=f"{variable}={value} is no folder; make it by {_HOW_TO_MAKE[variable]}")
    return folder.resolve()
