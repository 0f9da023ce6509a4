"""Sends a run to an MLflow server by its REST interface; nothing of MLflow is needed here."""

from __future__ import annotations

import base64
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trustml.errors import TrustmlError, UsageError, printable, refuse_no_text
from trustml.evidence.mlflow_runs import ExportedRun

_API = "/api/2.0/mlflow"
_MOST_METRICS, _MOST_PARAMS, _MOST_TAGS = 500, 100, 100
"""In one request: servers take 1,000 entries in all, and so many of a kind."""
_PROXIED = "mlflow-artifacts:"
_EXPORTED = "trustml.exported"
_TIMEOUT = 60.0
_MISSING = "RESOURCE_DOES_NOT_EXIST"


class MlflowError(TrustmlError):
    """The server did not take what it was sent."""


class MlflowServer:
    """A tracking server.

    Parameters
    ----------
    address : str
        Such as ``http://127.0.0.1:5000``. A user's name and password, or a token, are taken from
        ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``, or ``MLFLOW_TRACKING_TOKEN``, as MLflow does.

    Raises
    ------
    UsageError
        If the address is none of a server.
    """

    def __init__(self, address: str) -> None:
        try:
            parts = urllib.parse.urlsplit(address)
            _ = parts.port  # which is looked at when it is asked for
        except ValueError:
            problem = "is no address: its host, in [ ] for IPv6, or its port cannot be read"
            raise UsageError(f"--to: {problem}; name a server, such as http://127.0.0.1:5000") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"--to: {address} is no http(s) address; name a server, such as http://127.0.0.1:5000")
        if not address.isascii():
            problem = "holds letters that no address has; write them as addresses do, such as %C3%A9"
            raise UsageError(f"--to: {address!r} {problem}")
        if parts.username or parts.password:
            raise UsageError("--to: has a password in it; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
        self.address = address.rstrip("/")
        self._opener = urllib.request.build_opener(_NoRedirect)

    def export(self, parent: ExportedRun, children: Sequence[ExportedRun], *, experiment: str) -> str:
        """Make the runs in an experiment, which is made where it is not there; give the address of the first.

        Raises
        ------
        UsageError
            If the run is there already.
        MlflowError
            If the server refuses, or does not answer; what was begun is marked as failed.
        """
        refuse_no_text(experiment, field="--experiment")
        where = self._experiment(experiment)
        if there := self._exported(where, parent.name):
            raise UsageError(
                f"{parent.name}: is in {experiment} already ({self._shown(where, there)}); delete it first"
            )
        made: list[str] = []
        try:
            first = self._make(where, parent, made)
            for child in children:
                self._end(self._make(where, child, made, tags={"mlflow.parentRunId": first}), child)
            self._call("runs/set-tag", {"run_id": first, "key": _EXPORTED, "value": "whole"})
            self._end(first, parent)
        except BaseException:
            self._abandon(made)
            raise
        return self._shown(where, first)

    def _experiment(self, name: str) -> str:
        try:
            found = self._call(f"experiments/get-by-name?{urllib.parse.urlencode({'experiment_name': name})}")
            return str(found["experiment"]["experiment_id"])
        except MlflowError as error:
            if _MISSING not in str(error):
                raise
        return str(self._call("experiments/create", {"name": name})["experiment_id"])

    def _exported(self, experiment: str, name: str) -> str:
        name = name.replace("'", "")  # which would end the text of the filter
        wanted = f"tags.`trustml.run` = '{name}' and tags.`{_EXPORTED}` = 'whole'"
        found = self._call("runs/search", {"experiment_ids": [experiment], "filter": wanted, "max_results": 1})
        return next((str(run["info"]["run_id"]) for run in found.get("runs", ())), "")

    def _make(
        self, experiment: str, run: ExportedRun, made: list[str], *, tags: Mapping[str, str] | None = None
    ) -> str:
        begun = {"experiment_id": experiment, "run_name": run.name, "start_time": run.begun}
        info = self._call("runs/create", begun)["run"]["info"]
        number = str(info["run_id"])
        made.append(number)
        for content in _batches(run, {**run.tags, **(tags or {})}):
            self._call("runs/log-batch", {"run_id": number, **content})
        for name, data in run.artifacts.items():
            self._put(str(info["artifact_uri"]), name, data)
        return number

    def _put(self, folder: str, name: str, data: bytes) -> None:
        if not folder.startswith(_PROXIED):
            scheme = folder.partition(":")[0]
            raise UsageError(
                f"--to: the server keeps artifacts at {printable(scheme)}:..., where only MLflow's own client puts "
                "them; start it with --artifacts-destination, or leave them out with --no-artifacts"
            )
        try:
            inner = urllib.parse.urlsplit(folder).path.strip("/")
        except ValueError:
            raise MlflowError(f"--to: the server keeps artifacts at {printable(folder)}, which is no address") from None
        path = urllib.parse.quote(f"{inner}/{name}")
        self._send("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{path}", data)

    def _end(self, number: str, run: ExportedRun) -> None:
        status = "FINISHED" if run.whole else "FAILED"
        self._call("runs/update", {"run_id": number, "status": status, "end_time": max(run.ended, run.begun)})

    def _abandon(self, made: Sequence[str]) -> None:
        for number in made:
            try:
                ended = round(1000 * time.time())
                self._call("runs/update", {"run_id": number, "status": "FAILED", "end_time": ended})
                self._call("runs/set-tag", {"run_id": number, "key": _EXPORTED, "value": "partly"})
            except MlflowError:
                return

    def _shown(self, experiment: str, number: str) -> str:
        return f"{self.address}/#/experiments/{experiment}/runs/{number}"

    def _call(self, what: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if content is None else msgspec.json.encode(content)
        answer = self._send("GET" if data is None else "POST", f"{_API}/{what}", data)
        try:
            return msgspec.json.decode(answer, type=dict[str, Any]) if answer else {}
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise MlflowError(f"{self.address}: does not answer as an MLflow server does; check the address") from None

    def _send(self, method: str, path: str, data: bytes | None) -> bytes:
        headers = {"Content-Type": "application/json" if path.startswith(_API) else "application/octet-stream"}
        if login := _login():
            headers["Authorization"] = login
        request = urllib.request.Request(f"{self.address}{path}", data=data, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            with error:
                said = printable(error.read(2_000).decode("utf-8", errors="replace"))
            raise MlflowError(
                f"{self.address}: refused {method} {path.partition('?')[0]}: {error.code} {said}"
            ) from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise MlflowError(f"{self.address}: does not answer ({reason}); start the server, or check --to") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: a password would go along."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def _login() -> str:
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return f"Bearer {token}"
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}" if user and password else ""


def _batches(run: ExportedRun, tags: Mapping[str, str]) -> list[dict[str, list[dict[str, Any]]]]:
    """What is logged of a run, cut into requests of a size that servers take."""
    of_kind: dict[str, tuple[list[dict[str, Any]], int]] = {
        "params": ([{"key": key, "value": value} for key, value in run.params.items()], _MOST_PARAMS),
        "tags": ([{"key": key, "value": value} for key, value in tags.items()], _MOST_TAGS),
        "metrics": (
            [{"key": m.key, "value": m.value, "step": m.step, "timestamp": run.ended} for m in run.metrics],
            _MOST_METRICS,
        ),
    }
    return [
        {kind: entries[first : first + most]}
        for kind, (entries, most) in of_kind.items()
        for first in range(0, len(entries), most)
    ]
