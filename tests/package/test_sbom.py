"""The bill of materials of a release says what the locks say."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHEN = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def sbom():
    spec = importlib.util.spec_from_file_location("sbom", ROOT / ".ci" / "sbom.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bill(sbom, tmp_path_factory):
    wheel = tmp_path_factory.mktemp("dist") / "trustml-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    found = sbom.bill([wheel], when=WHEN)
    assert found == sbom.bill([wheel], when=WHEN)
    return found


def pins(name: str) -> set[str]:
    text = (ROOT / "src" / "trustml" / "environments" / f"{name}.lock").read_text()
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s\\]+)", text, flags=re.MULTILINE)
    return {f"pkg:pypi/{re.sub('[-_.]+', '-', name).lower()}@{version}" for name, version in found}


def test_every_pin_of_both_locks_is_a_component_once(bill):
    references = [one["bom-ref"] for one in bill["components"]]
    assert len(set(references)) == len(references)
    assert set(references) == pins("main") | pins("tensorflow")
    environments = {one["bom-ref"]: {p["value"] for p in one["properties"]} for one in bill["components"]}
    for name in ("main", "tensorflow"):
        assert {ref for ref, of in environments.items() if name in of} == pins(name)


def test_hashes_of_the_lock_and_of_the_files_of_the_release_are_there(bill):
    text = (ROOT / "src" / "trustml" / "environments" / "tensorflow.lock").read_text()
    locked = set(re.findall(r"sha256:([0-9a-f]{64})", text))
    files = [one for component in bill["components"] for one in component["externalReferences"]]
    assert {each["content"] for one in files for each in one.get("hashes", ())} == locked
    (release,) = bill["metadata"]["component"]["externalReferences"]
    assert release["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"a wheel").hexdigest()}]


def test_who_needs_whom(bill):
    needs = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    known = {*needs, bill["metadata"]["component"]["bom-ref"]}
    assert all(other in known for others in needs.values() for other in others), "no reference leads nowhere"
    assert {one["bom-ref"] for one in bill["components"]} < set(needs)

    def of(name: str, version: str) -> set[str]:
        return {one.split("@")[0].removeprefix("pkg:pypi/") for one in needs[f"pkg:pypi/{name}@{version}"]}

    assert {"click", "numpy", "msgspec", "dp-accounting"} <= of("trustml", "0.1.0")
    assert {"numpy", "torch"} <= of("opacus", "1.6.0"), "of the packages that are installed"
    assert {"numpy", "tensorflow-privacy", "jax"} <= of("tensorflow-federated", "0.87.0"), "of the lock's comments"


def test_it_has_the_form_of_cyclonedx(bill):
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    assert bill["metadata"]["timestamp"] == "2026-11-30T12:00:00Z"
    assert json.loads(json.dumps(bill)) == bill
    for one in bill["components"]:
        assert {"type", "name", "version", "purl", "bom-ref"} <= one.keys()
