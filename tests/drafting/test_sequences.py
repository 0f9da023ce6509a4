"""Drafts of texts, series and recordings: what is recognised, what is chosen from the data, and that it is whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.io import wavfile

from trustml import Audio, Classes, Csv, Json, Regression, Series, Text
from trustml.drafting.draft import Draft, draft
from trustml.errors import ScenarioError, UsageError
from trustml.scenario.read import read_scenario

WORDS = ("one", "two", "three", "four", "five", "six", "seven")
MESSAGES = [" ".join(WORDS[(n + k) % 7] for k in range(5)) + f" {n}" for n in range(60)]


def written(found: Draft, folder) -> Draft:
    """The file says the scenario, model and all."""
    file = folder / "first.py"
    file.write_text(found.text(folder), encoding="utf-8")
    assert read_scenario(file) == found.scenario
    return found


def messages(folder, *, more: str = "", values: str = "", name: str = "m.tsv"):
    lines = [f"label\ttext{more}", *(f"{'ab'[n % 2]}\t{text}{values}" for n, text in enumerate(MESSAGES))]
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return folder / name


def test_a_table_with_nothing_but_texts_is_read_as_texts(tmp_path):
    found = written(draft(messages(tmp_path)), tmp_path)
    source = found.scenario.data
    assert isinstance(source, Text) and (source.text, source.label, source.length) == ("text", "label", 32)
    assert "texts of 32 tokens; 2 classes" in found.told[0] and "'text' is read as texts, by bytes" in found.told
    assert {"data.text", "data.length", "task", "model"} <= set(found.scenario.chosen_from_data)
    assert "from trustml.models.sequences import text_cnn" in found.text(tmp_path)
    assert draft(messages(tmp_path), settings={"length": 16}).scenario.data.length == 16


def test_lines_of_json_with_numbers_to_learn(tmp_path):
    rows = [{"score": n / 7, "body": text, "id": n} for n, text in enumerate(MESSAGES)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = written(draft(tmp_path / "m.jsonl", label="score"), tmp_path)
    assert isinstance(found.scenario.data, Text) and found.scenario.data.text == "body"
    assert isinstance(found.scenario.task, Regression)


def test_a_table_with_features_beside_its_texts_stays_one_unless_it_is_said(tmp_path):
    (tmp_path / "m.csv").write_text(
        "label,text,size\n" + "".join(f"{n % 2},{text},{n % 5}\n" for n, text in enumerate(MESSAGES)), encoding="utf-8"
    )
    assert isinstance(draft(tmp_path / "m.csv").scenario.data, Csv)
    found = draft(tmp_path / "m.csv", settings={"text": "text"}).scenario
    assert isinstance(found.data, Text) and found.task == Classes()
    with pytest.raises(UsageError, match=r"--set data\.text: 1 columns of .* are texts; name one of text, size"):
        draft(tmp_path / "m.csv", settings={"length": 8})
    (tmp_path / "n.json").write_text(json.dumps([{"label": n % 2, "size": n % 5} for n in range(60)]))
    assert isinstance(draft(tmp_path / "n.json").scenario.data, Json)
    with pytest.raises(ScenarioError, match=r"data\.separator: .* has 2 characters.*at most 1; in double quotes"):
        draft(tmp_path / "m.csv", settings={"separator": "\\t"})


def series(folder, name: str, *, rows: int = 40, steps: int = 30, target: bool = False, short: int = 0):
    lines = [f"@{'target' if target else 'class'}Label true" + ("" if target else " a b"), "@data"]
    for n in range(rows):
        values = np.sin(np.arange(steps - short * (n % 2)) / (1 + n % 2)) + n / rows
        lines.append(",".join(f"{value:.4f}" for value in values) + f":{n / 3 if target else 'ab'[n % 2]}")
    (folder / name).write_text("\n".join(lines))
    return folder / name


def test_series_of_the_archives_find_their_test_file(tmp_path):
    path = series(tmp_path, "Two_TRAIN.ts")
    series(tmp_path, "Two_TEST.ts", rows=10)
    found = written(draft(path), tmp_path)
    source = found.scenario.data
    assert isinstance(source, Series) and source.test_path == str(tmp_path / "Two_TEST.ts") and source.length is None
    assert source.scaling == "each" and found.scenario.task == Classes()
    assert "40 examples to train on, 10 held out" in found.told[0]
    assert "from trustml.models.sequences import tcn" in found.text(tmp_path)
    with pytest.raises(UsageError, match="leave --clients out"):
        draft(path, clients="who")


def test_series_of_several_lengths_and_targets(tmp_path):
    found = draft(series(tmp_path, "r.ts", target=True, short=7)).scenario
    assert found.data.length == 30 and "data.length" in found.chosen_from_data
    assert isinstance(found.task, Regression)


def test_arrays_of_many_steps_and_few_channels_are_series_and_others_are_images(tmp_path):
    random = np.random.default_rng(0)
    np.savez(tmp_path / "s.npz", x=random.normal(size=(60, 40, 3)), y=np.arange(60) % 2)
    found = written(draft(tmp_path / "s.npz"), tmp_path).scenario.data
    assert isinstance(found, Series) and (found.inputs, found.label) == (("x",), "y")
    np.savez(tmp_path / "i.npz", x=random.normal(size=(60, 12, 12)), y=np.arange(60) % 2)
    assert not isinstance(draft(tmp_path / "i.npz").scenario.data, Series)


def test_folders_of_recordings(tmp_path):
    random = np.random.default_rng(0)
    for kind in ("hum", "hiss"):
        (tmp_path / kind).mkdir()
        for number in range(20):
            rate = 4000 if number == 3 else 8000
            noise = random.normal(scale=2000, size=rate // 2).astype(np.int16)
            wavfile.write(tmp_path / kind / f"{number}.wav", rate, noise)
    found = written(draft(tmp_path), tmp_path).scenario
    assert isinstance(found.data, Audio)
    assert (found.data.rate, found.data.seconds, found.data.resample) == (8000, 0.5, True)
    assert {"data.rate", "data.seconds", "data.resample"} <= set(found.chosen_from_data)
