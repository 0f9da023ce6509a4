"""``trustml audit`` as people and CI jobs use it: exit codes, streams, what is written."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from tests.auditing.serving import hang, serving
from tests.cli.test_cli import called, trustml
from tests.report.audit.examples import empty_audit
from trustml.audits import Audit
from trustml.cli.audit import _keep
from trustml.cli.main import _main

MODEL = """
import numpy as np

TRAIN = np.load("train.npz")

def sure(inputs):
    known = (inputs[:, None] == TRAIN["inputs"][None]).all(axis=2)
    found = np.full((len(inputs), 3), 0.05)
    labels = np.where(known.any(axis=1), TRAIN["labels"][known.argmax(axis=1)], 0)
    found[np.arange(len(inputs)), labels] = np.where(known.any(axis=1), 0.9, 0.05)
    found[~known.any(axis=1)] = 1 / 3
    return found

def make():
    return lambda inputs: np.full((len(inputs), 3), 1 / 3)
"""
CLAIM = ("--claim-epsilon", 3, "--claim-delta", "1e-5", "--noise-multiplier", 1, "--sample-rate", 0.1, "--steps", 100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit")
    generator = np.random.default_rng(0)
    inputs, labels = generator.normal(size=(300, 6)).astype(np.float32), generator.integers(0, 3, 300)
    np.savez(path / "train.npz", inputs=inputs[:150], labels=labels[:150])
    np.savez(path / "holdout.npz", inputs=inputs[150:], labels=labels[150:])
    np.savez(path / "other.npz", x=inputs)
    np.savez(path / "pickled.npz", inputs=np.array([object()]), labels=labels)
    (path / "mine.py").write_text(MODEL)
    return path


def audit(folder, *arguments):
    return called("audit", *arguments, cwd=folder)


DATA = ("--train", "train.npz", "--holdout", "holdout.npz")


def test_a_model_of_a_module_fails_on_a_risk_and_everything_is_written(folder):
    done = trustml(
        "audit", "mine:sure", *DATA, "--checks", "membership", "--fail-on", "risk", "--report", "audit.html",
        "--model-card", "card.md", "--json", "-o", "audit.json", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "membership ..." in done.stderr and done.stdout == ""
    content = json.loads((folder / "audit.json").read_text())
    assert {one["id"]: one["severity"] for one in content["findings"]}["membership.loss"] == "risk"
    assert (folder / "audit.html").is_file() and (folder / "card.md").is_file()
    assert done.stderr.splitlines()[-2:] == ["wrote audit.html", "wrote card.md"]


def test_a_function_without_parameters_makes_the_model(folder):
    done = audit(folder, "mine:make", *DATA, "--checks", "membership", "--fail-on", "risk")
    assert done.returncode == 0, done.stderr
    assert "membership.loss" in done.stdout and done.stdout.rstrip().endswith("passed; worst finding: note")


def test_a_table_is_audited_as_its_arrays_are(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "uniform.py").write_text("import numpy as np\nmake = lambda: lambda x: np.full((len(x), 3), 1 / 3)\n")
    found = []
    for part in ("train", "holdout"):
        with np.load(folder / f"{part}.npz") as arrays:
            rows = np.column_stack([arrays["inputs"], arrays["labels"]]).astype(float).tolist()
        lines = [",".join(map(repr, [*row[:-1], int(row[-1])])) for row in rows]
        (tmp_path / f"{part}.csv").write_text("\n".join(["a,b,c,d,e,f,label", *lines]))
    for given in (folder, tmp_path):
        files = [next(given.glob(f"{part}.*")) for part in ("train", "holdout")]
        arguments = ["--train", str(files[0]), "--holdout", str(files[1]), "--checks", "membership"]
        assert _main(["audit", "uniform:make", *arguments]) == 0, capsys.readouterr().err
        found.append(capsys.readouterr().out)
    assert files[0].suffix == ".csv" and found[0] == found[1] and "membership.loss" in found[1]
    (tmp_path / "holdout.csv").write_text(files[1].read_text().replace("a,b,", "b,a,", 1))
    assert _main(["audit", "uniform:make", *arguments]) == 2
    assert "holdout.csv: its columns (b, a, c, d, e, f, label) are in another order" in capsys.readouterr().err


def test_exchanged_sets_fail_and_a_holdout_that_is_the_training_set_is_one_line(folder):
    swapped = ("--train", "holdout.npz", "--holdout", "train.npz", "--checks", "membership")
    done = audit(folder, "mine:sure", *swapped, "--fail-on", "risk")
    assert done.returncode == 1 and "perhaps" in done.stdout, done.stdout + done.stderr
    same = ("--train", "train.npz", "--holdout", "train.npz", "--checks", "membership")
    done = audit(folder, "mine:sure", *same)
    assert done.returncode == 2 and "holdout: all of its 150 examples are in train" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_claim_alone(capsys):
    arguments = ("claim", *CLAIM, "--sampling", "poisson", "--fail-on", "violation")
    assert _main(["audit", *map(str, arguments)]) == 1
    shown = capsys.readouterr().out
    assert "accounting.recomputed" in shown and "violation" in shown


def test_an_endpoint_and_one_that_does_not_answer(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    uniform = lambda inputs: np.full((len(inputs), 3), 1 / 3)  # noqa: E731
    arguments = ("--protocol", "tf-serving", "--endpoint-model", "digits", *DATA, "--checks", "membership")
    with serving(uniform) as url:
        assert _main(["audit", url, *arguments]) == 0
    capsys.readouterr()
    with serving(uniform, answer=hang) as url:
        assert _main(["audit", url, *arguments, "--timeout", "0.2", "--fail-on", "risk"]) == 2
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1].startswith("Error: http://127.0.0.1")
    assert "gave no whole answer in 0.2 s" in shown.err
    assert "data.overlap" in shown.out  # nothing found is lost


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing",), "no run of that name"),
        (("mine:absent", *DATA), "has no attribute 'absent'"),
        (("absent:sure", *DATA), "No module named 'absent'"),
        (("file.keras", *DATA), "file.keras: no such file"),
        (("mine:sure", "--train", "none.npz"), "none.npz: no such file"),
        (("mine:sure", "--train", "other.npz", "--holdout", "other.npz"), "holds x; it needs `inputs` and `labels`"),
        (("mine:sure", "--train", "pickled.npz", "--holdout", "holdout.npz"), "not a readable .npz file"),
        (("mine:sure", *DATA, "--checks", "everything"), "checks: everything"),
        (("absent.onnx", "--of", "latest:train", "--checks", "everything"), "checks: everything"),
        (("mine:sure", *DATA, "--references", 4), "give retrain"),
        (("mine:sure", *DATA, "--steps", 4), "needs --claim-epsilon and --claim-delta"),
        (("http://127.0.0.1:1", *DATA), "endpoint.model"),
        (("claim",), "name the claim"),
    ],
)
def test_bad_input_is_exit_2_and_one_line(folder, arguments, words, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert _main(["audit", *map(str, arguments)]) == 2
    shown = capsys.readouterr()
    assert words in shown.err and "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.tensorflow
def test_a_keras_model_through_a_worker(folder):
    (folder / "theirs.py").write_text(
        "import tensorflow as tf\n"
        "layers = tf.keras.layers\n"
        "model = tf.keras.Sequential([layers.Dense(64, 'tanh', input_shape=(6,)), layers.Dense(3)])\n"
    )
    done = audit(folder, "tensorflow=theirs:model", *DATA, "--checks", "explanations", "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    found = {one["id"]: one["severity"] for one in content["findings"]}
    assert found["explanations.completeness"] == found["explanations.sanity"] == "pass"
    assert "in its own environment" in content["models"][0]["kind"]


@pytest.mark.parametrize("name", ["audit.json", "audit.html"])
def test_an_audit_is_kept_in_a_run_without_following_links_or_waiting_for_pipes(tmp_path, capsys, name):
    folder, theirs = tmp_path / "run", tmp_path / "theirs"
    for make in (lambda path: path.symlink_to(theirs), os.mkfifo):
        folder.mkdir(exist_ok=True)
        theirs.write_text("precious")
        (folder / name).unlink(missing_ok=True)
        make(folder / name)
        _keep(Audit(empty_audit()), folder)
        assert theirs.read_text() == "precious"
        assert (folder / name).is_file() and not (folder / name).is_symlink()
    assert "written: " in capsys.readouterr().err


def test_a_run_that_cannot_be_written_to_is_audited_all_the_same(tmp_path, capsys):
    (tmp_path / "audit.json").mkdir()
    _keep(Audit(empty_audit()), tmp_path)
    assert capsys.readouterr().err.startswith("not written: ")
