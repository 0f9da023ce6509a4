"""Endpoints over real HTTP on loopback: each protocol, and each way to misbehave, which is one clear line."""

from __future__ import annotations

import socket
import time

import numpy as np
import pytest

from tests.auditing.serving import drip, hang, send, serving
from trustml.auditing.endpoints import Endpoint, EndpointError, ask_endpoint
from trustml.auditing.outputs import meaning_of
from trustml.errors import DataError, UsageError

INPUTS = np.arange(12, dtype=np.float32).reshape(3, 2, 2)


def predict(inputs):
    first = 1 / (1 + np.exp(-inputs.reshape(len(inputs), -1).mean(axis=1, dtype=float)))
    return np.stack([first, 1 - first], axis=1)


@pytest.mark.parametrize("protocol", ["kserve-v2", "tf-serving", "torchserve"])
def test_each_protocol_gives_what_the_model_gives(protocol):
    with serving(predict) as url:
        found = ask_endpoint(Endpoint(url, protocol=protocol, model="digits"), INPUTS)
    np.testing.assert_allclose(found, predict(INPUTS), rtol=1e-12)


def test_a_full_address_needs_no_name():
    with serving(predict) as url:
        found = ask_endpoint(Endpoint(f"{url}/predictions/digits", protocol="torchserve"), INPUTS)
    assert found.shape == (3, 2)


def failure(answer, *, timeout=5.0, protocol="tf-serving", largest_answer=1 << 20, output_name="", path=""):
    with serving(predict, answer=answer) as url:
        endpoint = Endpoint(
            url + path,
            protocol=protocol,
            model="" if path else "digits",
            timeout=timeout,
            largest_answer=largest_answer,
            output_name=output_name,
        )
        with pytest.raises(EndpointError) as raised:
            ask_endpoint(endpoint, INPUTS)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>hello</html>", "answered no JSON but '<html>"),
        (b"\xff\xfe", "no JSON"),
        ({"something": 1}, "holds no `predictions`"),
        ({"error": "model is loading"}, "model is loading"),
        ([1, 2, 3], "holds no `predictions`"),
        ({"predictions": [[0.5, 0.5]]}, "3 examples were sent, and an output of shape (1, 2)"),
        ({"predictions": [[0.5], [0.5, 0.5], [1]]}, "no array of numbers"),
        ({"predictions": [["a"], ["b"], ["c"]]}, "no array of numbers"),
        ({"predictions": [{"a": [1], "b": [2]}] * 3}, "has the outputs a, b; name one"),
    ],
)
def test_garbage_is_one_line(content, words):
    assert words in failure(lambda handler, _: send(handler, content))


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ([], "has the outputs none"),
        ([{"name": "a"}, {"name": "b"}], "has the outputs a, b"),
        ([{"name": "a", "shape": [3, 2], "data": [1, 2, 3]}], "of the shape [3, 2]"),
        ([{"name": "a", "shape": "x", "data": [1]}], "no shape or no data"),
        ([{"name": "a", "shape": [3, 1]}], "no shape or no data"),
    ],
)
def test_garbage_in_kserves_form_is_one_line(outputs, words):
    assert words in failure(lambda handler, _: send(handler, {"outputs": outputs}), protocol="kserve-v2")


def test_one_of_several_outputs_can_be_named():
    rows = [{"a": [1.0, 0.0], "b": [0.0, 1.0]}] * 3
    with serving(predict, answer=lambda handler, _: send(handler, {"predictions": rows})) as url:
        found = ask_endpoint(Endpoint(url, protocol="tf-serving", model="m", output_name="b"), INPUTS)
    assert found.tolist() == [[0.0, 1.0]] * 3


def as_mlserver(handler, body):
    """As MLServer 1.7.1 serves a scikit-learn classifier: classes, unless an output of probabilities is asked for."""
    (tensor,) = body["inputs"]
    found = predict(np.array(tensor["data"]).reshape(tensor["shape"]))
    outputs = []
    for name in [one["name"] for one in body.get("outputs", [])] or ["predict"]:
        if name == "predict":
            outputs.append({"name": name, "shape": [3, 1], "datatype": "INT64", "data": found.argmax(axis=1).tolist()})
        elif name == "predict_proba":
            data = found.ravel().tolist()
            outputs.append({"name": name, "shape": [3, 2], "datatype": "FP64", "data": data})
        else:
            known = "SKLearnModel only supports 'predict', 'predict_proba' and 'transform' as outputs"
            send(handler, {"error": f"{known} ({name} was received)"}, code=400)
            return
    send(handler, {"model_name": "m", "outputs": outputs})


def test_the_output_that_is_named_is_asked_for():
    with serving(predict, answer=as_mlserver) as url:
        labels = ask_endpoint(Endpoint(url, model="m"), INPUTS)
        found = ask_endpoint(Endpoint(url, model="m", output_name="predict_proba"), INPUTS)
        with pytest.raises(EndpointError, match=r"HTTP 400: .*only supports 'predict'"):
            ask_endpoint(Endpoint(url, model="m", output_name="logits"), INPUTS)
    np.testing.assert_allclose(found, predict(INPUTS), rtol=1e-12)
    with pytest.raises(DataError, match="output_name='predict_proba'"):
        meaning_of(labels, "auto")
    assert meaning_of(found, "auto").scale == "probabilities"


def as_mlflow(handler, body):
    """As MLflow's scoring server: a mapping of inputs in, predictions out, at one address."""
    assert handler.path == "/invocations" and list(body) == ["inputs"]
    send(handler, {"predictions": predict(np.array(body["inputs"])).tolist()})


def test_mlflow_is_asked_at_its_one_address():
    with serving(predict, answer=as_mlflow) as url:
        found = ask_endpoint(Endpoint(f"{url}/invocations", protocol="mlflow"), INPUTS)
    np.testing.assert_allclose(found, predict(INPUTS), rtol=1e-12)
    with pytest.raises(UsageError, match=r"endpoint\.model: 'digits' is in no address .*HOST:PORT/invocations"):
        Endpoint("http://host", protocol="mlflow", model="digits")
    assert "holds no `predictions`" in failure(
        lambda handler, _: send(handler, [1, 2, 3]), protocol="mlflow", path="/x"
    )


def test_json_of_other_names_is_described_by_them():
    def answer(handler, body):
        rows = predict(np.array(body["x"])).tolist()
        send(handler, {"result": {"p": rows, "n": len(rows)}} if handler.path == "/deep" else rows)

    with serving(predict, answer=answer) as url:
        plain = ask_endpoint(Endpoint(f"{url}/plain", protocol="json", input_name="x"), INPUTS)
        deep = ask_endpoint(Endpoint(f"{url}/deep", protocol="json", input_name="x", output_name="result.p"), INPUTS)
    for found in (plain, deep):
        np.testing.assert_allclose(found, predict(INPUTS), rtol=1e-12)


@pytest.mark.parametrize(
    ("output_name", "words"),
    [
        ("", "where its outputs should be a list its answer holds result, id; name what leads to them as output_name"),
        ("result", "where its outputs should be a list its answer holds p"),
        ("result.q", "at 'q' of output_name its answer holds p"),
        ("result.p.q", "at 'q' of output_name its answer holds a list"),
        ("id", "where its outputs should be a list its answer holds a int"),
    ],
)
def test_json_that_does_not_lead_to_outputs_is_one_line(output_name, words):
    content = {"result": {"p": [[0.5, 0.5]] * 3}, "id": 1}
    said = failure(lambda handler, _: send(handler, content), protocol="json", path="/x", output_name=output_name)
    assert words in said


@pytest.mark.parametrize("answer", [hang, drip])
def test_an_endpoint_that_hangs_or_drips_is_left_in_time(answer):
    begin = time.monotonic()
    assert "gave no whole answer in 0.2 s" in failure(answer, timeout=0.2)
    assert time.monotonic() - begin < 3


def test_an_answer_that_is_too_long_is_not_read_to_its_end():
    assert "longer than 1000 bytes" in failure(lambda h, _: send(h, b" " * 100_000), largest_answer=1000)


def test_redirects_are_not_followed():
    elsewhere = [("Location", "http://169.254.169.254/latest/meta-data")]
    said = failure(lambda handler, _: send(handler, b"", code=302, headers=elsewhere))
    assert "redirects elsewhere, which is not followed" in said


def test_errors_of_http_name_status_and_reason():
    assert "HTTP 503: too busy" in failure(lambda handler, _: send(handler, b"too busy", code=503))


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(EndpointError, match="cannot be reached"):
        ask_endpoint(Endpoint(url, model="digits"), INPUTS)


def test_retries_are_made_only_where_asked_and_only_for_what_may_pass():
    calls = []

    def flaky(handler, body):
        calls.append(1)
        if len(calls) < 3:
            send(handler, b"busy", code=503)
        else:
            send(handler, {"predictions": predict(np.array(body["instances"])).tolist()})

    with serving(predict, answer=flaky) as url:
        assert ask_endpoint(Endpoint(url, protocol="tf-serving", model="m", retries=2), INPUTS).shape == (3, 2)
    assert len(calls) == 3
    calls.clear()
    failure(lambda handler, _: (calls.append(1), send(handler, b"no", code=400)))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("url", "settings", "field"),
    [
        ("file:///etc/passwd", {}, "endpoint.url"),
        ("ftp://host/model", {}, "endpoint.url"),
        ("http://", {}, "endpoint.url"),
        ("http://[::1", {}, "endpoint.url"),
        ("http://secret:99999999/m", {}, "endpoint.url"),
        ("http://host:secret/m", {}, "endpoint.url"),
        ("http://user:secret@host/model", {}, "endpoint.url"),
        ("http://host", {}, "endpoint.model"),
        ("http://host/m", {"protocol": "grpc"}, "endpoint.protocol"),
        ("http://host/m", {"timeout": 0}, "endpoint"),
    ],
)
def test_what_is_no_endpoint_is_refused(url, settings, field):
    with pytest.raises(UsageError, match=field) as raised:
        Endpoint(url, **settings)
    assert "secret" not in str(raised.value)


def test_nothing_secret_is_shown():
    endpoint = Endpoint("http://host/m?token=secret", headers={"Authorization": "secret"})
    assert endpoint.shown == "http://host/m"
    assert "secret" not in repr(endpoint)
    assert "secret" in endpoint.address


@pytest.mark.parametrize("value", ["Bearer SECRET123\n", "Bearer\x1b SECRET123", "SECRET123\x85", "SECRET123 \u2028"])
def test_a_header_that_cannot_be_sent_is_refused_without_being_quoted(value):
    with pytest.raises(UsageError, match=r"endpoint\.headers") as raised:
        Endpoint("http://host/m", headers={"Authorization": value})
    assert "SECRET123" not in str(raised.value)


BASIC = "dXNlcjpTRUNSRVQxMjM="  # user:SECRET123


@pytest.mark.parametrize(
    ("code", "content"),
    [
        (403, {"error": "invalid credentials: Bearer SECRET123"}),
        (403, b"token SECRET123 has expired"),
        (403, b"x" * 195 + b"SECRET123"),
        (403, f"{BASIC} is of user:SECRET123".encode()),
        (403, b"not allowed: /m?key=SECRET456"),
        (200, b"SECRET123 is no token"),
        (200, {"error": "wrong: SECRET123"}),
        (200, {"predictions": [{"SECRET123": [1], "b": [2]}] * 3}),
    ],
)
def test_what_a_server_says_of_credentials_is_not_repeated(code, content):
    headers = {"Authorization": "Bearer SECRET123", "Proxy-Authorization": f"Basic {BASIC}"}
    with serving(predict, answer=lambda handler, _: send(handler, content, code=code)) as url:
        with pytest.raises(EndpointError) as raised:
            ask_endpoint(Endpoint(f"{url}/m?key=SECRET456", protocol="tf-serving", headers=headers), INPUTS)
    assert "SECRE" not in str(raised.value) and BASIC not in str(raised.value)
    assert "***" in str(raised.value)
