"""Servers of others on loopback: ``TRUSTML_SERVERS`` names the environment that they are installed in.

``python -m venv servers; servers/bin/pip install mlserver==1.7.1 mlserver-sklearn==1.7.1 mlflow-skinny==3.17.2
litserve==0.2.19`` makes one. The three were audited as these tests do it; what MLServer answered is what the doubles of
``test_endpoints.py`` answer.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import trustml
from trustml.auditing.endpoints import EndpointError, ask_endpoint

INPUTS, LABELS = (part[:400] for part in load_digits(return_X_y=True))
TRAINED = """
import joblib, numpy
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
x, y = (part[:200] for part in load_digits(return_X_y=True))
forest = RandomForestClassifier(20, random_state=0).fit(x, y)
joblib.dump(forest, "model.joblib")
numpy.save("expected.npy", forest.predict_proba(load_digits().data[:400]))
"""


@pytest.fixture(scope="module")
def servers():
    """The environment, or a skip that says why."""
    folder = os.environ.get("TRUSTML_SERVERS")
    if not folder:
        pytest.skip("TRUSTML_SERVERS is not set: it names an environment with MLServer and MLflow")
    return Path(folder) / "bin"


def free_ports(count):
    """Ports of loopback that nobody listens at."""
    with_ports = [socket.socket() for _ in range(count)]
    for one in with_ports:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in with_ports]
    for one in with_ports:
        one.close()
    return ports


@contextmanager
def started(command, *, ready, folder):
    """Start a server and end its whole group."""
    found = os.environ | {"PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=found, start_new_session=True)
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "log.txt").read_text()[-2000:]
            try:
                urllib.request.urlopen(ready, timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def trained(servers, folder):
    """A forest that the servers' own scikit-learn trained, and what it says."""
    subprocess.run([servers / "python", "-c", TRAINED], cwd=folder, check=True)
    return np.load(folder / "expected.npy")


@pytest.mark.slow
def test_mlserver_answers_classes_until_it_is_asked_for_probabilities(servers, tmp_path):
    expected = trained(servers, tmp_path)
    http, grpc, metrics = free_ports(3)
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, **ports}
    model = {"implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib"}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    (tmp_path / "model-settings.json").write_text(json.dumps({"name": "forest", **model}))
    url = f"http://127.0.0.1:{http}"
    with started([servers / "mlserver", "start", "."], ready=f"{url}/v2/models/forest/ready", folder=tmp_path):
        served = trustml.Endpoint(url, model="forest", output_name="predict_proba")
        for kind in (np.float64, np.float32, np.int64, np.uint8):
            np.testing.assert_allclose(ask_endpoint(served, INPUTS[:9].astype(kind)), expected[:9], rtol=1e-12)
        sets = {"train": (INPUTS[:200], LABELS[:200]), "holdout": (INPUTS[200:], LABELS[200:])}
        audit = trustml.audit(served, **sets, checks=("membership",))
        assert audit.record.models[0].train_accuracy == (expected.argmax(1) == LABELS)[:200].mean()
        assert audit.worst == "risk"  # a forest knows what it was trained on
        plain = trustml.audit(trustml.Endpoint(url, model="forest"), **sets, checks=("membership",))
        (told,) = [one.reason for one in plain.findings if one.id == "data.predictions"]
        assert "output_name='predict_proba'" in told
        for settings, words in (
            ({"output_name": "logits"}, "HTTP 400: .*only supports 'predict'"),
            ({"datatype": "FLOAT"}, "HTTP 422"),
        ):
            with pytest.raises(EndpointError, match=words):
                ask_endpoint(trustml.Endpoint(url, model="forest", **settings), INPUTS[:2])
        with pytest.raises(EndpointError, match=r"HTTP 404: .*not found"):
            ask_endpoint(trustml.Endpoint(url, model="nothing"), INPUTS[:2])
        with pytest.raises(EndpointError, match="HTTP 500"):
            ask_endpoint(served, INPUTS[:2].reshape(2, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("chances", [False, True])
def test_mlflow_serves_what_the_model_was_saved_to_answer(chances, servers, tmp_path):
    expected = trained(servers, tmp_path)
    (port,) = free_ports(1)
    function = "predict_proba" if chances else "predict"
    save = (
        "import joblib, mlflow.sklearn; mlflow.sklearn.save_model(joblib.load('model.joblib'), 'saved', "
        f"pyfunc_predict_fn='{function}', serialization_format='cloudpickle', pip_requirements=[])"
    )
    subprocess.run([servers / "python", "-c", save], cwd=tmp_path, check=True)
    command = [servers / "python", "-m", "mlflow", "models", "serve", "-m", "saved", "-p", str(port)]
    command += ["-h", "127.0.0.1", "--env-manager", "local"]
    url = f"http://127.0.0.1:{port}"
    with started(command, ready=f"{url}/ping", folder=tmp_path):
        served = trustml.Endpoint(f"{url}/invocations", protocol="mlflow")
        sets = {"train": (INPUTS[:200], LABELS[:200]), "holdout": (INPUTS[200:], LABELS[200:])}
        audit = trustml.audit(served, **sets, checks=("membership",))
        if chances:
            np.testing.assert_allclose(ask_endpoint(served, INPUTS[:9]), expected[:9], rtol=1e-12)
            assert audit.record.models[0].train_accuracy == (expected.argmax(1) == LABELS)[:200].mean()
        else:
            (told,) = [one.reason for one in audit.findings if one.id == "data.predictions"]
            assert "pyfunc_predict_fn='predict_proba'" in told


SERVED = """
import sys
import joblib, litserve, numpy

class Forest(litserve.LitAPI):
    def setup(self, device):
        self.forest = joblib.load("model.joblib")

    def decode_request(self, request):
        return numpy.asarray(request["rows"])

    def predict(self, rows):
        return self.forest.predict_proba(rows)

    def encode_response(self, output):
        return {"answer": {"chances": output.tolist()}}

if __name__ == "__main__":
    server = litserve.LitServer(Forest(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
"""


@pytest.mark.slow
def test_litserve_answers_in_json_of_its_own_names(servers, tmp_path):
    expected = trained(servers, tmp_path)
    (port,) = free_ports(1)
    (tmp_path / "served.py").write_text(SERVED)
    url = f"http://127.0.0.1:{port}"
    with started([servers / "python", "served.py", str(port)], ready=f"{url}/health", folder=tmp_path):
        names = {"input_name": "rows", "output_name": "answer.chances"}
        served = trustml.Endpoint(f"{url}/predict", protocol="json", **names)
        np.testing.assert_allclose(ask_endpoint(served, INPUTS[:9]), expected[:9], rtol=1e-12)
        sets = {"train": (INPUTS[:200], LABELS[:200]), "holdout": (INPUTS[200:], LABELS[200:])}
        audit = trustml.audit(served, **sets, checks=("membership",))
        assert audit.record.models[0].train_accuracy == (expected.argmax(1) == LABELS)[:200].mean()
        assert audit.worst == "risk"  # a forest knows what it was trained on
        with pytest.raises(EndpointError, match="name what leads to them as output_name"):
            ask_endpoint(trustml.Endpoint(f"{url}/predict", protocol="json", input_name="rows"), INPUTS[:2])
        with pytest.raises(EndpointError, match="HTTP 500"):
            ask_endpoint(trustml.Endpoint(f"{url}/predict", protocol="json"), INPUTS[:2])
