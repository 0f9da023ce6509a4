"""Options of ``trustml audit`` that describe a claim or an endpoint, gathered where they are parsed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from trustml.auditing.claim import Claim
    from trustml.auditing.endpoints import Endpoint

_Command = TypeVar("_Command", bound=Callable[..., Any])
_SAMPLINGS = ["poisson", "cyclic poisson", "shuffle", "fixed", "in turn", "full batch", "published", "unknown"]


def _keep(group: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            context.ensure_object(dict).setdefault(group, {})[parameter.name] = value

    return keep


def _option(group: str, flag: str, name: str, kind: Any, help_text: str) -> Callable[[_Command], _Command]:
    return click.option(flag, name, type=kind, help=help_text, expose_value=False, callback=_keep(group))


_CLAIM = (
    ("--claim-epsilon", "epsilon", float, "Epsilon that is claimed."),
    ("--claim-delta", "delta", float, "Delta that is claimed."),
    ("--claim-unit", "unit", click.Choice(["example", "user"]), "Unit of privacy; by default an example."),
    (
        "--claim-relation",
        "relation",
        click.Choice(["add-or-remove-one", "replace-one", "zero-out"]),
        "Neighbouring relation; by default add-or-remove-one.",
    ),
    ("--noise-multiplier", "noise_multiplier", float, "Noise over clipping norm, as claimed."),
    ("--sample-rate", "sample_rate", float, "Batch size over size of the training set, as claimed."),
    ("--steps", "steps", int, "Steps of training, as claimed."),
    ("--sampling", "sampling", click.Choice(_SAMPLINGS), "How batches are drawn, as the accountant assumes."),
    ("--loader", "loader", click.Choice(_SAMPLINGS), "How the code really draws them."),
)
_ENDPOINT = (
    (
        "--protocol",
        "protocol",
        click.Choice(["kserve-v2", "tf-serving", "torchserve", "mlflow", "json"]),
        "Of an endpoint; by default kserve-v2.",
    ),
    ("--endpoint-model", "model", str, "Name of the model on the server; else TARGET is the full address."),
    ("--input-name", "input_name", str, "Of the input that KServe or json is sent; by default `input`."),
    ("--output-name", "output_name", str, "Of the output that is asked for, such as predict_proba."),
    ("--batch-size", "batch_size", int, "Examples that the model gets at once; by default 64 of an endpoint."),
    ("--timeout", "timeout", float, "Seconds a request to an endpoint; by default 30."),
    ("--retries", "retries", int, "Further tries of a request that fails for the time being; by default 0."),
)


def claim_options(command: _Command) -> _Command:
    """Add the options of a claim."""
    for flag, name, kind, help_text in reversed(_CLAIM):
        command = _option("claim", flag, name, kind, help_text)(command)
    return command


def endpoint_options(command: _Command) -> _Command:
    """Add the options of an endpoint."""
    for flag, name, kind, help_text in reversed(_ENDPOINT):
        command = _option("endpoint", flag, name, kind, help_text)(command)
    return command


def claim_of(context: click.Context) -> Claim | None:
    """Claim that the options make; None for none.

    Raises
    ------
    click.UsageError
        If something is claimed without epsilon and delta.
    """
    import msgspec

    from trustml.auditing.claim import Claim

    stated = context.ensure_object(dict).get("claim", {})
    if stated and not {"epsilon", "delta"} <= set(stated):
        raise click.UsageError("a claim needs --claim-epsilon and --claim-delta")
    return msgspec.convert(stated, Claim) if stated else None


def endpoint_of(context: click.Context, url: str) -> Endpoint:
    """Endpoint that the options describe; raises UsageError if it cannot be one."""
    from trustml.auditing.endpoints import Endpoint

    return Endpoint(url, **context.ensure_object(dict).get("endpoint", {}))


def batch_size_of(context: click.Context) -> int | None:
    """Examples that the model gets at once, where the options say so."""
    found: int | None = context.ensure_object(dict).get("endpoint", {}).get("batch_size")
    return found
