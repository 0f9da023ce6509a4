"""What cannot work, said before anything runs: one clear line each."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import msgspec

from trustml.errors import ScenarioError
from trustml.frameworks.table import backend_names, entry_of, is_known
from trustml.models.graph import check_graph
from trustml.models.layer_types import WHY_NO_EXPANDED_WEIGHTS, WITHOUT_EXPANDED_WEIGHTS, WITHOUT_FUNCTORCH
from trustml.models.layers import Dropout, Sigmoid
from trustml.models.native import check_native, native_of
from trustml.models.network_files import starting_weights
from trustml.models.shapes import Shape, layer_shapes, refuse_erasing_norms
from trustml.models.tasks import Classes, Labels, NextToken, Regression, are_classes, in_words, output_count
from trustml.scenario.check_attacks import check_attacks, check_canaries
from trustml.scenario.check_execution import check_execution
from trustml.scenario.check_explanations import check_explanations, check_rows, check_target
from trustml.scenario.check_regimes import check_ablations, check_regime
from trustml.scenario.federated import SiloDPFedAvg
from trustml.scenario.problems import check_types
from trustml.scenario.regimes import DPSGD, MOST_OF_ONE, Augmentation, Plain, Regime
from trustml.scenario.sources import Table, Text
from trustml.scenario.spec import Scenario
from trustml.scenario.starts import run_start
from trustml.scenario.sweep import check_sweep
from trustml.scenario.trained_part import trained_part


def check_scenario(scenario: Scenario) -> None:
    """Check everything that needs no data.

    Raises
    ------
    ScenarioError
        For the first impossible value.
    """
    check_types(scenario)
    check_backends(scenario)
    _check_task(scenario)
    _check_chosen(scenario)
    _check_slices(scenario)
    for name in ("backends", "seeds", "slices"):
        value = getattr(scenario, name)
        if len(set(value)) < len(value):
            raise ScenarioError(name, f"{list(value)} repeats a value", fix="name each once")
    _check_start(scenario)
    check_graph(scenario.model)
    _check_own_code(scenario)
    for index, node in enumerate(scenario.model.nodes):
        if isinstance(node.layer, Dropout) and len(scenario.backends) > 1:
            raise ScenarioError(
                f"model.layers.{index}",
                "Dropout draws different masks in each framework, so the backends would train different models",
                fix="remove it, or choose a single backend",
            )
    for index, regime in enumerate(scenario.training):
        check_regime(regime, f"training.{index}")
    names = Counter(regime.title for regime in scenario.training)
    for index, regime in enumerate(scenario.training):
        if names[regime.title] > 1:
            raise ScenarioError(
                f"training.{index}.name",
                f"{regime.title!r} names two regimes",
                fix="give each a name of its own",
            )
        if not all(c.isalnum() or c in "-_" for c in regime.title) or len(regime.title) > 64:
            raise ScenarioError(
                f"training.{index}.name",
                f"{regime.title!r} is no plain name",
                fix="use letters, digits, - and _",
            )
    check_sweep(scenario.sweep, {regime.title: regime for regime in scenario.training})
    _check_stops(scenario)
    check_ablations(scenario)
    check_explanations(scenario)
    check_attacks(scenario.attacks)
    _check_mode(scenario)
    check_execution(scenario)


def check_against_data(
    scenario: Scenario, *, input_shape: Shape, classes: int, train_examples: int, test_examples: int
) -> list[str]:
    """Check everything that needs the data's sizes; return warnings.

    `classes` counts the names of the data's classes, labels or targets.

    Raises
    ------
    ScenarioError
        For the first impossible value.
    """
    warnings: list[str] = []
    if scenario.start and run_start(scenario.start) is None:
        starting_weights(Path(scenario.start), scenario.model, input_shape)
    outputs = output_count(scenario.task, classes)
    final = layer_shapes(scenario.model, input_shape)[-1]
    refuse_erasing_norms(scenario.model, input_shape)
    wanted = (input_shape[0], outputs) if isinstance(scenario.task, NextToken) else (outputs,)
    if final != wanted:
        end = f"Dense(units={outputs})"
        if isinstance(scenario.task, NextToken):
            end = f"an Unembedding, or a Dense, of {outputs} at each step"
        many = "the data has" if isinstance(scenario.task, Classes | Labels) else "the task is"
        raise ScenarioError(
            f"model.layers.{len(scenario.model.layers) - 1}",
            f"gives shape {final} but {many} {in_words(scenario.task, classes)}",
            fix=f"end with {end}",
        )
    _refuse_probabilities(scenario)
    weights = () if isinstance(scenario.task, Regression | NextToken) else scenario.task.class_weights
    if weights and len(weights) != classes:
        raise ScenarioError(
            "task.class_weights",
            f"{len(weights)} weights do not go with {in_words(scenario.task, classes)}",
            fix=f"give {classes}",
        )
    check_rows(scenario.explanations.rows, heldout=test_examples)
    if scenario.explanations.examples > test_examples and not scenario.explanations.rows:
        raise ScenarioError(
            "explanations.examples",
            f"{scenario.explanations.examples} is more than the {test_examples} held-out examples",
            fix=f"use {test_examples} or fewer",
        )
    what = "classes" if are_classes(scenario.task) else "outputs"
    check_target(scenario.explanations.target, classes=outputs, what=what)
    kinds = classes if isinstance(scenario.task, Classes) else 2  # of labels that a canary may have
    check_canaries(scenario, input_shape=input_shape, classes=kinds, heldout=test_examples)
    for index, regime in enumerate(scenario.training):
        field = f"training.{index}"
        ablation = isinstance(regime, Plain) and regime.ablation is not None  # takes the private regime's batches
        if isinstance(regime, Plain | DPSGD) and not ablation and regime.batch_size > train_examples:
            raise ScenarioError(
                f"{field}.batch_size",
                f"{regime.batch_size} is more than the {train_examples} training examples",
                fix=f"use {train_examples} or fewer",
            )
        warnings += _part_warnings(scenario, regime, input_shape, field)
        if isinstance(regime, Plain | DPSGD) and regime.augmentation is not None:
            _check_augmentation(regime.augmentation, input_shape, f"{field}.augmentation")
        if isinstance(regime, DPSGD) and regime.unit == "example" and regime.delta >= 1 / train_examples:
            usual = 10 ** math.floor(math.log10(1 / train_examples)) / 10
            warnings.append(
                f"{field}.delta: {regime.delta:g} is not below 1/n = {1 / train_examples:.2g}, so the guarantee "
                f"allows leaking a whole record; use {usual:.0e} or less"
            )
    return warnings


def _part_warnings(scenario: Scenario, regime: Regime, input_shape: Shape, field: str) -> list[str]:
    """Check what a regime trains; warn where all else is random."""
    if not isinstance(regime, Plain | DPSGD) or not regime.trainable:
        return []
    trained_part(regime.trainable, scenario.model, input_shape, field=f"{field}.trainable")
    if scenario.start and not regime.from_seed:
        return []
    return [
        f"{field}.trainable: what is not trained keeps the random values of the seed, as it starts from no model; "
        "name one as start"
    ]


def _refuse_probabilities(scenario: Scenario) -> None:
    """Refuse a model that gives probabilities where the task reads logits."""
    if isinstance(scenario.model.nodes[-1].layer, Sigmoid) and not isinstance(scenario.task, Regression):
        raise ScenarioError(
            f"model.layers.{len(scenario.model.layers) - 1}",
            "is a Sigmoid, but the task reads logits: its probabilities would be taken for those",
            fix="end with the layer before it",
        )


def _check_augmentation(augmentation: Augmentation, input_shape: Shape, field: str) -> None:
    """Refuse what has no rows and columns to be shifted, and shifts that leave nothing of an image."""
    if len(input_shape) != 3:
        raise ScenarioError(field, f"shifts images, but inputs have shape {input_shape}", fix="remove it")
    if augmentation.multiplicity > MOST_OF_ONE:
        raise ScenarioError(
            f"{field}.multiplicity",
            f"{augmentation.multiplicity} copies of an image are more than go through a network together",
            fix=f"use {MOST_OF_ONE} or less",
        )
    most = min(input_shape[:2]) - 1
    if augmentation.shift > most:
        raise ScenarioError(
            f"{field}.shift",
            f"{augmentation.shift} moves images of {input_shape[0]} x {input_shape[1]} out of sight",
            fix=f"use {most} or less",
        )


def check_backends(scenario: Scenario) -> None:
    """Check that every backend is there.

    Raises
    ------
    ScenarioError
    """
    for index, name in enumerate(scenario.backends):
        if not is_known(name):
            raise ScenarioError(
                f"backends.{index}",
                f"{name!r} is not one of the choices",
                fix=f"choose one of {', '.join(backend_names())}",
            )


def _check_start(scenario: Scenario) -> None:
    """Refuse attacks by models that would start from elsewhere: they would know the attacked ones less well."""
    membership = scenario.attacks.membership
    if scenario.start and membership is not None and membership.shadow_models:
        raise ScenarioError(
            "start",
            f"{membership.shadow_models} shadow models start from weights of their own, not from those of the file",
            fix="set attacks.membership.shadow_models to 0, or leave start out",
        )


def _check_own_code(scenario: Scenario) -> None:
    """Refuse what a network of somebody's own code cannot have."""
    check_native(scenario.model)
    own = native_of(scenario.model)
    if own is None:
        return
    if own.backend not in scenario.backends:
        problem = f"the model is code of {own.backend}, which is not among {', '.join(scenario.backends)}"
        raise ScenarioError("backends", problem, fix=f"set backends to ({own.backend!r},)")
    if isinstance(scenario.data, Text):
        problem = "gives token ids, and own code is tried on, and explained by, numbers that may be changed a little"
        raise ScenarioError("data", problem, fix="import the model (docs/importing.md), or write its layers")
    membership = scenario.attacks.membership
    if membership is not None and membership.shadow_models:
        raise ScenarioError(
            "attacks.membership.shadow_models",
            f"{membership.shadow_models} shadow models are trained in one program, which does not run own code",
            fix="use 0, for the attacks that need none",
        )
    for index, regime in enumerate(scenario.training):
        if isinstance(regime, DPSGD) and regime.engine != "core":
            problem = f"{regime.engine!r} leaves clipping to the library, which is not held against examples one by one"
            raise ScenarioError(f"training.{index}.engine", problem, fix="use core for own code")


def _check_chosen(scenario: Scenario) -> None:
    """Check that what is said to be chosen from the data are fields of this scenario."""
    whole = msgspec.to_builtins(scenario)
    for index, path in enumerate(scenario.chosen_from_data):
        place = whole
        for key in path.split("."):
            if isinstance(place, list | tuple) and key.isdigit() and int(key) < len(place):
                place = place[int(key)]
            elif isinstance(place, dict) and key in place:
                place = place[key]
            else:
                known = ", ".join(place) if isinstance(place, dict) else "a field above it"
                problem = f"{path!r} is no field of this scenario: there is no {key!r}"
                raise ScenarioError(f"chosen_from_data.{index}", problem, fix=f"name one of {known}")


def _check_slices(scenario: Scenario) -> None:
    """Check that columns to tell accuracy apart by are kept, and that there is an accuracy."""
    if scenario.slices and isinstance(scenario.task, Regression):
        problem = "accuracy is told apart by groups, and a regression has none"
        raise ScenarioError("slices", problem, fix="leave it out")
    kept = getattr(scenario.data, "keys", ())
    for place, column in enumerate(scenario.slices):
        if column not in kept:
            problem = f"{column!r} is not among the columns that data.keys keeps"
            raise ScenarioError(f"slices.{place}", problem, fix=f"name it in data.keys, as keys=({column!r},)")


def _check_task(scenario: Scenario) -> None:
    """Check that the task has the labels it needs."""
    task, source = scenario.task, scenario.data
    if isinstance(task, NextToken):
        _check_next_token(scenario)
    if isinstance(task, Regression) and task.target_range is not None:
        low, high = task.target_range
        if not -math.inf < low < high < math.inf:
            problem = f"{low} is not below {high}, or not finite"
            raise ScenarioError("task.target_range", problem, fix="give the lowest and the highest target")
    if isinstance(source, Table):
        columns = source.label_columns
        if not columns or len(set(columns)) < len(columns):
            raise ScenarioError("data.label", f"{list(columns)} is empty or repeats a column", fix="name each once")
        if (len(columns) > 1) != isinstance(task, Labels):
            fix = "set task to Labels(), or name one column" if len(columns) > 1 else "name the column of each label"
            raise ScenarioError("data.label", f"names {len(columns)} for task {type(task).__name__}", fix=fix)
    if isinstance(task, Regression) and task.target_range is None:
        for index, canaries in enumerate(scenario.attacks.canaries):
            if canaries.kind in ("mislabelled", "blank", "out-of-distribution"):
                raise ScenarioError(
                    f"attacks.canaries.{index}.kind",
                    f"{canaries.kind!r} takes its targets from the ends of the declared range, and there is none",
                    fix="set task.target_range, or choose natural or a gradient",
                )


def _check_next_token(scenario: Scenario) -> None:
    """Refuse what texts, whose every step has a label, cannot have."""
    if not isinstance(scenario.data, Text):
        problem = f"NextToken reads the labels off a text, and data is {type(scenario.data).__name__}"
        raise ScenarioError("task", problem, fix="use data=Text(...), or another task")
    for index, canaries in enumerate(scenario.attacks.canaries):
        if canaries.kind in ("blank", "out-of-distribution"):
            problem = f"{canaries.kind!r} makes inputs of numbers, and a text is of tokens"
            raise ScenarioError(
                f"attacks.canaries.{index}.kind",
                problem,
                fix="choose natural, mislabelled, random tokens or a gradient",
            )


def _check_stops(scenario: Scenario) -> None:
    """Check that every regime that stops at the accuracy of another names one that can be had."""
    regimes = {regime.title: regime for regime in scenario.training}
    for index, regime in enumerate(scenario.training):
        if not isinstance(regime, Plain) or not regime.stop_at:
            continue
        other = regimes.get(regime.stop_at)
        if other is None or (isinstance(other, Plain) and other.stop_at):
            choices = [t for t, r in regimes.items() if not (isinstance(r, Plain) and r.stop_at)]
            raise ScenarioError(
                f"training.{index}.stop_at",
                f"{regime.stop_at!r} names no regime that trains to its own end",
                fix=f"choose among {', '.join(choices)}",
            )


def _check_mode(scenario: Scenario) -> None:
    """Refuse a mode of Opacus that cannot do what a regime asks for."""
    mode = scenario.execution.grad_sample_mode
    if mode == "auto" or not any(entry_of(name).grad_sample_modes for name in scenario.backends):
        return
    for regime in scenario.training:
        if not isinstance(regime, DPSGD | SiloDPFedAvg):
            continue
        problem = ""
        if mode == "ghost":
            problem = "sums other gradients than it measures: one example moved a sum by 1.9 clipping norms"
        elif mode == "ew" and any(isinstance(node.layer, WITHOUT_EXPANDED_WEIGHTS) for node in scenario.model.nodes):
            problem = WHY_NO_EXPANDED_WEIGHTS
        elif mode == "functorch" and any(isinstance(node.layer, WITHOUT_FUNCTORCH) for node in scenario.model.nodes):
            problem = "cannot vectorise recurrent layers"
        if problem:
            raise ScenarioError("execution.grad_sample_mode", f"{mode!r} {problem}", fix="use auto or book_keeping")
