"""A run as MLflow gets it: what is sent, what is not, and what a server's refusal leads to."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

import trustml
from tests.records import copy_of, stored
from trustml.cli.main import trustml as command_line
from trustml.errors import UsageError
from trustml.evidence.mlflow_runs import ARTIFACTS, ExportedRun, _metrics, _params, exported_runs
from trustml.evidence.mlflow_server import MlflowError, MlflowServer
from trustml.measures.row import Row

Exported = tuple[ExportedRun, tuple[ExportedRun, ...]]


@pytest.fixture(scope="module")
def exported() -> Exported:
    return exported_runs(trustml.load(stored("federated")).directory)


def test_a_model_has_its_measures_with_intervals_and_what_its_epsilon_rests_on(exported):
    parent, children = exported
    run = trustml.load(stored("federated"))
    assert parent.name == run.id and parent.whole and len(children) == 4
    private = next(child for child in children if child.params["regime"] == "DPFedAvg")
    rows = run.measures().query("job == @job and measure == 'epsilon'", local_dict={"job": private.tags["trustml.job"]})
    values = {metric.key: metric.value for metric in private.metrics}
    assert values["epsilon"] == rows.value.iloc[0]
    assert values["accuracy.low"] <= values["accuracy"] <= values["accuracy.high"]
    assert private.tags["trustml.epsilon.delta"] == str(rows.delta.iloc[0])
    assert private.tags["trustml.epsilon.unit"] == "user"
    assert [metric.step for metric in private.metrics if metric.key == "accuracy_by_round"] == [1, 2, 3]
    plain = next(child for child in children if child.params["regime"] == "Plain")
    assert "epsilon" not in {metric.key for metric in plain.metrics}
    assert plain.params["framework"] == "jax" and "optimizer.learning_rate" in plain.params


@pytest.mark.parametrize("name", ["federated", "attacked", "frameworks"])
def test_names_are_unique_and_such_as_servers_take(name):
    parent, children = exported_runs(trustml.load(stored(name)).directory, artifacts=False)
    for run in (parent, *children):
        keys = [(metric.key, metric.step) for metric in run.metrics]
        assert len(set(keys)) == len(keys)
        every = [*(key for key, _ in keys), *run.params, *run.tags]
        assert all(re.fullmatch(r"[\w\-. /]{1,250}", key) for key in every)
        assert all(math.isfinite(metric.value) for metric in run.metrics)


def test_names_in_any_script_stay_apart():
    def row(subject, value):
        return Row(
            run="r", job="j", backend="jax", regime="Plain", seed=0, subject=subject, measure="slice_accuracy",
            value=value, low=value - 0.1, high=value + 0.1, unit="share", n=50,
        )  # fmt: skip

    groups = [
        "gender: 女",
        "gender: 男",
        "Алла",
        "Олег",
        "a<b",
        "a>b",
        "x" * 300 + "1",
        "x" * 300 + "2",
        "a-b.low",
        "a-b",
    ]
    found = list(_metrics([row(name, n / 10) for n, name in enumerate(groups)]))
    keys = [metric.key for metric in found]
    assert len(set(keys)) == len(keys) == 3 * len(groups)
    assert all(re.fullmatch(r"[\w\-. /]{1,250}", key) for key in keys) and "slice_accuracy/Алла" in keys
    assert all(any(abs(one.value - n / 10) < 1e-9 for one in found) for n in range(len(groups)))
    params = _params({"é": 1, "è": 2, "a<": 3, "a>": {"b": 4}, "a": {"<": 5}, "a.-": 6})
    assert sorted(params.values()) == ["1", "2", "3", "4", "5", "6"] and params["é"] == "1"


def test_nothing_private_goes_along(exported, tmp_path):
    assert set(exported[0].artifacts) <= set(ARTIFACTS) and "manifest.json" in exported[0].artifacts
    assert not any("private" in name or name.endswith(".npz") for name in exported[0].artifacts)
    released = shutil.copytree(
        stored("federated"), tmp_path / stored("federated").name, ignore=shutil.ignore_patterns("private")
    )
    assert exported_runs(trustml.load(released).directory) == exported


def test_a_run_of_anybody_cannot_name_a_file_elsewhere(tmp_path):
    run = copy_of("private", tmp_path)
    (run.path / "privacy.json").rename(tmp_path / "elsewhere.json")
    (run.path / "audit.json").symlink_to(tmp_path / "elsewhere.json")
    shutil.copy(tmp_path / "elsewhere.json", run.path / "privacy.json")
    with pytest.raises(trustml.RecordError, match=r"audit\.json: cannot be read"):
        exported_runs(run.directory)


class Server:
    """Keeps what it is sent, as a tracking server does; refuses what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.refuses, self.folder, self.found = "", "mlflow-artifacts:/7/", []

    def answer(self, method: str, path: str, data: bytes) -> tuple[int, Any]:
        self.asked.append((method, path, data if method == "PUT" else json.loads(data or b"null")))
        what = path.partition("?")[0].removeprefix("/api/2.0/mlflow/")
        if self.refuses and self.refuses in path:
            return 400, {"message": "no \x1b[31m room"}
        if what == "experiments/get-by-name":
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
        if what == "runs/create":
            number = sum(one[1].endswith("runs/create") for one in self.asked)
            return 200, {"run": {"info": {"run_id": f"r{number}", "artifact_uri": f"{self.folder}r{number}/artifacts"}}}
        return 200, {"experiment_id": "7", "runs": self.found}


@pytest.fixture
def server() -> Iterator[tuple[Server, MlflowServer]]:
    kept = Server()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, content = kept.answer(self.command, self.path, data)
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = _any

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield kept, MlflowServer(f"http://127.0.0.1:{http.server_address[1]}/")
        http.shutdown()
        thread.join()


def calls(kept: Server, what: str) -> list[Any]:
    return [content for _, path, content in kept.asked if path.endswith(what)]


def test_a_server_gets_the_whole_with_its_models_below_it(exported, server):
    kept, client = server
    address = client.export(*exported, experiment="mine")
    assert address.endswith("/#/experiments/7/runs/r1")
    assert calls(kept, "experiments/create") == [{"name": "mine"}]
    assert [one["run_name"] for one in calls(kept, "runs/create")] == [exported[0].name, *(c.name for c in exported[1])]
    batches = calls(kept, "runs/log-batch")
    parents = [tag for batch in batches for tag in batch.get("tags", ()) if tag["key"] == "mlflow.parentRunId"]
    assert [tag["value"] for tag in parents] == ["r1"] * len(exported[1])
    sent = [metric for batch in batches if batch["run_id"] == "r2" for metric in batch.get("metrics", ())]
    assert len(sent) == len(exported[1][0].metrics)
    assert all(len(batch.get("params", ())) <= 100 for batch in batches)
    puts = {path for method, path, _ in kept.asked if method == "PUT"}
    assert puts == {f"/api/2.0/mlflow-artifacts/artifacts/7/r1/artifacts/{name}" for name in exported[0].artifacts}
    assert {one["status"] for one in calls(kept, "runs/update")} == {"FINISHED"}


def test_what_is_there_is_not_sent_twice(exported, server):
    kept, client = server
    kept.found = [{"info": {"run_id": "old"}}]
    with pytest.raises(UsageError, match=r"is in mine already \(http.*/runs/old\); delete it first"):
        client.export(*exported, experiment="mine")
    assert not calls(kept, "runs/create")


def test_a_refusal_is_one_line_and_leaves_failed_runs(exported, server):
    kept, client = server
    kept.refuses = "log-batch"
    with pytest.raises(MlflowError, match=r"refused POST /api/2.0/mlflow/runs/log-batch: 400 .*no \\\\?u?") as refused:
        client.export(*exported, experiment="mine")
    assert "\x1b" not in str(refused.value) and "\n" not in str(refused.value)
    assert [one["status"] for one in calls(kept, "runs/update")] == ["FAILED"]


def test_artifacts_that_cannot_be_sent_are_told_with_a_way_out(exported, server):
    kept, client = server
    kept.folder = "s3://bucket/"
    with pytest.raises(UsageError, match=r"keeps artifacts at s3:\.\.\., .*--no-artifacts"):
        client.export(*exported, experiment="mine")
    kept.asked.clear()
    client.export(dataclasses.replace(exported[0], artifacts={}), exported[1], experiment="mine")
    assert calls(kept, "runs/create")


def test_what_has_no_answer_or_is_no_address_is_one_line(exported, monkeypatch):
    with pytest.raises(UsageError, match="ftp://x is no http"):
        MlflowServer("ftp://x")
    for address in ("http://[::1", "http://host:99999999", "http://host:port"):
        with pytest.raises(UsageError, match="--to: is no address"):
            MlflowServer(address)
    with pytest.raises(UsageError, match="has a password in it"):
        MlflowServer("http://me:word@host")
    with pytest.raises(UsageError, match="no address has"):
        MlflowServer("http://host/\udcff")
    with pytest.raises(UsageError, match=r"--experiment: .* no UTF-8"):
        MlflowServer("http://host").export(*exported, experiment="\udcff")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(MlflowError, match="does not answer"):
        MlflowServer(address).export(*exported, experiment="mine")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert CliRunner().invoke(command_line, ["export-mlflow", "latest"]).exit_code == 2


@pytest.mark.long
def test_a_real_server_shows_what_it_was_sent(tmp_path):
    """Needs an environment with MLflow, named by TRUSTML_MLFLOW: a Python that has it."""
    python = os.environ.get("TRUSTML_MLFLOW") or pytest.skip("TRUSTML_MLFLOW is not set: a Python with MLflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--artifacts-destination", str(tmp_path)]
    run = trustml.load(stored("federated"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.5)
        asked = ["export-mlflow", str(run.path), "--to", address, "--json"]
        done = CliRunner().invoke(command_line, asked, catch_exceptions=False)
        assert json.loads(done.output)["models"] == ["jax.Plain.s0", "jax.DPSGD.s0", "jax.FedAvg.s0", "jax.DPFedAvg.s0"]
        seen = subprocess.run(
            [python, "-c", _SEEN, address], capture_output=True, text=True, check=True, env=environment
        )
        found = json.loads(seen.stdout)
        assert found["runs"] == 5 and set(found["artifacts"]) <= set(ARTIFACTS) and found["manifest"] == run.id
        assert found["epsilon"] == pytest.approx(run.measures().query("measure == 'epsilon'").value.max())
        again = CliRunner().invoke(command_line, asked)
        assert "is in trustml already" in str(again.exception)
    finally:
        process.terminate()
        process.wait()


_SEEN = """
import json, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
runs = client.search_runs([client.get_experiment_by_name("trustml").experiment_id])
parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
found = {"runs": len(runs), "artifacts": [one.path for one in client.list_artifacts(parent.info.run_id)]}
found["epsilon"] = max(run.data.metrics.get("epsilon", 0.0) for run in runs)
found["manifest"] = json.load(open(client.download_artifacts(parent.info.run_id, "manifest.json")))["run"]
print(json.dumps(found))
"""
