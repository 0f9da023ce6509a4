"""Software bill of materials of a release, CycloneDX 1.6 as JSON: ``python .ci/sbom.py OUTPUT [WHEEL OR SDIST ...]``.

It lists what both locks name, with exact versions, and the files of the release by their hashes. Who needs whom is
read off the lock of tensorflow and, for the main one, off the packages that are installed at the locked versions. The
same files and locks give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "src" / "trustml" / "environments"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")


def canonical(name: str) -> str:
    """Name of a distribution as package URLs have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def purl(name: str, version: str) -> str:
    """Package URL, which also is the reference of a component."""
    return f"pkg:pypi/{canonical(name)}@{version}"


def read_lock(path: Path) -> dict[str, dict[str, Any]]:
    """Packages of a lock by canonical name: version, SHA-256 of their files, and who asked for them."""
    found: dict[str, dict[str, Any]] = {}
    current: dict[str, Any] = {}
    via = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if pin := _PIN.match(line):
            current = {"name": canonical(pin[1]), "version": pin[2], "hashes": [], "via": []}
            found[current["name"]] = current
            via = False
        elif hashed := re.search(r"--hash=sha256:([0-9a-f]{64})", line):
            current["hashes"].append(hashed[1])
        elif current and (said := re.match(r"\s+# (via)?\s*(.*)", line)):
            via = via or said[1] == "via"
            if via and said[2] and not said[2].startswith("-"):
                current["via"].append(canonical(said[2].split()[0]))
    return found


def installed_needs(name: str, version: str) -> list[str]:
    """Canonical names of what an installed package asks for, without its extras; nothing at another version."""
    try:
        if metadata.version(name) != version and not metadata.version(name).startswith(f"{version}+"):
            return []
        asked = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    return [canonical(re.match(r"[A-Za-z0-9._-]+", one)[0]) for one in asked if "extra ==" not in one]


def components(environment: str, lock: dict[str, dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Components of one environment, and on what each of them depends."""
    listed, needs = [], []
    for name, one in sorted(lock.items()):
        reference = purl(name, one["version"])
        files = {
            "type": "distribution",
            "url": reference,
            "hashes": [{"alg": "SHA-256", "content": content} for content in sorted(one["hashes"])],
        }
        listed.append(
            {
                "type": "library",
                "bom-ref": reference,
                "name": name,
                "version": one["version"],
                "purl": reference,
                "externalReferences": [files if one["hashes"] else {key: files[key] for key in ("type", "url")}],
                "properties": [{"name": "trustml:environment", "value": environment}],
            }
        )
        asked = {other["name"] for other in lock.values() if name in other["via"]}
        asked |= {other for other in installed_needs(name, one["version"]) if environment == "main"} & lock.keys()
        needs.append({"ref": reference, "dependsOn": sorted(purl(other, lock[other]["version"]) for other in asked)})
    return listed, needs


def bill(files: list[Path], *, when: datetime) -> dict[str, Any]:
    """Make the whole document."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    main, tensorflow = (read_lock(LOCKS / f"{name}.lock") for name in ("main", "tensorflow"))
    listed, needs = components("main", main)
    for one, need in zip(*components("tensorflow", tensorflow), strict=True):
        same = next((other for other in listed if other["bom-ref"] == one["bom-ref"]), None)
        if same is None:
            listed.append(one)
            needs.append(need)
        else:  # the same version in both: one component
            same["properties"] += one["properties"]
            same["externalReferences"] = one["externalReferences"]
            joined = next(other for other in needs if other["ref"] == one["bom-ref"])
            joined["dependsOn"] = sorted({*joined["dependsOn"], *need["dependsOn"]})
    own = purl(project["name"], project["version"])
    direct = {canonical(re.match(r"[A-Za-z0-9._-]+", one)[0]) for one in project["dependencies"]}
    root = {
        "type": "application",
        "bom-ref": own,
        "name": project["name"],
        "version": project["version"],
        "purl": own,
        "licenses": [{"license": {"id": project["license"]}}],
        "externalReferences": [
            {
                "type": "distribution",
                "url": path.name,
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}],
            }
            for path in sorted(files)
        ],
    }
    needs.append({"ref": own, "dependsOn": sorted(purl(name, main[name]["version"]) for name in direct)})
    content = json.dumps([root, listed, needs], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "timestamp": when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "authors": [{"name": one["name"]} for one in project["authors"]],
            "component": root,
        },
        "components": sorted(listed, key=lambda one: one["bom-ref"]),
        "dependencies": sorted(needs, key=lambda one: one["ref"]),
    }


def commit_time() -> datetime:
    """``SOURCE_DATE_EPOCH``, else when the present commit was made."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    if not seconds:
        told = subprocess.run(
            ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"], capture_output=True, text=True, check=True
        )
        seconds = told.stdout
    return datetime.fromtimestamp(int(seconds), tz=UTC)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(
        json.dumps(bill([Path(name) for name in sys.argv[2:]], when=commit_time()), indent=2) + "\n", encoding="utf-8"
    )
