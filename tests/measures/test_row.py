"""Rows with typed facts: their notes, the way into the table and back, and what every epsilon comes with."""

from __future__ import annotations

import string
from types import SimpleNamespace

import msgspec
import pytest

from tests.auditing.test_run_wording import statement
from tests.measures.test_privacy import cell
from tests.privacy.test_tails import made
from tests.record.test_record import manifest
from trustml.compare.table import fact_of, recorded_measures, rows_of, table_of
from trustml.errors import RecordError
from trustml.measures import notes
from trustml.measures.evidence import Evidence
from trustml.measures.notes import absent, described, note_of
from trustml.measures.participation import drawn_participation
from trustml.measures.privacy import _all_releases, _model_rows
from trustml.measures.privacy_statements import Charged, _comparisons
from trustml.measures.resampling import BOOTSTRAPS
from trustml.measures.row import COLUMNS, FIRST_COLUMNS, About, Row
from trustml.measures.wording import sampling_text
from trustml.privacy.accounting import epsilon_of
from trustml.privacy.crosscheck import SecondOpinion
from trustml.record.schema import JobRecord
from trustml.record.store import RunDirectory
from trustml.scenario.regimes import DPSGD

PLAIN = Row(
    run="r", job="", backend="-", regime="-", seed=-1, subject="s", measure="accuracy", value=None, unit="1", n=0
)
FULL = described(
    msgspec.structs.replace(PLAIN, value=0.5, low=0.25, high=0.75, n=9, kind="explain", model="train.jax.Plain.s0"),
    About(
        verdict="better than random", pair="same weights", first="a", second="b ~ c", delta=1e-5, privacy_unit="user",
        relation="zero out one", sampling="in turn", accountant="RDP", p_value=0.03, confidence=0.95, interval="wilson",
        facts={"gain": 0.25, "gain_low": 0.125, "gain_high": 0.5, "seeds": 3, "least_p": 0.125, "beside": True},
    ),
)  # fmt: skip


def test_rows_go_into_the_table_and_back(tmp_path):
    rows = [PLAIN, FULL]
    table = table_of(rows)
    assert list(table.columns) == list(COLUMNS) and rows_of(table) == rows
    table.to_parquet(tmp_path / "t.parquet", index=False)
    (tmp_path / "measures.parquet").write_bytes((tmp_path / "t.parquet").read_bytes())
    RunDirectory(tmp_path).write_manifest(manifest("r"))
    again = recorded_measures(RunDirectory(tmp_path))
    assert rows_of(again) == rows
    assert list(fact_of(again, "seeds", default=0)) == [0, 3]
    assert again.query("pair == 'same weights' and delta < 1e-4").value.tolist() == [0.5]
    assert rows_of(table_of([])) == []


@pytest.mark.parametrize("change", [{"verdict": "so so"}, {"facts": "[]"}, {"facts": "{"}, {"privacy_unit": "clan"}])
def test_a_cell_that_its_column_cannot_hold_is_refused(change):
    with pytest.raises(RecordError, match="no row of measures"):
        rows_of(table_of([FULL]).assign(**change))


def test_a_table_of_before_the_typed_columns_says_nothing_that_was_not_recorded(tmp_path):
    run = RunDirectory(tmp_path)
    jobs = [
        JobRecord(id="train.jax.Plain.s0", backend="jax", kind="train", regime="Plain", seed=0, digest=""),
        JobRecord(id="game.jax", backend="jax", kind="game", regime="-", seed=-1, digest=""),
    ]
    run.write_manifest(manifest("r", format=2, jobs=tuple(jobs)))
    old = [
        msgspec.structs.replace(PLAIN, job=job, measure="epsilon", value=1.0, note="delta=1e-05; unit: user; absent")
        for job in ("train.jax.Plain.s0", "game.jax", "")
    ]
    table_of(old)[list(FIRST_COLUMNS)].to_parquet(tmp_path / "measures.parquet", index=False)
    found = rows_of(recorded_measures(run))
    assert [row.about for row in found] == [About()] * 3
    assert [(row.kind, row.model) for row in found] == [("train", "train.jax.Plain.s0"), ("game", ""), ("", "")]
    assert [row.note for row in found] == [row.note for row in old]
    (tmp_path / "measures.parquet").unlink()
    table_of(old).drop(columns="verdict").to_parquet(tmp_path / "measures.parquet", index=False)
    with pytest.raises(RecordError, match="no column verdict"):
        recorded_measures(run)


def test_a_note_is_made_from_every_column():
    assert FULL.note == (
        "better than random by 0.25 [0.125, 0.5]; permutation p = 0.03; 3 seeds allow none below 0.125; same weights; "
        "delta=1e-05; unit: user; relation: zero out one; sampling: clients in turn, no amplification claimed; "
        "accountant: RDP; other jobs ran beside it; Wilson 95 %"
    )
    assert note_of(absent("it broke")) == "absent: it broke" and note_of(About()) == ""


def test_every_fact_has_words_or_is_told_by_another():
    told = {**notes.FIRST, **notes.REST}
    assert not notes.SILENT & told.keys() and not notes.FIRST.keys() & notes.REST.keys()
    known = notes.SILENT | told.keys() | set(About.__struct_fields__)
    for words in told.values():
        if isinstance(words, str):
            assert {name for _, name, _, _ in string.Formatter().parse(words) if name} <= known
    with pytest.raises(AssertionError, match="facts without words: colour"):
        note_of(About(facts={"colour": "red"}))


@pytest.mark.parametrize("secret", [True, False])
@pytest.mark.parametrize("drawn", ["poisson", "fixed", "shuffle", "all", "in turn"])
def test_every_epsilon_of_a_model_comes_with_what_it_rests_on(drawn, secret):
    charges = [made(sampling=drawn, secret_sampling=secret, sample_rate=0.1, batch_size=10, examples=100)]
    regime, evidence = DPSGD(noise_multiplier=4.0, epochs=1, batch_size=10), SimpleNamespace(plans={}, row=cell)
    evidence.manifest = SimpleNamespace(data=SimpleNamespace(train_examples=100))
    charged = Charged(regime=regime, own=charges, before=[], void=False)
    epsilon = epsilon_of(charges, delta=regime.delta)
    prv = SecondOpinion(value=epsilon.value, error=0.1, agrees=True)
    stated = msgspec.structs.replace(
        statement(low=None, high=epsilon.value), delta=regime.delta, neighboring_relation=epsilon.relation,
        accountant=epsilon.accountant, drawn=charges[0].sampling, secret_sampling=secret, largest_participation=100,
        comparisons=tuple(_comparisons(charged, epsilon, prv, most=drawn_participation(evidence, charges))),
    )  # fmt: skip
    record = JobRecord(id="m", backend="jax", kind="train", regime="DPSGD", seed=0, digest="", status="ok")
    evidence.trained, evidence.manifest = list, SimpleNamespace(scenario={})
    rows = [
        *_model_rows(evidence, record, stated),
        _all_releases(evidence, "all ledgers", [(charges, stated)], others=0),
    ]
    assert {"epsilon", "epsilon_rdp", "epsilon_prv", "epsilon_all_releases"} <= {row.measure for row in rows}
    for row in rows:
        about = row.about
        assert about.delta == regime.delta and about.privacy_unit == "example"
        if row.value is not None:
            assert about.relation and about.sampling and about.accountant, row.measure
        if row.measure in ("epsilon", "epsilon_rdp", "epsilon_prv", "epsilon_all_releases"):
            assert about.sampling == drawn
            assert f"sampling: {sampling_text(charges, 'example gradient')};" in row.note
    supposed = {row.measure: row.about.sampling for row in rows}
    assert supposed["epsilon_shuffle_lower"] == "shuffle" and supposed.get("epsilon_if_poisson", "poisson") == "poisson"
    assert ("epsilon_if_poisson" in supposed) == ((drawn, secret) != ("poisson", True))
    unamplified = next(row for row in rows if row.measure == "epsilon_unamplified")
    left_out = unamplified.value is None
    assert left_out == (drawn in ("poisson", "fixed"))  # these batches lie under private/, and are not at hand here
    assert unamplified.about.facts.get("not_at_hand", False) == left_out


@pytest.mark.parametrize("kind", BOOTSTRAPS)
def test_one_example_has_no_bootstrap_interval(kind):
    evidence = SimpleNamespace(manifest=SimpleNamespace(run="r"))
    about = About(interval=kind, confidence=0.95)
    for n, ends in ((1, (None, None)), (2, (0.1, 0.9))):
        row = Evidence.row(
            evidence, "rmse", 0.5, record=None, subject="held-out", n=n, interval=(0.1, 0.9), about=about
        )
        assert (row.low, row.high) == ends and (row.interval == kind) == (n == 2) == ("bootstrap" in row.note)
