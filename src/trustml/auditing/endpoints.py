"""A served model, asked over HTTP: KServe v2, TensorFlow Serving's REST, TorchServe, MLflow and JSON of other names.

Everything an endpoint answers is untrusted: it is limited in size and time, parsed as JSON and nothing else, and what
is not an array of numbers with one row an example is refused in one line. Redirects are never followed.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.errors import TrustmlError, UsageError

Protocol: TypeAlias = Literal["kserve-v2", "tf-serving", "torchserve", "mlflow", "json"]

_DATATYPES = {"f2": "FP16", "f4": "FP32", "f8": "FP64", "i1": "INT8", "i2": "INT16", "i4": "INT32", "i8": "INT64"}
_DATATYPES |= {"u1": "UINT8", "u2": "UINT16", "u4": "UINT32", "u8": "UINT64", "b1": "BOOL"}
_PIECE = 1 << 16


class EndpointError(TrustmlError):
    """An endpoint did not answer, or not as its protocol says."""


@dataclass(frozen=True, repr=False)
class Endpoint:
    """A served model.

    Parameters
    ----------
    url : str
        ``http`` or ``https``: the server, if `model` is given, or the full address of the model's predictions.
    protocol : {"kserve-v2", "tf-serving", "torchserve", "mlflow", "json"}
        ``/v2/models/NAME/infer``, ``/v1/models/NAME:predict``, ``/predictions/NAME``, or a full address such as
        ``http://HOST:PORT/invocations`` of the last two. TorchServe is sent ``{"instances": [...]}``, its JSON
        envelope, MLflow ``{"inputs": [...]}``, and any other server ``{INPUT_NAME: [...]}``; each may answer
        ``{"predictions": [...]}``, any other ``{OUTPUT_NAME: [...]}``, or a plain list.
    model : str
        Name of the model on the server.
    input_name, output_name : str
        Names of tensors. KServe needs that of the input, and every protocol that of the output where there are
        several. KServe's is sent: MLServer's runtime for scikit-learn answers classes unless it is `predict_proba`.
        Names with points between lead into an answer of ``json``, such as ``result.probabilities``.
    datatype : str
        KServe's name of the type that inputs are sent as; empty for that of the array.
    batch_size : int
        Examples a request.
    timeout : float
        Seconds for one whole request.
    retries : int
        Further tries of a request that could not be sent, timed out or was answered by a status of 500 or above.
    headers : mapping of str to str
        Such as an authorisation; never written into any record.
    largest_answer : int
        Bytes.

    Examples
    --------
    >>> trustml.Endpoint("http://localhost:8501", protocol="tf-serving", model="digits")      # doctest: +SKIP
    """

    url: str
    protocol: Protocol = "kserve-v2"
    model: str = ""
    input_name: str = "input"
    output_name: str = ""
    datatype: str = ""
    batch_size: int = 64
    timeout: float = 30.0
    retries: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    largest_answer: int = 64 << 20

    def __post_init__(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.url)
            _ = parts.port  # which is looked at when it is asked for
        except ValueError:
            problem = "is no address: its host, in [ ] for IPv6, or its port cannot be read"
            raise UsageError(f"endpoint.url: {problem}; write http://HOST:PORT") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"endpoint.url: {_shown(self.url)!r} is no http or https address; write http://HOST:PORT")
        if parts.username or parts.password:
            raise UsageError("endpoint.url: holds a user name or password; give them as headers={'Authorization': ...}")
        if self.protocol not in get_args(Protocol):
            raise UsageError(
                f"endpoint.protocol: {self.protocol!r} is not known; choose {', '.join(get_args(Protocol))}"
            )
        if self.batch_size < 1 or self.timeout <= 0 or self.retries < 0 or self.largest_answer < 1:
            raise UsageError("endpoint: batch_size, timeout and largest_answer must be positive, retries at least 0")
        if self.model and self.protocol in ("mlflow", "json"):
            raise UsageError(
                f"endpoint.model: {self.model!r} is in no address of the protocol {self.protocol}; give the full "
                "address of its predictions, such as http://HOST:PORT/invocations, and no model"
            )
        if not self.model and parts.path in ("", "/"):
            raise UsageError("endpoint.model: is missing; name the model, or give the full address of its predictions")

        for name, value in self.headers.items():
            if not _sendable(name) or not _sendable(value):
                raise UsageError(
                    "endpoint.headers: a name or value is no text that a header can hold (a line feed or another "
                    "control character, or none of latin-1); strip it"
                )

    def __repr__(self) -> str:
        return f"<Endpoint {self.shown} ({self.protocol})>"

    @property
    def address(self) -> str:
        """Where requests are sent."""
        if not self.model:
            return self.url
        name = urllib.parse.quote(self.model, safe="")
        path = {
            "kserve-v2": f"/v2/models/{name}/infer",
            "tf-serving": f"/v1/models/{name}:predict",
            "torchserve": f"/predictions/{name}",
        }[self.protocol]
        return self.url.rstrip("/") + path

    @property
    def shown(self) -> str:
        """Return the address without what may be secret in it."""
        return _shown(self.address)


def ask_endpoint(endpoint: Endpoint, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Ask for the outputs of one batch.

    Parameters
    ----------
    endpoint : Endpoint
    inputs : array of shape (n, *x)

    Returns
    -------
    float64 array of shape (n, ...)

    Raises
    ------
    EndpointError
        One line: no connection, no answer in time, too long an answer, no JSON, a shape that does not fit.
    """
    content = _request(endpoint, inputs)
    for left in range(endpoint.retries, -1, -1):
        try:
            answer = _post(endpoint, content)
            break
        except _PassingError:
            if not left:
                raise
    try:
        decoded = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        begin = _quoted(endpoint, answer[:_PIECE].decode("utf-8", errors="replace"), most=60)
        raise EndpointError(f"{endpoint.shown}: answered no JSON but {begin!r}") from None
    if endpoint.protocol == "kserve-v2":
        rows = _kserve_rows(endpoint, decoded, len(inputs))
    elif endpoint.protocol == "json":
        rows = _named_rows(endpoint, decoded)
    else:
        rows = _rows(endpoint, decoded)
    try:
        found = np.asarray(rows, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise EndpointError(f"{endpoint.shown}: its outputs are no array of numbers") from None
    if found.ndim == 0 or len(found) != len(inputs):
        raise EndpointError(
            f"{endpoint.shown}: {len(inputs)} examples were sent, and an output of shape {found.shape} came back"
        )
    return found


class _PassingError(EndpointError):
    """An error that may be gone at the next try."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def _request(endpoint: Endpoint, inputs: npt.NDArray[Any]) -> bytes:
    if not np.isfinite(inputs).all():
        raise EndpointError(f"{endpoint.shown}: inputs that are not finite cannot be sent as JSON")
    if endpoint.protocol != "kserve-v2":
        name = {"mlflow": "inputs", "json": endpoint.input_name}.get(endpoint.protocol, "instances")
        return msgspec.json.encode({name: inputs.tolist()})
    datatype = endpoint.datatype or _DATATYPES.get(inputs.dtype.str[1:], "FP32")
    tensor = {
        "name": endpoint.input_name,
        "shape": list(inputs.shape),
        "datatype": datatype,
        "data": inputs.ravel().tolist(),
    }
    # Some servers, such as MLServer, answer classes unless an output of probabilities is asked for by name.
    named = {"outputs": [{"name": endpoint.output_name}]} if endpoint.output_name else {}
    return msgspec.json.encode({"inputs": [tensor], **named})


def _post(endpoint: Endpoint, content: bytes) -> bytes:
    headers = {"Content-Type": "application/json", "Accept": "application/json", **endpoint.headers}
    request = urllib.request.Request(endpoint.address, data=content, headers=headers, method="POST")
    opener = urllib.request.build_opener(_NoRedirect)
    end = time.monotonic() + endpoint.timeout
    where, late = endpoint.shown, f"gave no whole answer in {endpoint.timeout:g} s; set a longer timeout"
    try:
        with opener.open(request, timeout=endpoint.timeout) as answer:
            return _read(endpoint, answer, end)
    except urllib.error.HTTPError as error:
        said = _said(endpoint, error)
        if 300 <= error.code < 400:
            raise EndpointError(
                f"{where}: redirects elsewhere, which is not followed; give the final address"
            ) from None
        kind = _PassingError if error.code >= 500 else EndpointError
        raise kind(f"{where}: answered HTTP {error.code}: {said}") from None
    except TimeoutError:
        raise _PassingError(f"{where}: {late}") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _PassingError(f"{where}: {late}") from None
        raise _PassingError(f"{where}: cannot be reached ({error.reason}); is the server running?") from None
    except (OSError, http.client.HTTPException) as error:
        raise _PassingError(f"{where}: broke the connection ({type(error).__name__})") from None
    except ValueError as error:  # its message may quote a header
        raise EndpointError(f"{where}: cannot be written as a request ({type(error).__name__})") from None


def _said(endpoint: Endpoint, error: urllib.error.HTTPError) -> str:
    """First line of what an error says, or else its reason."""
    try:
        with error:
            lines = error.read(_PIECE).decode("utf-8", errors="replace").strip().splitlines()
    except (OSError, http.client.HTTPException):
        lines = []
    return _quoted(endpoint, lines[0] if lines else str(error.reason), most=200)


def _sendable(text: str) -> bool:
    return isinstance(text, str) and all(" " <= one <= "\xff" and not "\x7f" <= one <= "\x9f" for one in text)


def _quoted(endpoint: Endpoint, said: str, *, most: int) -> str:
    """Begin of what a server said, without the secrets that it was sent: servers quote them in their errors."""
    for secret in _secrets(endpoint):
        said = said.replace(secret, "***")
    return said[:most]


def _secrets(endpoint: Endpoint) -> list[str]:
    """Values of headers and of the address, the words of which they consist, and what a basic authorisation decodes to.

    The longest come first, so that none is left in part. Short words, such as those of a list, are no secrets.
    """
    queried = [value for _, value in urllib.parse.parse_qsl(urllib.parse.urlsplit(endpoint.address).query)]
    whole = [value.strip() for value in endpoint.headers.values()]
    whole += queried + [urllib.parse.quote(value, safe="") for value in queried]
    words = [word for value in whole for word in re.split(r"[\s,;]+", value)]
    words += [part for word in words for part in word.split("=", 1)[1:]]
    for word in tuple(words):
        try:
            decoded = base64.b64decode(word, validate=True).decode()
        except (binascii.Error, ValueError):
            continue
        words += [decoded, *decoded.split(":", 1)[1:]]
    found = {value for value in whole if value} | {word for word in words if len(word) > 3}
    written = {json_text[1:-1] for value in found for json_text in [msgspec.json.encode(value).decode()]}
    return sorted(found | written, key=len, reverse=True)


def _read(endpoint: Endpoint, answer: Any, end: float) -> bytes:
    """Read in pieces: a server that drips would never run into the socket's own time limit."""
    parts, size = [], 0
    while piece := answer.read1(_PIECE):
        parts.append(piece)
        size += len(piece)
        if size > endpoint.largest_answer:
            raise EndpointError(f"{endpoint.shown}: its answer is longer than {endpoint.largest_answer} bytes")
        if time.monotonic() > end:
            raise TimeoutError
    return b"".join(parts)


def _kserve_rows(endpoint: Endpoint, answer: Any, examples: int) -> Any:
    outputs = answer.get("outputs") if isinstance(answer, dict) else None
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise EndpointError(f"{endpoint.shown}: its answer holds no `outputs`{_complaint(endpoint, answer)}")
    named = [output for output in outputs if endpoint.output_name in ("", output.get("name"))]
    if len(named) != 1:
        names = ", ".join(str(output.get("name")) for output in outputs)
        told = _quoted(endpoint, names, most=200) or "none"
        raise EndpointError(f"{endpoint.shown}: has the outputs {told}; name one of them as output_name")
    shape, data = named[0].get("shape"), named[0].get("data")
    if not isinstance(shape, list) or not all(isinstance(size, int) and size >= 0 for size in shape) or not data:
        raise EndpointError(f"{endpoint.shown}: its output has no shape or no data in JSON (binary data is not read)")
    try:
        return np.asarray(data, np.float64).reshape(shape)
    except (TypeError, ValueError, OverflowError):
        raise EndpointError(f"{endpoint.shown}: its output is no array of numbers of the shape {shape}") from None


def _rows(endpoint: Endpoint, answer: Any) -> Any:
    rows = answer.get("predictions") if isinstance(answer, dict) else answer
    if endpoint.protocol in ("tf-serving", "mlflow") and not isinstance(answer, dict):
        rows = None
    if not isinstance(rows, list):
        raise EndpointError(f"{endpoint.shown}: its answer holds no `predictions`{_complaint(endpoint, answer)}")
    if rows and all(isinstance(row, dict) for row in rows):
        names = sorted(set().union(*rows))
        wanted = endpoint.output_name or (names[0] if len(names) == 1 else "")
        if not all(wanted in row for row in rows):
            told = _quoted(endpoint, ", ".join(names[:10]), most=200)
            raise EndpointError(f"{endpoint.shown}: has the outputs {told}; name one of them as output_name")
        return [row[wanted] for row in rows]
    return rows


def _named_rows(endpoint: Endpoint, answer: Any) -> Any:
    """Rows at the place that the output's name leads to; a plain list where it has none."""
    found, left = answer, endpoint.output_name.split(".") if endpoint.output_name else []
    while left and isinstance(found, dict) and left[0] in found:
        found = found[left.pop(0)]
    if not left and isinstance(found, list):
        return found
    there = ", ".join(map(str, list(found)[:10])) if isinstance(found, dict) else f"a {type(found).__name__}"
    told = _quoted(endpoint, there, most=200) or "nothing"
    looked = f"at {left[0]!r} of output_name" if left else "where its outputs should be a list"
    raise EndpointError(f"{endpoint.shown}: {looked} its answer holds {told}; name what leads to them as output_name")


def _complaint(endpoint: Endpoint, answer: Any) -> str:
    said = answer.get("error") if isinstance(answer, dict) else None
    return f", but the error {_quoted(endpoint, str(said), most=200)!r}" if said else ""


def _shown(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    host = (parts.netloc or "").rsplit("@", 1)[-1]
    return f"{parts.scheme}://{host}{parts.path}"
