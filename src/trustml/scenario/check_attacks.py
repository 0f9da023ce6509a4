"""Attacks of a scenario that cannot work, said before anything runs."""

from __future__ import annotations

import math

from trustml.errors import ScenarioError
from trustml.models.shapes import Shape
from trustml.models.tasks import Binary, Classes, NextToken
from trustml.models.token_layers import Embedding
from trustml.scenario.attacks import SEQUENCES, Attacks, CanaryKind
from trustml.scenario.federated import FederatedSpec
from trustml.scenario.regimes import DPSGD
from trustml.scenario.spec import Scenario
from trustml.scenario.trained_part import trained_shapes

LEAST_SHADOWS = 4


def check_attacks(attacks: Attacks) -> None:
    """Check everything about attacks that needs no data.

    Raises
    ------
    ScenarioError
        For the first impossible value.
    """
    if attacks.membership is not None and 0 < attacks.membership.shadow_models < LEAST_SHADOWS:
        raise ScenarioError(
            "attacks.membership.shadow_models",
            f"{attacks.membership.shadow_models} are too few for an example to be in some and out of others",
            fix=f"use {LEAST_SHADOWS} or more, or 0 for the attacks that need none",
        )
    kinds = [canaries.kind for canaries in attacks.canaries]
    for index, kind in enumerate(kinds):
        if kind in kinds[:index]:
            raise ScenarioError(f"attacks.canaries.{index}.kind", f"{kind!r} comes twice", fix="name each kind once")


def check_reconstruction(scenario: Scenario) -> None:
    """Check what is asked of updates and of typical inputs.

    Raises
    ------
    ScenarioError
        If no regime is federated, the task has no classes, or inputs are tokens.
    """
    attacks, task = scenario.attacks, type(scenario.task).__name__
    texts = any(isinstance(node.layer, Embedding) for node in scenario.model.nodes)
    for name, asked in (
        ("gradient_inversion", attacks.gradient_inversion),
        ("model_inversion", attacks.model_inversion),
    ):
        if asked is not None and (texts or isinstance(scenario.task, NextToken)):
            raise ScenarioError(f"attacks.{name}", "makes inputs of numbers, and these are tokens", fix="leave it out")
    if attacks.gradient_inversion is not None and not any(isinstance(r, FederatedSpec) for r in scenario.training):
        raise ScenarioError(
            "attacks.gradient_inversion",
            "attacks the updates of clients, and no regime is federated",
            fix="leave it out, or add a federated regime such as FedAvg()",
        )
    if attacks.model_inversion is not None and not isinstance(scenario.task, Classes | Binary):
        raise ScenarioError("attacks.model_inversion", f"is of classes, and the task is {task}", fix="leave it out")
    told = attacks.property_inference
    if told is not None and (told.shares[0] >= told.shares[1] or (told.labels and told.column)):
        raise ScenarioError(
            "attacks.property_inference",
            f"shares are {told.shares}, labels {told.labels} and the column is {told.column!r}",
            fix="name the smaller share first, and labels or a column, not both",
        )


def check_texts(scenario: Scenario, *, input_shape: Shape) -> None:
    """Check what is asked of models of texts alone.

    Raises
    ------
    ScenarioError
        If the task is another, or a text is too short.
    """
    extraction = scenario.attacks.extraction
    if not isinstance(scenario.task, NextToken):
        asked = [("extraction", "goes on with texts")] if extraction is not None else []
        asked += [
            (f"canaries.{index}.kind", f"{SEQUENCES!r} are texts")
            for index, canaries in enumerate(scenario.attacks.canaries)
            if canaries.kind == SEQUENCES
        ]
        for field, problem in asked:
            raise ScenarioError(
                f"attacks.{field}",
                f"{problem}, and the task is {type(scenario.task).__name__}",
                fix="leave it out, or use task=NextToken()",
            )
    elif extraction is not None and extraction.prefix + extraction.length > input_shape[0] + 1:
        most = input_shape[0] + 1
        raise ScenarioError(
            "attacks.extraction",
            f"prefix and length are {extraction.prefix + extraction.length} tokens together, and a text has {most}",
            fix=f"use {most} or fewer together",
        )


def most_canaries(kind: CanaryKind, *, parameters: int, values: int, classes: int, heldout: int) -> tuple[float, str]:
    """Give how many canaries of a kind there can be, and what there is so many of.

    Parameters
    ----------
    kind : str
    parameters : int
        Of the model.
    values : int
        Of one input.
    classes : int
    heldout : int
        Held-out examples.

    Returns
    -------
    count : float
        Infinite where nothing limits it.
    of_what : str
    """
    match kind:
        case "dirac gradient":
            return parameters, "parameters of the model"
        case "natural" | "mislabelled":
            return heldout, "held-out examples"
        case "blank":
            return values * classes, "pairs of an input value and a class"
    return math.inf, ""


def check_canaries(scenario: Scenario, *, input_shape: Shape, classes: int, heldout: int) -> None:
    """Check the canaries of a scenario against its model and data.

    Raises
    ------
    ScenarioError
        For the first that cannot be had.
    """
    check_texts(scenario, input_shape=input_shape)
    check_reconstruction(scenario)
    private = [regime for regime in scenario.training if isinstance(regime, DPSGD)] or [DPSGD()]
    moving = (trained_shapes(regime.trainable, scenario.model, input_shape) for regime in private)
    parameters = min(sum(map(math.prod, shapes.values())) for shapes in moving)
    values = math.prod(input_shape)
    for index, canaries in enumerate(scenario.attacks.canaries):
        most, of_what = most_canaries(
            canaries.kind, parameters=parameters, values=values, classes=classes, heldout=heldout
        )
        if canaries.count > most:
            raise ScenarioError(
                f"attacks.canaries.{index}.count",
                f"{canaries.count} is more than the {most:.0f} {of_what}, and each {canaries.kind} canary takes one",
                fix=f"use {most:.0f} or fewer",
            )
