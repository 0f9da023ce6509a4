"""Attributions of texts on their words: on the terminal, in pictures, and the words themselves in the record."""

from __future__ import annotations

import dataclasses

import numpy as np

from trustml.launch.prepare import prepare_run
from trustml.models.layers import Architecture, Dense, Node
from trustml.models.token_layers import Embedding, Mask, MaskedMean
from trustml.record.store import HELDOUT
from trustml.report.explanations.frames import Classes, ExplainedExample, Panel, features_table
from trustml.report.explanations.panels import panel_charts
from trustml.report.explanations.words import on_words, word_lines
from trustml.scenario.methods import InputXGradient
from trustml.scenario.regimes import Plain
from trustml.scenario.sources import Text
from trustml.scenario.spec import Explanations, Scenario

CLASSES = Classes(
    explained="spam", explained_probability=0.9, predicted="spam", predicted_probability=0.9, true_probability=0.9
)
PANEL = Panel(
    model="train.jax.Plain.s0", library="captum", variant="native", in_logits=True, combine="sum", classes=CLASSES,
    values=np.array([0.2, -1.0, 0.6, 5.0], np.float32),
)  # fmt: skip
FOUND = ExplainedExample(
    run="r", method="IntegratedGradients", example=0, target="spam", input=np.array([4, 5, 6, 0], np.float32),
    feature_names=tuple(f"token {i}" for i in range(4)), feature_groups=tuple(range(4)), panels=(PANEL,),
    tokens=("win", "a\x1b[2J", "prize", "<padding>"),
)  # fmt: skip


def test_every_word_has_its_attribution_and_padding_none():
    assert [(word, round(value, 6)) for word, value in on_words(FOUND, PANEL)] == [
        ("win", 0.2), ("a\x1b[2J", -1.0), ("prize", 0.6),
    ]  # fmt: skip
    assert not on_words(dataclasses.replace(FOUND, tokens=()), PANEL)  # a record of before
    layer = dataclasses.replace(PANEL, values=np.zeros((2, 2), np.float32))
    assert not on_words(FOUND, layer)


def test_the_terminal_shows_words_in_colours_and_no_escape_of_a_stranger():
    (line,) = word_lines(FOUND)
    assert "\x1b" not in line.plain and "win " in line.plain and line.plain.endswith("prize ")
    styles = {line.plain[span.start : span.end]: str(span.style) for span in line.spans}
    assert styles["prize"].startswith("white on rgb(") and styles["win"].startswith("black on rgb(")
    blue, red = (styles[word].partition("rgb(")[2].rstrip(")").split(",") for word in ("prize", "a\\x1b[2J"))
    assert int(blue[2]) > int(blue[0]) and red == ["178", "24", "43"]
    cells = [str(cell) for column in features_table(FOUND).columns for cell in column.cells]
    assert any("'prize'" in cell for cell in cells)
    assert FOUND.plain()["tokens"] == list(FOUND.tokens)


def test_pictures_show_words():
    ((title, chart),) = panel_charts(FOUND, [("captum", PANEL)])
    drawn = chart.to_dict()
    (rows,) = drawn["datasets"].values()
    assert title == "captum" and [row["word"] for row in rows] == ["win", "a\x1b[2J", "prize"]
    assert [row["start"] for row in rows] == [0, 3, 8] and {row["line"] for row in rows} == {0}


def test_words_are_recorded_with_the_explained_inputs_alone(tmp_path):
    path = tmp_path / "messages.tsv"
    path.write_text("label\ttext\n" + "ham\tsee you\nspam\twin now\n" * 20)
    scenario = Scenario(
        name="words",
        data=Text(path=str(path), text="text", label="label", separator="\t", length=10),
        model=Architecture(
            layers=(
                Node(name="mask", layer=Mask(), inputs=("input",)),
                Node(name="table", layer=Embedding(vocabulary=258, width=4), inputs=("input",)),
                Node(name="mean", layer=MaskedMean(), inputs=("table", "mask")),
                Dense(units=2),
            )
        ),
        training=(Plain(epochs=1),),
        backends=("jax",),
        explanations=Explanations(methods=(InputXGradient(),), examples=3),
    )
    run = prepare_run(scenario, root=tmp_path)
    held = run.mapped(HELDOUT)
    assert held["tokens"].shape == held["inputs"].shape == (3, 10)
    said = {"".join(word for word in row if word != "<padding>") for row in held["tokens"]}
    assert said <= {"see you", "win now"}
