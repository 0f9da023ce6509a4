"""Starting weights from a model of an earlier run: what it was trained on, and what of that is this run's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from trustml.data.dataset import Dataset, fingerprint
from trustml.data.streams import Stream, public_generator
from trustml.errors import RecordError, UsageError
from trustml.launch.rows_again import rows_of, rows_seen, shared_rows
from trustml.measures.assumptions import own_assumptions
from trustml.measures.evidence import Evidence
from trustml.models.network_files import fitting_weights, starting_weights
from trustml.models.weights import Weights, initial_weights, read_weights
from trustml.plan.expand import draws_weights, weights_file
from trustml.plan.job import TrainJob
from trustml.plan.mechanism import make_charge
from trustml.privacy.ledger import Charge, read_ledger
from trustml.privacy.statement import Assumption
from trustml.record.choices import both_choices, siblings_of
from trustml.record.files import sha256
from trustml.record.schema import Manifest
from trustml.record.starts import (
    EarlierTraining,
    SharedRows,
    StartRecord,
    protects_examples,
    start_of,
    start_title,
    trainings_of,
    uncharged_rows,
    worst,
)
from trustml.record.store import RunDirectory, job_record
from trustml.scenario.regimes import PrivateRegime
from trustml.scenario.spec import Scenario
from trustml.scenario.starts import run_start

_WEIGHTS, _LEDGER = "weights.safetensors", "ledger.jsonl"
_UNREADABLE = (RecordError, UsageError, KeyError, StopIteration, OSError)
_OF_A_TRAINING = (
    *("noise_multiplier", "quantile_noise_multiplier", "sample_rate", "examples", "sampling", "secret_sampling"),
    *("data", "unit", "relation", "noise", "users"),
)
"""Fields of a charge that are the same for all of one training."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """Weights of an earlier model, what is recorded of where they are from, and the held-out rows that it has seen."""

    weights: Weights
    record: StartRecord
    seen: frozenset[int] = frozenset()

    def warnings(self, *, held_out: int) -> tuple[str, ...]:
        """What whoever runs the scenario should know of the rows, from which it follows."""
        if not self.seen:
            return ()
        return (
            f"{len(self.seen)} of {held_out} held-out examples are rows that the start, {self.record.run}:"
            f"{self.record.job}, was trained on: scores on them are no test of what was learned; hold other rows out",
        )


def started(scenario: Scenario, dataset: Dataset) -> Started | None:
    """Read the model of the run that a scenario starts from; None where it names none.

    Raises
    ------
    UsageError
        If there is no such model, it was changed, or does not fit.
    """
    named = run_start(scenario.start)
    if named is None:
        return None
    title = f"{named.run.name}:{named.job}"
    try:
        link = _read(RunDirectory(named.run), named.job)
        weights = read_weights(link.run.job_folder(named.job) / _WEIGHTS)
    except _UNREADABLE as error:
        raise UsageError(f"start: {title} cannot be started from ({error}); name another") from None
    fitted = fitting_weights(title, weights, scenario.model, dataset.input_shape)
    before = _before(link, scenario, dataset)
    void = before.uncharged == "some"
    composed = () if void else tuple(in_blocks(before.charges))
    return Started(
        weights=fitted,
        record=StartRecord(
            run=link.manifest.run,
            job=named.job,
            weights=link.weights,
            shared=before.shared,
            charges=composed,
            uncharged=before.uncharged,
            tuned_runs=before.tuned_runs if composed else None,
            trainings=before.trainings if composed else (),
            earlier=start_title(link.manifest, link.job.regime),
            held_out_seen=len(before.seen) if before.seen or before.all_told else None,
            scored=before.scored,
            chosen=before.chosen,
        ),
        seen=before.seen,
    )


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """A model of an earlier run, whole."""

    run: RunDirectory
    manifest: Manifest
    job: TrainJob
    weights: str
    charges: list[Charge]


@dataclass(frozen=True, kw_only=True)
class _Before:
    """What trainings one after the other used of this data; the fields are those of :class:`StartRecord`."""

    shared: SharedRows = "none"
    uncharged: SharedRows = "none"
    charges: tuple[Charge, ...] = ()
    tuned_runs: float | None = None
    trainings: tuple[EarlierTraining, ...] = ()
    scored: SharedRows = "none"
    chosen: str = ""
    seen: frozenset[int] = frozenset()
    all_told: bool = True

    def after(self, older: _Before) -> _Before:
        return _Before(
            shared=worst(older.shared, self.shared),
            uncharged=worst(older.uncharged, self.uncharged),
            charges=(*older.charges, *self.charges),
            tuned_runs=both_choices(older.tuned_runs, self.tuned_runs),
            trainings=(*older.trainings, *self.trainings),
            scored=worst(older.scored, self.scored),
            chosen=self.chosen or older.chosen,
            seen=older.seen | self.seen,
            all_told=older.all_told and self.all_told,
        )


def _read(run: RunDirectory, name: str) -> _Trained:
    manifest, job = run.manifest(), run.job(name)
    record = job_record(manifest, name)
    if record.status != "ok" or not isinstance(job, TrainJob):
        raise RecordError(f"{name} ended {record.status}")
    path, ledger = (run.job_folder(name) / file for file in (_WEIGHTS, _LEDGER))
    weights, charged = sha256(path), record.artifacts.get(_LEDGER)
    if weights != record.artifacts.get(_WEIGHTS):
        raise RecordError(f"{path} is not the file that the manifest names")
    charges: list[Charge] = []
    if job.mechanism is not None:
        if charged is not None and charged != sha256(ledger):
            raise RecordError(f"{ledger} is not the file that the manifest names")
        charges = read_ledger(ledger)
        _check_charges(charges, job, ledger)
    return _Trained(run=run, manifest=manifest, job=job, weights=weights, charges=charges)


def _check_charges(charges: Sequence[Charge], job: TrainJob, ledger: Path) -> None:
    """Refuse a ledger of another training, or of a part of this one; none at all is that of no private training."""
    mechanism = job.mechanism
    if mechanism is None or not charges:
        return
    for charge in charges:
        wanted = make_charge(
            mechanism, first=charge.first_step, end=charge.end_step, plan=charge.plan, data=job.data_fingerprint
        )
        other = [field for field in _OF_A_TRAINING if getattr(charge, field) != getattr(wanted, field)]
        if other:
            raise RecordError(f"{ledger} is of another training: {', '.join(other)} differ from job.json")
    paid, needed = sum(charge.steps for charge in charges), mechanism.start_step + mechanism.steps
    if paid < needed:
        raise RecordError(f"{ledger} charges {paid} steps of {needed}")


def _before(link: _Trained, scenario: Scenario, dataset: Dataset) -> _Before:
    """Follow a model to the first training that it comes from, as far as runs of its folder tell."""
    content, seen = fingerprint(dataset), {link.weights}
    found = _used(link, scenario, dataset, content)
    while start_title(link.manifest, link.job.regime):
        start = start_of(link.manifest, link.job.regime)
        if start is None:  # a file: nothing is known of what it was made from
            return found.after(_Before(shared="unknown", uncharged="unknown", all_told=False))
        older = _older(link, start)
        if older is None or older.weights in seen:
            same = link.manifest.data.fingerprint == content
            return found.after(_recorded(link, start, same=same))
        found = found.after(_used(older, scenario, dataset, content))
        seen.add(older.weights)
        link = older
    return found


def _older(link: _Trained, start: StartRecord) -> _Trained | None:
    """Find the model that another one started from beside its run; None where it is not there as it was."""
    named = run_start(f"{link.run.path.parent / start.run}:{start.job}")
    if named is None or named.run.parent != link.run.path.parent or start.run in ("", ".", ".."):
        return None
    try:
        found = _read(RunDirectory(named.run), named.job)
    except _UNREADABLE:
        return None
    return found if found.weights == start.weights else None


def _recorded(link: _Trained, start: StartRecord, *, same: bool) -> _Before:
    """Say what a record tells of a start whose run is gone: of the data of that record, and so only of the same."""
    return _Before(
        shared=start.shared if same else "unknown",
        uncharged=uncharged_rows(link.manifest, link.job.regime) if same else "unknown",
        charges=start.charges,
        tuned_runs=start.tuned_runs,
        trainings=trainings_of(start),
        scored=start.scored or "unknown" if same else "unknown",
        chosen=start.chosen if same else "",
        all_told=same and start.held_out_seen == 0,
    )


def _used(link: _Trained, scenario: Scenario, dataset: Dataset, content: str) -> _Before:
    """What one training used of this data, whatever it started from."""
    manifest, regime = link.manifest, link.job.regime
    tuning, among = manifest.scenario.get("tuning") or {}, siblings_of(manifest, regime.title)
    # of one fingerprint are the same rows, held out and trained on as they are now
    same = manifest.data.fingerprint == content
    compared = _Before(shared="some") if same else _compared(link, scenario, dataset)
    is_chosen = compared.scored == "some" and (bool(tuning) or among > 1)
    found = replace(compared, chosen=f"{manifest.run}:{link.job.id}" if is_chosen else "")
    if found.shared == "none":
        return found
    if not link.charges or not protects_examples(regime):  # those for users are no charges for examples
        return replace(found, uncharged=found.shared)
    training = EarlierTraining(run=manifest.run, job=link.job.id, assumptions=_rests_on(link), chosen_among=among)
    runs = float(tuning["mean_runs"]) if "mean_runs" in tuning else None
    return replace(found, charges=tuple(link.charges), tuned_runs=runs, trainings=(training,))


def _compared(link: _Trained, scenario: Scenario, dataset: Dataset) -> _Before:
    """Compare the rows of an earlier run with these, those that were held out among them."""
    trained, held_out = (rows_of(link.run, name) for name in ("train_inputs", "test_inputs"))
    train, test = dataset.train.inputs, dataset.test.inputs
    seen = rows_seen(trained, link.manifest, test, scenario.data, dataset)
    return _Before(
        shared=shared_rows(trained, link.manifest, train, scenario.data, dataset),
        scored=shared_rows(held_out, link.manifest, train, scenario.data, dataset),
        seen=seen or frozenset(),
        all_told=seen is not None,
    )


def _rests_on(link: _Trained) -> tuple[Assumption, ...]:
    """What the guarantee of a model rests on by its own record; nothing where that cannot be read."""
    regime = link.job.regime
    assert isinstance(regime, PrivateRegime)
    try:
        return own_assumptions(Evidence(link.run, second_opinion=False), link.job, regime, link.charges)
    except _UNREADABLE:
        return ()


def starting_files(
    scenario: Scenario, dataset: Dataset, seed: int, start: Started | None, *, own: Mapping[int, Weights]
) -> dict[str, Weights]:
    """Weights that trainings of one seed start from, by file; `own` are those that own code drew, by the seed."""
    drawn = own.get(seed)
    if drawn is None:
        generator = public_generator(seed, Stream.WEIGHTS)
        drawn = initial_weights(scenario.model, dataset.input_shape, generator=generator)
    if not scenario.start:
        return {weights_file(seed): drawn}
    given = start.weights if start else starting_weights(Path(scenario.start), scenario.model, dataset.input_shape)
    found = {weights_file(seed): given}
    if any(draws_weights(scenario, regime) for regime in scenario.training):
        found[weights_file(seed, drawn=True)] = drawn
    return found


def in_blocks(charges: Sequence[Charge]) -> list[Charge]:
    """Join charges for steps that follow each other and differ in nothing else, which costs what they cost apart."""
    found: list[Charge] = []
    for charge in charges:
        last = found[-1] if found else None
        if last is not None and last.noise == "independent" and _goes_on(last, charge):
            both = last.participation + charge.participation
            found[-1] = msgspec.structs.replace(last, end_step=charge.end_step, participation=both)
        else:
            found.append(charge)
    return found


def _goes_on(last: Charge, charge: Charge) -> bool:
    moved = {"first_step": last.end_step, "end_step": charge.end_step, "participation": charge.participation}
    return msgspec.structs.replace(last, **moved) == charge
