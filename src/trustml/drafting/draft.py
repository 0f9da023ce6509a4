"""A scenario for a data file that nobody has described yet."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from trustml.data.dataset import Dataset
from trustml.data.datasets import load_dataset
from trustml.data.texts import BYTES
from trustml.drafting.arrays import find_in_folder, find_in_idx, find_in_npz, is_idx
from trustml.drafting.found import Found, plain_name
from trustml.drafting.python_text import docstring, expression, names_in
from trustml.drafting.sequences import find_in_series, find_in_texts
from trustml.drafting.sizes import Model, model_for, regimes_for
from trustml.drafting.tables import ENDINGS, find_in_table, kind_of_table
from trustml.errors import UsageError
from trustml.models.tasks import Classes, output_count
from trustml.scenario.attacks import Attacks, MembershipInference
from trustml.scenario.check import check_against_data, check_scenario
from trustml.scenario.read import resolve_paths
from trustml.scenario.sources import DataSource, Table, Text
from trustml.scenario.spec import BACKEND_NAMES, BackendName, Explanations, Scenario

_WIDTH = 84


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A scenario that works, and why it is as it is.

    Attributes
    ----------
    scenario : Scenario
        With absolute paths.
    told : tuple of str
        What was found out and decided, a line each. It follows from the data.
    notes : mapping of str to str
        Field to the comment above it.
    call, module : str
        What makes the model: a call of a function of that module.
    """

    scenario: Scenario
    told: tuple[str, ...]
    notes: Mapping[str, str]
    call: str
    module: str = "trustml.models.zoo"

    def text(self, folder: Path) -> str:
        """Write the file, for a folder from which its paths are named."""
        written = {"model": self.call}
        for field in ("path", "test_path", "images", "labels", "test_images", "test_labels"):
            value = getattr(self.scenario.data, field, None)
            if isinstance(value, str) and os.path.isabs(value):
                written[f"data.{field}"] = expression(_relative(Path(value), folder))
        body = expression(self.scenario, comments=self.notes, written=written)
        names = sorted(
            names_in(msgspec.structs.replace(self.scenario, model=None)), key=lambda name: (not name.isupper(), name)
        )
        zoo = self.call.partition("(")[0]
        about = docstring(_ABOUT.format(data=_name_of(self.scenario), where=", ".join(self.scenario.backends)), _WIDTH)
        imports = f"from trustml import {', '.join(names)}"
        if len(imports) > _WIDTH:
            imports = "from trustml import (\n" + "".join(f"    {name},\n" for name in names) + ")"
        return f"{about}\n\n{imports}\nfrom {self.module} import {zoo}\n\nscenario = {body}\n"


_ABOUT = (
    "A first scenario for {data}, made by trustml init: plain, private and federated training in {where}. "
    "All of it is yours to change; `trustml run` this file. What was read from the data is listed in "
    "chosen_from_data, as no epsilon covers it: where you know a value from elsewhere, write it here and take its "
    "field off that list."
)


def draft(
    data: str | Path,
    *,
    label: str | Sequence[str] = (),
    test: str | Path | None = None,
    clients: str | None = None,
    name: str | None = None,
    backends: Sequence[BackendName] = BACKEND_NAMES,
    settings: Mapping[str, Any] | None = None,
) -> Draft:
    """Look at data and draft a scenario: task, preparation, model, and regimes of sensible size.

    Parameters
    ----------
    data : path
        A CSV, Parquet, JSON, ``.npz``, ``.ts`` or IDX file, or a folder of images or WAV files with a folder for each
        class.
    label : str or sequence of str
        Column to learn, or array of an ``.npz`` file; several for a task of several labels. Without it one that is
        named ``label``, ``target``, ``class``, ``y`` or ``outcome``.
    test : path, optional
        Held-out examples of a table or a folder; without it a fifth is held out.
    clients : str, optional
        Column of a table that says who holds each row.
    name : str, optional
        Of the scenario; without it the file's.
    backends : sequence of str
    settings : mapping of str to value, optional
        Fields of the source, such as ``{"dates": "day first"}``.

    Returns
    -------
    Draft

    Raises
    ------
    UsageError
        If it is no such file, or the label cannot be told.
    DataError
        If the data cannot be read as it is; the message names the field that helps.
    """
    path = Path(data).expanduser().absolute()
    if not _is_text(str(path)):
        raise UsageError(f"{str(path)!r}: has a name that is no UTF-8, which no scenario can hold; rename it")
    labels = (label,) if isinstance(label, str) else tuple(label)
    given = dict(settings or {})
    if clients is not None and (path.is_dir() or path.suffix.lower() == ".ts"):
        raise UsageError(f"--clients: {path} has no columns; leave --clients out")
    if clients is not None:
        given["keys"] = (clients, *given.get("keys", ()))
    found = _find(path, labels, None if test is None else Path(test).expanduser().absolute(), given)
    loaded = load_dataset(found.source, found.task)
    outputs = output_count(found.task, loaded.classes)
    model = model_for(loaded.input_shape, outputs, len(loaded.train), vocabulary=_vocabulary(found.source, loaded))
    regimes, notes = regimes_for(len(loaded.train), clients=clients)
    scenario = Scenario(
        name=name or plain_name(path.name),
        data=found.source,
        task=found.task,
        model=model.architecture,
        training=regimes,
        explanations=Explanations(examples=min(32, len(loaded.test))),
        attacks=Attacks(membership=MembershipInference(shadow_models=0)),
        backends=tuple(backends),
        chosen_from_data=(*found.chosen, "model", "training"),
    )
    return _checked(scenario, found, loaded, model, notes)


def _checked(scenario: Scenario, found: Found, loaded: Dataset, model: Model, notes: Mapping[str, str]) -> Draft:
    check_scenario(scenario)
    warnings = check_against_data(
        scenario,
        input_shape=loaded.input_shape,
        classes=loaded.classes,
        train_examples=len(loaded.train),
        test_examples=len(loaded.test),
    )
    told = (_summary(loaded, found.source), *found.told, *loaded.warnings, *warnings)
    return Draft(
        scenario=resolve_paths(scenario, folder=Path.cwd()),
        told=told,
        notes={**found.notes, **notes, "chosen_from_data": _CHOSEN},
        call=model.call,
        module=model.module,
    )


def _vocabulary(source: DataSource, loaded: Dataset) -> int:
    """How many tokens texts may have; 0 where they are none."""
    if not isinstance(source, Text):
        return 0
    return BYTES if source.tokenizer is None else 1 + int(max(p.inputs.max() for p in (loaded.train, loaded.test)))


_CHOSEN = "What init read from the data, or from their number: every statement of privacy says that it is not covered."


def _find(path: Path, label: tuple[str, ...], test: Path | None, settings: dict[str, Any]) -> Found:
    if not path.exists():
        raise UsageError(f"{path}: no such file; check the path")
    if path.is_dir():
        _refuse(path, label=label)
        return find_in_folder(path, test, settings)
    if path.suffix.lower() == ".npz":
        _refuse(path, test=test, label=label[1:])
        return find_in_npz(path, label[0] if label else None, settings)
    if is_idx(path):
        _refuse(path, label=label, test=test)
        return find_in_idx(path, settings)
    if path.name.lower().endswith(".ts"):
        _refuse(path, label=label)
        return find_in_series(path, test, settings)
    if kind_of_table(path) is not None:
        return find_in_texts(path, label, test, settings) or find_in_table(path, label, test, settings)
    known = ", ".join(ending for endings in ENDINGS.values() for ending in endings)
    raise UsageError(
        f"{path}: is no data that init knows; name a table ({known}), an .npz, .ts or IDX file, or a folder of "
        "images or WAV files"
    )


def _is_text(name: str) -> bool:
    """Whether a name can be written to a file: those of the system may hold any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(path: Path, *, label: tuple[str, ...] = (), test: Path | None = None) -> None:
    """Refuse an option that says nothing of such data, rather than to pass it over."""
    if label:
        raise UsageError(f"--label: {path} has its labels in its own place; leave --label out")
    if test is not None:
        raise UsageError(f"--test: {path} brings its test set along or has none; leave --test out")


def _summary(loaded: Dataset, source: DataSource) -> str:
    rows = f"{len(loaded.train):,} examples to train on, {len(loaded.test):,} held out"
    what = f"{loaded.classes} classes" if isinstance(loaded.task, Classes) else type(loaded.task).__name__.lower()
    features = (
        f"{len(loaded.feature_names)} features" if loaded.feature_names else f"inputs of shape {loaded.input_shape}"
    )
    if isinstance(source, Text):
        features = f"texts of {source.length} tokens"
    return f"{rows}; {features}; {what}"


def _relative(path: Path, folder: Path) -> str:
    """Name a file from the folder of the scenario where it lies below it, else by its whole path."""
    home = folder.resolve()
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)


def _name_of(scenario: Scenario) -> str:
    source = scenario.data
    named = source.path if isinstance(source, Table) else getattr(source, "path", getattr(source, "images", ""))
    path = Path(named)
    return (
        path.parent.name if path.name == "train" and path.parent.name else path.name
    )  # of a folder with held-out data
