"""``trustml init``, and ``trustml run`` of a data file."""

from __future__ import annotations

import pytest

from trustml.cli.main import _main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("a;b;kind\n" + "".join(f"{n},5;{n % 7};{n % 2}\n" for n in range(60)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_a_scenario_and_says_what_it_found(folder, capsys):
    assert _main(["init", "a.csv", "--label", "kind"]) == 0
    out, err = capsys.readouterr()
    assert out == "wrote a.py; run it with: trustml run a.py\n"
    assert "48 examples to train on, 12 held out; 2 features; 2 classes" in err
    assert "columns are separated by ';'" in err and "decimal mark is ','" in err
    assert _main(["init", "a.csv", "--label", "kind"]) == 0  # the same again


def test_what_is_there_is_kept(folder, capsys):
    (folder / "a.py").write_text("mine")
    assert _main(["init", "a.csv", "--label", "kind"]) == 2
    assert "a.py: is there and says something else; give --force" in capsys.readouterr().err
    assert (folder / "a.py").read_text() == "mine"
    assert _main(["init", "a.csv", "--label", "kind", "--force"]) == 0
    assert "scenario = Scenario(" in (folder / "a.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.csv"], "--label: "),
        (["a.csv", "--label", "kind", "--set", "training.0.epochs=3"], "init takes fields of the source alone"),
        (["a.csv", "--label", "kind", "-o", "x/a.py"], "there is no such folder"),
        (["a.csv", "--label", "kind", "-o", "a.toml"], "a draft is a Python file"),
        (["none.csv"], "no such file"),
    ],
)
def test_bad_input_is_one_line(folder, capsys, arguments, said):
    assert _main(["init", *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err


def test_run_of_data_writes_the_scenario_that_it_runs(folder, capsys, monkeypatch):
    asked = []

    def run(scenario, **_):
        asked.append(scenario)
        raise KeyboardInterrupt

    monkeypatch.setattr("trustml.api.run", run)
    assert _main(["run", "a.csv", "--label", "kind", "--backend", "jax"]) == 130
    assert asked == ["a.py"] and "wrote a.py, which is run now" in capsys.readouterr().err
    assert _main(["run", "a.py", "--label", "kind"]) == 2
    assert "--label goes with a data file" in capsys.readouterr().err
