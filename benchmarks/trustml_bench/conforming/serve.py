"""The process of one engine under the suite: ``python -m trustml_bench.conforming.serve NAME FOLDER``.

Writes ``checked.json`` into FOLDER.
"""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from pathlib import Path

import msgspec
from msgspec.structs import replace

from trustml.conformance.federated import check_federated
from trustml.conformance.findings import CheckResult
from trustml.conformance.step import check_step
from trustml.record.files import write_atomic
from trustml_bench.conforming.catalogue import ENGINES, PeerEngine, example_data, example_model, find_engine
from trustml_bench.conforming.federation import example_clients, idle_client
from trustml_bench.conforming.results import CHECKED, CheckedEngine, suite_digest

_SECONDS = 240.0
"""For noise of one network, or one federated training."""


def check(engine: PeerEngine) -> CheckedEngine:
    """Put an engine through its suite, here."""
    module, name = engine.maker.split(":")
    make = getattr(import_module(f"trustml_bench.conforming.engines.{module}"), name)
    findings: list[CheckResult] = []
    if engine.suite == "rounds":
        found = check_federated(
            make(), example_clients(), idle=idle_client() if engine.needs_examples else (), time_limit=_SECONDS
        )
        findings += [replace(finding, subject=f"{engine.name}, softmax regression") for finding in found]
    for network in engine.networks:
        found = check_step(make(example_model(network)), *example_data(network), time_limit=_SECONDS)
        kept = [one for one in found if engine.micro_batches or "micro-batch" not in one.check]
        findings += [replace(finding, subject=f"{engine.name}, {network}") for finding in kept]
    versions = {package: metadata.version(package) for package in engine.packages}
    return CheckedEngine(engine=engine.name, versions=versions, suite=suite_digest(), findings=tuple(findings))


def main(arguments: list[str]) -> int:
    """Check one engine."""
    engine = find_engine(arguments[0]) if len(arguments) == 2 else None
    if engine is None or not Path(arguments[1]).is_dir():
        names = "|".join(engine.name for engine in ENGINES)
        print(f"usage: python -m trustml_bench.conforming.serve {names} FOLDER", file=sys.stderr)
        return 2
    write_atomic(Path(arguments[1]) / CHECKED, msgspec.json.encode(check(engine)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
