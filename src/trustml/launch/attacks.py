"""What attacking jobs read: drawn by the core and written into the run's private files."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.attributes import column_of, distinct_rows
from trustml.attacks.populations import draw_populations
from trustml.data.dataset import Dataset, Examples
from trustml.data.slices import CODES, NAMES, codes_of_others, slice_arrays
from trustml.data.streams import Stream, public_generator, secret_generator
from trustml.errors import DataError, ScenarioError
from trustml.launch.canaries import draw_canaries
from trustml.launch.federation import draw_partition
from trustml.models.tasks import Binary, Classes
from trustml.plan.attack_files import ATTRIBUTES, TRAINING_SLICES, population_file
from trustml.plan.attacking import AttackJob
from trustml.plan.job import CanaryJob, ShadowJob
from trustml.record.files import encode_arrays, write_atomic
from trustml.record.store import RunDirectory
from trustml.scenario.attacks import PropertyInference
from trustml.scenario.federated import FederatedSpec
from trustml.scenario.spec import Scenario


def write_attack_inputs(
    run: RunDirectory,
    scenario: Scenario,
    dataset: Dataset,
    jobs: Sequence[AttackJob],
    *,
    attributes: dict[str, npt.NDArray[Any]],
) -> None:
    """Draw who is in which shadow model, and which canaries are there; write those, groups, and columns to guess."""
    if scenario.slices and scenario.attacks.membership is not None:
        names = slice_arrays(scenario.slices, dataset.test_keys)[NAMES]
        codes = {CODES: codes_of_others(scenario.slices, dataset.train_keys, names)}
        write_atomic(run.file(TRAINING_SLICES), encode_arrays(codes), private=True)
    if attributes:
        write_atomic(run.file(ATTRIBUTES), encode_arrays(attributes), private=True)
    titles = [regime.title for regime in scenario.training]
    for job in jobs:
        match job:
            case ShadowJob():
                field = f"training.{titles.index(job.regime.title)}"
                if job.members == population_file(job.regime.title):
                    arrays = population_arrays(scenario, dataset)
                    arrays |= _owners(job, dataset, arrays["members"], field=field)
                else:
                    assert scenario.attacks.membership is not None
                    models = scenario.attacks.membership.shadow_models
                    arrays = draw_members(job, dataset, models=models, field=field)
                write_atomic(run.file(job.members), encode_arrays(arrays), private=True)
            case CanaryJob():
                for name, arrays in draw_canaries(job, dataset, run=run).items():
                    write_atomic(run.file(name), encode_arrays(arrays), private=True)


def attribute_arrays(scenario: Scenario, dataset: Dataset) -> dict[str, npt.NDArray[Any]]:
    """Columns that are guessed: ``places.<number>``, ``candidates.<number>`` and ``edges.<number>``; {} for none.

    ``known`` are a third of the held-out rows, which are not attacked: they say how common values are.

    Raises
    ------
    ScenarioError
        If inputs are no table, or a column is not there or cannot be guessed.
    """
    asked, names = scenario.attacks.attributes, dataset.feature_names
    if asked is None:
        return {}
    field = "attacks.attributes.columns"
    if len(dataset.input_shape) != 1 or not names:
        problem = f"names columns, and inputs of shape {dataset.input_shape} have none"
        raise ScenarioError(field, problem, fix="leave attacks.attributes out")
    rows = secret_generator().permutation(distinct_rows(dataset.train, dataset.test)[1])
    known = np.sort(rows[: len(rows) // 3])
    arrays: dict[str, npt.NDArray[Any]] = {"known": known}
    for number, name in enumerate(asked.columns):
        if name not in names or name in asked.columns[:number]:
            near = difflib.get_close_matches(name, names, n=1)
            fix = f"did you mean {near[0]!r}?" if near and name not in names else "name each feature once"
            raise ScenarioError(f"{field}.{number}", f"{name!r} is no feature, or comes twice", fix=fix)
        places = np.flatnonzero(np.array(dataset.feature_groups) == names.index(name))
        column = column_of(places, dataset.test.inputs[known], values=asked.values, name=name)
        arrays |= {
            f"places.{number}": column.places,
            f"candidates.{number}": column.candidates,
            f"edges.{number}": column.edges,
        }
    return arrays


def draw_members(job: ShadowJob, dataset: Dataset, *, models: int, field: str) -> dict[str, npt.NDArray[Any]]:
    """Draw the examples of every shadow model: as many as the attacked model was trained on.

    Parameters
    ----------
    job : ShadowJob
    dataset : Dataset
    models : int
    field : str
        Name of the regime in errors.

    Returns
    -------
    dict
        ``members``: bool of shape (models, examples), over training and then held-out examples. For federated regimes
        also ``owners``: int64 of that shape, the client that holds each example, -1 for none.
    """
    trained, everything = len(dataset.train), len(dataset.train) + len(dataset.test)
    generator = public_generator(job.seed, Stream.SHADOWS)
    members = np.zeros((models, everything), bool)
    for row in members:
        row[generator.permutation(everything)[:trained]] = True
    return {"members": members, **_owners(job, dataset, members, field=field)}


def _owners(
    job: ShadowJob, dataset: Dataset, members: npt.NDArray[np.bool_], *, field: str
) -> dict[str, npt.NDArray[Any]]:
    """Deal the rows of each model of a federated regime out over its clients; {} for others."""
    if not isinstance(job.regime, FederatedSpec):
        return {}
    inputs = np.concatenate([dataset.train.inputs, dataset.test.inputs])
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    keys = {
        name: np.concatenate([values, dataset.test_keys[name]])
        for name, values in dataset.train_keys.items()
        if name in dataset.test_keys
    }
    owners = np.full(members.shape, -1, np.int64)
    for number, row in enumerate(members):
        part = Dataset(
            train=Examples(inputs=inputs[row], labels=labels[row]),
            test=dataset.test,
            class_names=dataset.class_names,
            task=dataset.task,
            train_keys={name: values[row] for name, values in keys.items()},
            test_keys=dataset.test_keys,
        )
        owners[number, row] = draw_partition(job.regime, part, seed=job.seed + number, field=field).owners
    return {"owners": owners}


def population_arrays(scenario: Scenario, dataset: Dataset) -> dict[str, npt.NDArray[Any]]:
    """Draw the models of property inference (:func:`draw_populations`); {} where none is asked for.

    Raises
    ------
    ScenarioError
        If no row, or every row, has the property, or too few have it.
    """
    asked = scenario.attacks.property_inference
    if asked is None:
        return {}
    field = "attacks.property_inference"
    has = _with_property(asked, dataset, field=field)
    if not 0 < has.sum() < len(has):
        raise ScenarioError(field, f"{int(has.sum())} of {len(has)} rows have the property", fix="name another")
    try:
        return draw_populations(
            has,
            models=asked.shadow_models,
            shares=asked.shares,
            rows=len(dataset.train),
            probes=asked.probes,
            generator=public_generator(0, Stream.SHADOWS),
        )
    except DataError as error:
        raise ScenarioError(field, str(error), fix="change shares, probes, labels or column") from None


def _with_property(asked: PropertyInference, dataset: Dataset, *, field: str) -> npt.NDArray[np.bool_]:
    """Which training and then held-out rows have the property."""
    if asked.column:
        names = dataset.feature_names
        if len(dataset.input_shape) != 1 or asked.column not in names:
            near = difflib.get_close_matches(asked.column, names, n=1)
            fix = f"did you mean {near[0]!r}?" if near else "name a column, or leave it out for labels"
            raise ScenarioError(f"{field}.column", f"{asked.column!r} is no feature", fix=fix)
        place = int(np.flatnonzero(np.array(dataset.feature_groups) == names.index(asked.column))[0])
        values = np.concatenate([dataset.train.inputs[:, place], dataset.test.inputs[:, place]])
        return np.asarray(values > np.median(values))
    labels = np.concatenate(
        [dataset.train.labels.reshape(len(dataset.train), -1), dataset.test.labels.reshape(len(dataset.test), -1)]
    )
    if not isinstance(dataset.task, Classes | Binary):
        raise ScenarioError(field, f"the task is {type(dataset.task).__name__}, without classes", fix="name a column")
    wanted = asked.labels or tuple(range(max(1, max(dataset.classes, 2) // 2)))
    if max(wanted) >= max(dataset.classes, 2):
        raise ScenarioError(
            f"{field}.labels", f"{max(wanted)} is no class of {dataset.classes}", fix="name classes from 0"
        )
    return np.asarray(np.isin(labels[:, 0].astype(np.int64), wanted))
