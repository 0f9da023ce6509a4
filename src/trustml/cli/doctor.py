"""``trustml doctor``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from trustml.cli.main import OK, PARTIAL
from trustml.cli.output import console, data_stream, file_option, json_option, json_text


@click.command("doctor", short_help="Say what is installed, what is missing, and what fixes it.")
@json_option
@file_option
def command(as_json: bool, file: Path | None) -> int:
    """List environments, versions, devices and targets of export, and what is missing with the command that fixes it.

    Exit code 4 if something is missing; the rest works all the same.
    """
    from trustml.frameworks.table import backend_names
    from trustml.launch.environments import find_environment, probe, unused_gpu
    from trustml.record.provenance import MAIN_PACKAGES, hardware, package_versions

    environments: list[dict[str, Any]] = []
    for backend in backend_names():
        environment = find_environment(backend)
        answer = probe(environment)
        environments.append(
            {
                "backend": backend,
                "ok": environment.python is not None and not answer.problem,
                "python": str(environment.python or ""),
                "versions": answer.versions,
                "devices": list(answer.devices),
                "problem": environment.problem or answer.problem,
                "fix": environment.fix,
                "note": unused_gpu(backend, answer.devices, python=str(environment.python or "")),
            }
        )
    dashboard = importlib.util.find_spec("streamlit") is not None
    environments.append(
        {
            "backend": "dashboard",
            "ok": dashboard,
            "python": "",
            "versions": package_versions(("streamlit", "altair")) if dashboard else {},
            "devices": [],
            "problem": "" if dashboard else "streamlit is not installed",
            "fix": "" if dashboard else "pip install 'trustml[dashboard]'",
            "note": "",
        }
    )
    content = {
        "hardware": hardware(),
        "core": package_versions(MAIN_PACKAGES),
        "environments": environments,
        "targets": _targets(),
    }
    with data_stream(file) as stream:
        if as_json:
            stream.write(json_text(content) + "\n")
        else:
            _print(content, console(stream))
    return OK if all(environment["ok"] for environment in environments) else PARTIAL


def _targets() -> list[dict[str, Any]]:
    """What models can be exported to here."""
    from trustml.deployment.targets import TARGETS, environment_of
    from trustml.errors import EnvironmentMissingError

    found = []
    for name, target in TARGETS.items():
        try:
            environment_of(target)
            problem = ""
        except EnvironmentMissingError as error:
            problem = str(error)
        found.append({"target": name, "ok": not problem, "problem": problem, "asked_in": target.asked_in})
    return found


def _print(content: dict[str, Any], out: Any) -> None:
    from rich.table import Table

    machine = content["hardware"]
    out.print(f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}")
    out.print("core: " + ", ".join(f"{name} {version}" for name, version in content["core"].items()))
    table = Table("part", "state", "versions", "devices", box=None, pad_edge=False)
    for part in content["environments"]:
        versions = ", ".join(f"{name} {version}" for name, version in part["versions"].items() if name != "python")
        table.add_row(part["backend"], "ok" if part["ok"] else "MISSING", versions, ", ".join(part["devices"]))
    out.print(table)
    ready = ", ".join(f"{one['target']} (in {one['asked_in']})" for one in content["targets"] if one["ok"])
    out.print(f"models can be exported to, and asked in: {ready or 'nothing'}", soft_wrap=True)
    for target in content["targets"]:
        if not target["ok"]:
            out.print(f"export to {target['target']}: {target['problem']}", soft_wrap=True, markup=False)
    for part in content["environments"]:
        if not part["ok"]:
            out.print(f"{part['backend']}: {part['problem']}", soft_wrap=True)
            if part["fix"]:
                out.verbatim(f"  fix it with: {part['fix']}")
        if part["note"]:
            out.print(f"{part['backend']}: {part['note']}", soft_wrap=True, markup=False)
