"""Old tables say what new ones do: what is read from the notes of stored runs is what the present code computes."""

from __future__ import annotations

import io
import string

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests import WHOLE
from tests.conftest import measured_copy, measured_once
from tests.records import NAMES, copy_of
from trustml.compare.table import recorded_measures, rows_of
from trustml.measures.measure import MEASURES as TABLE
from trustml.measures.notes import note_of
from trustml.measures.row import COLUMNS, FIRST_COLUMNS, About, Row
from trustml.record.store import MEASURES, PRIVACY
from trustml.report.tables import print_comparison

READ = ("verdict", "pair", "first", "second", "delta", "privacy_unit", "relation", "p_value", "confidence", "interval")
FACTS = ("caveat", "explained_by", "first_variant", "reason", "second_variant", "seeds_for_a_claim")
"""Columns and facts that readers use."""
DIGITS = ("gain", "gain_low", "gain_high", "loss", "loss_low", "loss_high")
"""Facts that the note rounded to three digits."""
NOT_IN_NOTES = {
    "audited_epsilon": {"privacy_unit", "relation"},
    "ceiling_all_correct": {"privacy_unit", "relation"},
    "attainable_at_claim": {"privacy_unit", "relation"},
    "claimed_epsilon": {"privacy_unit"},
    "epsilon_estimate": {"privacy_unit", "relation", "delta"},
}
"""What a note of format 2 did not say: of an audit, the terms of the claim, which stood beside it or in the ledger."""
ASKED_AGAIN = "epsilon_prv"
"""Another library's answer, which the table computed anew does not ask for."""


def keyed(table: pd.DataFrame) -> dict[tuple[str | int, ...], Row]:
    rows = rows_of(table)
    found = {(r.job, r.backend, r.regime, r.seed, r.subject, r.method, r.measure): r for r in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, list[tuple[Row, Row]]]:
    """Of each stored run, every row as it is read now and as it is computed now."""
    old = tmp_path_factory.mktemp("old")
    found = {}
    for name in NAMES:
        read, computed = keyed(copy_of(name, old).measures()), keyed(measured_once(tmp_path_factory, name).measures())
        computed = {key: row for key, row in computed.items() if not TABLE[row.measure].since}  # than those runs
        assert read.keys() == computed.keys()
        found[name] = [(read[key], computed[key]) for key in read]
    return found


def comparable(pairs: list[tuple[Row, Row]]) -> list[tuple[Row, Row]]:
    """Leave out rows whose value needs what is not at hand any more."""
    found = [(a, b) for a, b in pairs if a.measure != ASKED_AGAIN and (b.facts.get("not_at_hand") is None)]
    assert len(found) > len(pairs) * 0.9 - 5 and all((a.value is None) == (b.value is None) for a, b in found)
    return found


DRAWN_AND_EXACT = ("bootstrap over examples", "exact bootstrap over examples")


def drawn_end(fact, old, new):
    """Whether a fact is an end that was drawn then, and is as near to the exact one as draws put it."""
    name, _, end = fact.rpartition("_")
    if (old.interval, new.interval) != DRAWN_AND_EXACT or end not in ("low", "high") or fact not in new.facts:
        return False
    width = new.facts[f"{name}_high"] - new.facts[f"{name}_low"]
    return abs(old.facts[fact] - new.facts[fact]) <= width / 6 + 5e-4 * abs(new.facts[fact])


@pytest.mark.parametrize("name", NAMES)
def test_what_notes_say_is_what_is_computed(tables, name):
    wrong, missing = [], []
    for old, new in comparable(tables[name]):
        for column in About.__struct_fields__[:-1]:
            read, computed = getattr(old, column), getattr(new, column)
            if read in ("", None):
                expected = column in READ and column not in NOT_IN_NOTES.get(old.measure, ())
                missing += [(column, old)] if expected and computed not in ("", None) else []
            elif read != computed and (column, read, computed) != ("interval", *DRAWN_AND_EXACT):
                wrong.append((column, computed, old))
    assert not wrong and not missing


@pytest.mark.parametrize("name", NAMES)
def test_facts_of_notes_are_those_that_are_computed(tables, name):
    wrong, missing = [], []
    for old, new in comparable(tables[name]):
        computed = new.facts | {one: float(f"{new.facts[one]:.3g}") for one in DIGITS if one in new.facts}
        wrong += [
            (one, old, new) for one in old.facts if old.facts[one] != computed.get(one) and not drawn_end(one, old, new)
        ]
        missing += [(one, old, new) for one in FACTS if one in computed and one not in old.facts]
    assert not wrong and not missing


def test_every_column_and_fact_is_read_somewhere(tables):
    every = [old for pairs in tables.values() for old, _ in pairs]
    assert not [column for column in READ if all(getattr(row, column) in ("", None) for row in every)]
    assert not [fact for fact in FACTS if all(fact not in row.facts for row in every)]
    assert {row.verdict for row in every} >= {"violated", "not refuted", "above guessing", "worse than random", "fits"}


def test_another_librarys_epsilon_fits_and_is_of_the_models_unit(tables):
    rows = [old for old, _ in tables["federated"] if old.measure == ASKED_AGAIN]
    assert {(row.verdict, row.relation) for row in rows} == {("fits", "add or remove one")}
    assert {row.regime: row.privacy_unit for row in rows} == {"DPSGD": "example", "DPFedAvg": "user"}


def test_the_table_as_it_was_written_stays_empty(tmp_path):
    run = copy_of("frameworks", tmp_path)
    assert all(row.about == About() for row in rows_of(recorded_measures(run.directory)))
    assert run.manifest.format == 2 and any(row.about != About() for row in rows_of(run.measures()))


def test_a_note_of_a_newer_table_is_not_read(tmp_path_factory, tmp_path):
    run = measured_copy(tmp_path_factory, "federated", tmp_path)
    table = pd.read_parquet(run.path / MEASURES).assign(privacy_unit="", pair="", verdict="", facts="{}")
    table.to_parquet(run.path / MEASURES, index=False)
    run.directory.write_manifest(msgspec.structs.replace(run.manifest, format=2))
    assert set(run.measures().privacy_unit) == {""}


def with_notes(run, measure: str, change) -> pd.DataFrame:
    """Write another note for each row of a measure, and read the table."""
    table = pd.read_parquet(run.path / MEASURES)
    chosen = table.measure == measure
    assert chosen.any()
    table.loc[chosen, "note"] = table.note[chosen].map(change)
    table.to_parquet(run.path / MEASURES, index=False)
    return run.measures()[lambda one: one.measure == measure]


@pytest.mark.parametrize(
    ("name", "measure", "change", "column", "expected"),
    [
        ("private", "epsilon", lambda note: note.replace("unit: example", "unit: household"), "privacy_unit", {""}),
        ("private", "epsilon", lambda note: f"about {note}", "privacy_unit", {""}),
        ("private", "epsilon", lambda note: f"{note}; a remark: unit: user", "privacy_unit", {"example"}),
        ("private", "epsilon_rdp", lambda note: note.replace("add or remove", "swap"), "relation", {""}),
        ("federated", "accuracy", lambda note: note.replace("95", "90"), "interval", {""}),
        ("study", "explanation_effect", lambda note: note.replace("p = ", "p = 1"), "p_value", set()),
        ("attacked", "audited_epsilon", lambda note: note.replace("9", "8"), "confidence", set()),
        ("attacked", "membership_auc_at_least", lambda note: note.replace("all 15", "all 9"), "confidence", set()),
        (
            "frameworks",
            "road",
            lambda note: note.replace("better than", "as good as"),
            "verdict",
            {"", "random control"},
        ),
        ("frameworks", "attribution_agreement_rank", lambda note: f"not the {note}", "pair", {""}),
    ],
)
def test_what_has_no_known_form_stays_empty(tmp_path, name, measure, change, column, expected):
    assert set(with_notes(copy_of(name, tmp_path), measure, change)[column].dropna()) == expected


def test_a_sanity_check_that_fails_is_read(tmp_path):
    note = "fails the sanity check: similarity above 0.9 with random weights; bootstrap 95 % over examples"
    (row,) = rows_of(with_notes(copy_of("frameworks", tmp_path), "road", lambda _: note)[:1])
    assert (row.verdict, row.facts) == ("fails the sanity check", {"limit": 0.9})
    assert note_of(row.about) == note


def test_an_epsilon_that_does_not_fit_is_read(tmp_path):
    apart = "WARNING: outside of what is proved of epsilon from below and from above: one of the two is wrong"
    fits = "fits what is proved of epsilon from below and from above"
    table = with_notes(copy_of("federated", tmp_path), ASKED_AGAIN, lambda note: note.replace(fits, apart))
    assert set(table.verdict) == {"does not fit"}


def test_a_training_that_failed_keeps_its_whole_reason(tmp_path):
    run = copy_of("federated", tmp_path)
    table = pd.read_parquet(run.path / MEASURES)
    reason = "training ended error: no memory; unit: user"
    table.loc[table.measure == "accuracy", ["value", "note"]] = np.nan, f"absent: {reason}"
    table.to_parquet(run.path / MEASURES, index=False)
    rows = [row for row in rows_of(run.measures()) if row.measure == "accuracy"]
    assert rows and all(row.about == About(verdict="absent", facts={"reason": reason}) for row in rows)


@pytest.mark.parametrize(
    ("regimes", "sides"), [(["DPSGD (b)"], "DPSGD (b)"), (["DPSGD", "DPSGD (b)"], ""), (["b"], "")]
)
def test_two_regimes_are_told_apart_by_the_names_of_the_run(tmp_path, regimes, sides):
    run = copy_of("frameworks", tmp_path)
    table = pd.read_parquet(run.path / MEASURES)
    row = table[table.note.str.contains("two regimes") & (table.regime == "Plain")][:1]
    named = [row.assign(measure=f"accuracy{n}", regime=one, subject="", note="") for n, one in enumerate(regimes)]
    pd.concat([row.assign(subject="Plain ~ DPSGD (b) (captum)"), *named]).to_parquet(run.path / MEASURES, index=False)
    found = rows_of(run.measures())[0]
    assert (found.pair, found.second) == (("two regimes", sides) if sides else ("", ""))
    assert found.facts.get("explained_by", "") == ("captum" if sides else "")


def test_a_delta_is_the_whole_one_of_the_statement(tmp_path):
    run = copy_of("private", tmp_path)
    statements = msgspec.json.decode((run.path / PRIVACY).read_bytes())
    for one in statements:
        one["delta"] = 1 / 60001
    (run.path / PRIVACY).write_bytes(msgspec.json.encode(statements))
    found = with_notes(run, "epsilon", lambda note: note.replace("delta=1e-05", f"delta={1 / 60001:g}"))
    assert set(found.delta) == {1 / 60001}


@pytest.mark.parametrize("known", [True, False])
def test_a_run_whose_notes_cannot_be_read_says_so(tmp_path, known):
    run = copy_of("private", tmp_path)
    if not known:
        with_notes(run, "epsilon", lambda note: note.replace("unit", "units"))
    out = io.StringIO()
    print_comparison(Console(file=out, width=200), [(run.manifest, run.measures())])
    assert ("not all of its notes could be read" in out.getvalue()) is not known
    assert ("(unit not recorded)" in out.getvalue()) is not known


@pytest.fixture(scope="module")
def old_run(tmp_path_factory):
    """A run of which every kind of row is there once, so that reading is quick."""
    run = copy_of("attacked", tmp_path_factory.mktemp("any"))
    others = [pd.read_parquet(copy_of(name, run.path.parent).path / MEASURES) for name in ("frameworks", "study")]
    table = pd.concat([pd.read_parquet(run.path / MEASURES), *others]).drop_duplicates("measure", ignore_index=True)
    return run, table


KNOWN = st.sampled_from(
    [
        *("delta=1e-05; unit: user; relation: add or remove one; sampling: s; accountant: a", "delta=1e99; ", "; "),
        *(
            "absent: ",
            "absent: not defined for any example",
            "same weights",
            "two regimes",
            "trained apart, same start",
        ),
        *("descriptive: 1 seed, a claim needs 3; ", "noise floor: same regime, other seed", "quartiles", "\n"),
        *("better than random by 1e9 [0, 9e99]", "no better than random (+0 [-1, 1]): says nothing", "3 models; "),
        *("one-sided, 99% confidence, so that all 0 attacks together have 95%", "jackknife 95 % over seeds"),
        *("a lower bound (>=) at 95% confidence; delta=1; one run: x; y", "95% confidence; delta=1; many runs"),
        *("fails the sanity check: similarity above 1 with random weights", "bootstrap 95 % over examples"),
    ]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
NOTES = st.lists(KNOWN | TEXT | st.text(string.digits + ".e+-[](), %", max_size=30), max_size=4).map("".join)


@settings(max_examples=40 if WHOLE else 12, deadline=None, suppress_health_check=list(HealthCheck))
@given(note=NOTES, gone=st.booleans())
@example(note="", gone=True)
@example(note="absent: ", gone=True)
@example(note="descriptive: 1 seed, a claim needs 3", gone=False)
@example(note="better than random by 9e999 [0, 1]", gone=False)
def test_any_text_as_a_note_gives_a_valid_table(old_run, note, gone):
    run, table = old_run
    table.assign(note=note, **({"value": np.nan} if gone else {})).to_parquet(run.path / MEASURES, index=False)
    found = run.measures()
    assert list(found.columns) == list(COLUMNS) and (found.note == note).all()
    pd.testing.assert_frame_equal(found[list(FIRST_COLUMNS)], recorded_measures(run.directory)[list(FIRST_COLUMNS)])
    for row in rows_of(found):
        assert isinstance(note_of(row.about), str) and isinstance(row, Row)
