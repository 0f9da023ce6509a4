"""A ledger that holds more than its record is what counts, wherever the record is read."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import msgspec
import pytest

import trustml
from tests.conftest import measured_once
from trustml.auditing.run_audit import audit_run
from trustml.cli.main import _main
from trustml.compare import behind, rows
from trustml.compare.rows import write_measures
from trustml.compare.table import read_measures, read_statements, recorded_measures, recorded_statements
from trustml.errors import PrivacyError, RecordError
from trustml.evidence.bundle import pack
from trustml.measures import privacy_statements
from trustml.privacy.accounting import epsilon_of, epsilon_of_releases
from trustml.privacy.crosscheck import SecondOpinion
from trustml.privacy.ledger import charge, read_ledger
from trustml.record.store import PRIVACY, RunDirectory

pytestmark = [pytest.mark.jax, pytest.mark.timeout(300)]
FIRST, SECOND = "train.jax.DPSGD.s0", "train.jax.DPSGD.s1"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> trustml.Run:
    return measured_once(tmp_path_factory, "twice")


@pytest.fixture(autouse=True)
def without_a_second_opinion(monkeypatch):
    unasked = SecondOpinion(why="not asked in this test")
    monkeypatch.setattr(privacy_statements, "prv_epsilons", lambda models: [unasked] * len(models))


@pytest.fixture
def run(finished, tmp_path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(finished.path, tmp_path / finished.id)))


def ledger(run: RunDirectory, job: str = FIRST) -> Path:
    return run.job_folder(job) / "ledger.jsonl"


def charge_again(run: RunDirectory, job: str = FIRST) -> float:
    """Charge as a second attempt does, and give the epsilon of all."""
    for entry in read_ledger(ledger(run, job)):
        charge(ledger(run, job), msgspec.structs.replace(entry, attempt=2, plan="another"))
    return epsilon_of(read_ledger(ledger(run, job)), delta=1e-5).value


def value(table, measure: str, job: str = "") -> float:
    (found,) = table[(table.measure == measure) & (table.job == job)].value
    return float(found)


def test_a_record_that_follows_from_its_ledgers_is_read_as_it_was_written(run, monkeypatch):
    monkeypatch.setattr(behind, "_from_ledgers", lambda *_: pytest.fail("was computed anew"))
    assert read_measures(run).equals(recorded_measures(run))
    assert read_statements(run) == recorded_statements(run)
    assert all(len(one.ledger) == 64 and one.understated is None for one in read_statements(run))


def test_the_larger_epsilon_is_read_where_the_ledger_holds_more(run):
    before, now = value(recorded_measures(run), "epsilon", FIRST), charge_again(run)
    assert now > before * 1.2
    table = read_measures(run)
    assert value(table, "epsilon", FIRST) == now
    assert value(table, "epsilon", SECOND) == before
    both = [read_ledger(ledger(run, job)) for job in (FIRST, SECOND)]
    assert value(table, "epsilon_all_releases") == epsilon_of_releases(both, delta=1e-5).value
    assert value(table, "epsilon_rdp", FIRST) > value(recorded_measures(run), "epsilon_rdp", FIRST)
    assert list(table.columns) == list(recorded_measures(run).columns) and len(table) == len(recorded_measures(run))
    assert dict(table.dtypes) == dict(recorded_measures(run).dtypes)
    first, second = read_statements(run)
    assert first.epsilon == now and first.understated is not None and first.understated.recorded == before
    assert second == recorded_statements(run)[1]


@pytest.mark.parametrize(
    "arguments",
    [pytest.param(("show",), marks=pytest.mark.long), ("show", "--privacy"), ("compare",)],
    ids=" ".join,
)
def test_it_is_shown_with_a_warning_and_the_smaller_number_never_alone(run, arguments, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    now = charge_again(run)
    assert _main([*arguments, str(run.path)]) == 0
    shown = capsys.readouterr().out
    assert "WARNING: the record says epsilon" in shown and f"{math.ceil(now * 100) / 100:.2f}"[:-1] in shown
    assert _main([*arguments, str(run.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    listed = found.get("measures", found.get("epsilon_all_releases"))
    values = [row["value"] for row in listed if row["measure"].startswith("epsilon")]
    assert max(value for value in values if value is not None) >= now


def test_an_audit_calls_it_a_violation_and_it_is_not_bundled(run, tmp_path):
    charge_again(run)
    findings = {finding.id: finding for finding in audit_run(run).findings}
    assert findings[f"record.behind.{FIRST}"].severity == "violation" and f"record.behind.{SECOND}" not in findings
    with pytest.raises(RecordError, match="the ledger holds more"):
        pack(run, tmp_path / "bundle.zip")
    assert _main(["verify", str(run.path)]) == 1 and _main(["ledger", "--verify", str(run.path)]) == 1


def test_a_model_without_a_statement_is_read_from_its_ledger(run):
    kept = recorded_statements(run)[1:]
    (run.path / PRIVACY).write_bytes(msgspec.json.encode(kept))
    first = {one.model: one for one in read_statements(run)}[FIRST]
    assert first.epsilon == epsilon_of(read_ledger(ledger(run)), delta=1e-5).value
    assert first.understated is not None and not first.understated.stated


def test_a_ledger_that_cannot_be_read_leaves_no_finite_epsilon(run):
    ledger(run).write_bytes(b"{}\n" + ledger(run).read_bytes())
    first = next(one for one in read_statements(run) if one.model == FIRST)
    assert first.epsilon is None and first.understated is not None and not first.understated.readable
    assert math.isinf(value(read_measures(run), "epsilon", FIRST))
    assert math.isinf(value(read_measures(run), "epsilon_all_releases"))


def test_a_ledger_that_was_cut_never_lowers_what_was_recorded(run):
    before = value(recorded_measures(run), "epsilon", FIRST)
    ledger(run).write_bytes(ledger(run).read_bytes().split(b"\n")[0] + b"\n")
    assert value(read_measures(run), "epsilon", FIRST) == before == read_statements(run)[0].epsilon


def test_a_record_of_an_earlier_version_is_checked_by_its_steps(run):
    older = [msgspec.structs.replace(one, ledger="") for one in recorded_statements(run)]
    (run.path / PRIVACY).write_bytes(msgspec.json.encode(older))
    assert read_statements(run) == older
    now = charge_again(run)
    assert read_statements(run)[0].epsilon == now


def test_a_record_is_not_written_beside_a_ledger_that_grows(run):
    real = rows.measure_run

    def measure_and_be_charged(directory):
        found = real(directory)
        charge_again(directory)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "measure_run", measure_and_be_charged)
        with pytest.raises(PrivacyError, match="was charged while it was measured"):
            write_measures(run)
    write_measures(run)
    assert read_statements(run)[0].understated is None
