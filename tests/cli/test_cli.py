"""The command line as people and scripts use it: exit codes, streams, real processes.

What only asks, or is refused, is called in the process of the tests: a process of its own takes seconds to start, and
one test holds that both say the same.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

import trustml as api
from tests.records import copy_of, unasked_second_opinion
from trustml.cli.main import _main
from trustml.deployment.targets import TARGETS
from trustml.launch import environments

ROOT = Path(__file__).resolve().parents[2]


def trustml(*arguments, cwd=None, timeout=400, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "trustml.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd or ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )


def called(*arguments, cwd=None, **environment) -> subprocess.CompletedProcess:
    """The same without a process of its own."""
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.chdir(cwd or ROOT)
        for name, value in environment.items():
            patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
        code = _main([*map(str, arguments)])
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())


def toml(path: Path, *, data: str = 'kind = "Digits"', model: str = "", training: str = "") -> Path:
    """A scenario file with one part replaced."""
    layers = model or '[[model.layers]]\nkind = "Flatten"\n[[model.layers]]\nkind = "Dense"\nunits = 10\n'
    regimes = training or '[[training]]\nkind = "Plain"\nepochs = 1\n'
    path.write_text(f'name = "t"\nbackends = ["jax"]\n[data]\n{data}\n{layers}\n{regimes}\n')
    return path


def assert_one_clear_line(done: subprocess.CompletedProcess, *words: str, folder: Path) -> None:
    assert done.returncode == 2, (done.returncode, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in lines[0], lines[0]
    assert not (folder / "runs").exists(), "nothing is created before everything is checked"


def test_help_is_fast_and_lists_the_commands():
    best = float("inf")
    for _ in range(3):
        before = os.times()
        done = trustml("--help")
        after = os.times()  # of the processor, which others may use too
        best = min(best, sum(after[2:4]) - sum(before[2:4]))
    assert done.returncode == 0
    for command in ("run", "list", "show", "compare", "ledger", "conformance", "bench", "dashboard", "setup"):
        assert f"  {command} " in done.stdout
    assert best < 0.3


@pytest.mark.parametrize(
    "command",
    ["run", "list", "show", "compare", "dashboard", "doctor", "setup", "ledger", "conformance", "bench", "schema"],
)
def test_every_command_has_help_without_numpy(command):
    code = (
        "import sys\nfrom trustml.cli.main import _main\n"
        f"assert _main([{command!r}, '--help']) == 0\n"
        "heavy = {'numpy', 'pandas', 'torch', 'jax', 'tensorflow', 'streamlit', 'dp_accounting'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training.1.epsilonn=3", ("training.1.epsilonn", "did you mean epsilon?")),
        ("training.1.epsilon=-1", ("training.1.epsilon", "-1", "above 0")),
        ("training.1.epsilon=abc", ("training.1.epsilon", "'abc'")),
        ("training.2.partition.clients=100000", ("training.2.partition.clients", "100000", "or fewer")),
        ("model.layers.0.kind=Conv3", ("model.layers.0.kind", "'Conv3'", "Conv2D")),
        (
            "execution.grad_sample_mode=x",
            ("grad_sample_mode", "one of auto, book_keeping, ew, functorch, hooks"),
        ),
        ("model.layers.8.units=7", ("model.layers.8", "10 classes", "Dense(units=10)")),
        ("training.1.delta=2", ("training.1.delta", "2", "1/n")),
        ("execution.device=gpu", ("execution.device", "'gpu'", "cuda")),
        ("training.9.epsilon=1", ("training.9", "no item 9")),
        ("nonsense", ("--set", "FIELD=VALUE")),
        ("training.1.epsilon=1e-7", ("training.1.epsilon", "cannot be reached", "larger epsilon")),
    ],
)
def test_bad_fields_give_one_clear_line(tmp_path, setting, words):
    done = called("run", ROOT / "scenarios" / "digits.py", "--set", setting, cwd=tmp_path)
    assert_one_clear_line(done, *words, folder=tmp_path)


def test_what_is_always_refused_is_never_offered(tmp_path):
    done = called("run", "digits", "--set", "model.layers.0.kind=Batch", cwd=tmp_path)
    assert_one_clear_line(done, "Dropout, ", "Node", folder=tmp_path)
    assert "BatchNorm" not in done.stderr
    done = called("run", "digits", "--set", 'model.layers.0={kind = "BatchNorm"}', cwd=tmp_path)
    assert_one_clear_line(done, "use GroupNorm", folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("t.csv", "--label: "),
        ("t.parquet", "cannot be read as Parquet"),
        ("t.npz", "no readable .npz file"),
        ("folder", "holds 0 class folders"),
    ],
)
def test_data_in_place_of_a_scenario_is_looked_at_or_refused_by_what_is_wrong(tmp_path, name, words):
    if name == "folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"a,b\n1,2\n")
    assert_one_clear_line(called("run", name, cwd=tmp_path), words, folder=tmp_path)


def test_data_of_a_ready_scenario_that_is_not_there_names_the_variable(tmp_path):
    done = called("run", "adult", cwd=tmp_path, TRUSTML_DATA=None)
    assert_one_clear_line(done, "set TRUSTML_DATA to the absolute path", "makes it of UCI's Adult", folder=tmp_path)
    done = called("run", "adult", cwd=tmp_path, TRUSTML_DATA=str(tmp_path))
    assert_one_clear_line(done, f"TRUSTML_DATA names {tmp_path}, which must hold adult/", folder=tmp_path)


def _truncated_idx(folder: Path) -> str:
    (folder / "images.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + bytes([0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 8])))
    (folder / "labels").write_bytes(b"\0\0\x08\x01" + bytes([0, 0, 0, 9]) + bytes(9))
    return 'kind = "Idx"\nimages = "images.gz"\nlabels = "labels"'


def _object_npz(folder: Path) -> str:
    np.savez(folder / "d.npz", inputs=np.array([{"a": 1}] * 4, dtype=object), labels=np.arange(4), allow_pickle=True)
    return 'kind = "Npz"\npath = "d.npz"'


def _headless_csv(folder: Path) -> str:
    (folder / "d.csv").write_text("1.5,red,0\n2.5,blue,1\n3.5,red,0\n")
    return 'kind = "Csv"\npath = "d.csv"\nlabel = "income"'


def _text_csv(folder: Path) -> str:
    (folder / "d.csv").write_text("width,colour,label\n1.5,red,0\n2.5,blue,1\n3.5,red,0\n")
    return 'kind = "Csv"\npath = "d.csv"\nlabel = "label"\ncategorical = "refuse"'


def _no_file(folder: Path) -> str:
    return 'kind = "Parquet"\npath = "nowhere.parquet"\nlabel = "y"'


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_truncated_idx, ("images.gz", "truncated")),
        (_object_npz, ("d.npz", "'inputs'", "never unpickles")),
        (_headless_csv, ("d.csv", "no header")),
        (_text_csv, ("d.csv", "'colour'", "text", "'red'")),
        (_no_file, ("nowhere.parquet", "no such file")),
    ],
)
def test_bad_files_give_one_clear_line(tmp_path, make, words):
    path = toml(tmp_path / "s.toml", data=make(tmp_path))
    assert_one_clear_line(called("run", path, cwd=tmp_path), *words, folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("run",), "name a scenario"),
        (("run", "nothing"), "ready are adult, adult_transformer, all_methods, audit_digits, "),
        (("run", "digits", "--resume", "x"), "--resume"),
        (("run", "table.csv.gz"), "no such file"),
        (("run", "--resume", "nothing"), "nothing"),
        (("show", "nothing"), "trustml list"),
        (("compare", "nothing"), "trustml list"),
        (("setup", "torch"), "tensorflow"),
        (("frobnicate",), "frobnicate"),
        (("show", "latest", "--runs", "/nonexistent"), "latest"),
    ],
)
def test_usage_errors_exit_2_without_a_traceback(tmp_path, arguments, word):
    done = called(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("frobnicate",), ("run", ROOT / "scenarios" / "digits.py", "--set", "training.1.epsilon=-1")]
)
def test_a_process_says_what_a_call_says(tmp_path, arguments):
    process, call = (way(*arguments, cwd=tmp_path, NO_COLOR="1", COLUMNS="80") for way in (trustml, called))
    assert process.returncode == call.returncode == 2
    assert (process.stdout, process.stderr) == (call.stdout, call.stderr)
    assert "Traceback" not in process.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A small run by the command line, in a folder of its own."""
    folder = tmp_path_factory.mktemp("cli")
    toml(
        folder / "small.toml",
        training='[[training]]\nkind = "Plain"\nepochs = 1\n'
        '[[training]]\nkind = "DPSGD"\nnoise_multiplier = 2.0\nepochs = 1\ndelta = 0.01\n'
        "[explanations]\nmethods = []\n",
    )
    with unasked_second_opinion():
        return folder, called("run", "small.toml", "--json", cwd=folder, NO_COLOR="1")


def test_run_prints_events_as_json_lines(finished):
    _, done = finished
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["event"] == "run"
    assert set(events[-1]) >= {"event", "run", "path", "status"}
    assert (events[-1]["event"], events[-1]["status"]) == ("done", "success")
    assert "\x1b" not in done.stdout + done.stderr


def test_show_gives_jobs_and_tidy_rows_as_json(finished):
    folder, _ = finished
    done = called("show", "latest", "--json", cwd=folder)
    content = json.loads(done.stdout)
    assert set(content) == {"run", "status", "jobs", "data", "measures", "privacy", "summary"}
    assert {job["status"] for job in content["jobs"]} == {"ok"}
    assert {row["measure"] for row in content["measures"]} >= {"accuracy", "epsilon", "step_time_median"}
    assert set(content["measures"][0]) == {
        "run", "job", "backend", "regime", "seed", "subject", "method", "measure", "value", "low", "high",
        "unit", "n", "note", "kind", "model", "verdict", "pair", "first", "second", "delta", "privacy_unit", "relation",
        "sampling", "accountant", "p_value", "confidence", "interval", "facts",
    }  # fmt: skip


def test_show_and_compare_print_what_was_measured(finished):
    folder, _ = finished
    for command in ("show", "compare"):
        done = called(command, "latest", cwd=folder)
        assert done.returncode == 0, done.stderr
        for word in (
            "DPSGD",
            "accuracy",
            "delta=0.01",
            "unit: example",
            "add or remove one",
            "warning: training.1.delta",
        ):
            assert word in done.stdout, word
        assert "\x1b" not in done.stdout


def test_output_goes_to_a_file(finished):
    folder, _ = finished
    done = called("show", "latest", "--json", "-o", "out.json", cwd=folder)
    assert done.stdout == ""
    assert json.loads((folder / "out.json").read_text())["status"] == "success"


def test_a_shortfall_of_delta_is_a_warning_and_not_met(finished):
    folder, done = finished
    run = api.load(folder / json.loads(done.stdout.splitlines()[-1])["path"])
    assert any("delta" in warning for warning in run.manifest.warnings)
    (statement,) = run.privacy()
    assert next(one for one in statement.assumptions if one.name == "delta is below 1/n").status == "not met"


def test_compare_takes_several_runs(finished):
    folder, _ = finished
    copy_of("private", folder / "runs")
    listed = json.loads(called("list", "--json", cwd=folder).stdout)
    names = [run["run"] for run in listed["runs"]]
    assert len(names) == 2 and set(listed["scenarios"]) >= {"breast_cancer", "digits"}
    done = called("compare", *names, cwd=folder)
    assert all(name in done.stdout for name in names)
    twice = called("compare", *names, names[0], "--json", cwd=folder)  # is one run all the same
    assert json.loads(twice.stdout)["runs"] == names


@pytest.fixture(scope="module")
def overridden(tmp_path_factory) -> dict:
    """What the record of a run says that was begun with other settings, and left to itself no longer than that."""
    folder = tmp_path_factory.mktemp("overridden")
    file = toml(folder / "private.toml", training='[[training]]\nkind = "DPSGD"\nnoise_multiplier = 2.0\nepochs = 1\n')
    options = ["--seeds", "2", "--device", "cpu", "--set", "training.0.noise_multiplier=3"]
    command = [sys.executable, "-m", "trustml.cli", "run", file, "--json", "--set", "explanations.methods=[]", *options]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        begun = json.loads(process.stdout.readline())
        process.terminate()
        process.stdout.read()
    return json.loads((Path(begun["path"]) / "manifest.json").read_text())


def test_every_option_overrides_a_field(overridden):
    scenario = overridden["scenario"]
    assert scenario["seeds"] == [0, 1]
    assert scenario["execution"]["device"] == "cpu"
    assert scenario["training"][0]["noise_multiplier"] == 3 and scenario["explanations"]["methods"] == []
    assert "training.0.noise_multiplier=3" in overridden["overrides"]


@pytest.mark.cold
def test_an_unknown_cuda_device_is_one_line_in_the_record(finished):
    folder, _ = finished
    one = ("--set", 'training=[{kind = "Plain"}]')
    done = called("run", "small.toml", "--device", "cuda", "--json", *one, cwd=folder, CUDA_VISIBLE_DEVICES="")
    ends = [event for line in done.stdout.splitlines() if (event := json.loads(line))["event"] == "job-end"]
    assert ends, done.stderr
    if all(event["status"] == "ok" for event in ends):
        pytest.skip("this machine has a CUDA device that JAX can use")
    assert done.returncode == 4
    assert any("execution.device" in event.get("reason", "") for event in ends)


def test_doctor_lists_what_is_missing_with_its_repair(tmp_path, monkeypatch):
    known, probe = {}, environments.probe

    def probed_once(environment):
        if environment.backend not in known:
            known[environment.backend] = probe(environment)
        return known[environment.backend]

    monkeypatch.setattr(environments, "probe", probed_once)
    done = called("doctor", "--json", TRUSTML_ENV_TENSORFLOW=str(tmp_path / "nowhere"))
    assert done.returncode == 4
    parts = {part["backend"]: part for part in json.loads(done.stdout)["environments"]}
    assert parts["torch"]["ok"] and parts["torch"]["versions"]["opacus"]
    assert not parts["tensorflow"]["ok"] and parts["tensorflow"]["fix"] == "trustml setup tensorflow"
    targets = {target["target"]: target for target in json.loads(done.stdout)["targets"]}
    assert list(targets) == list(TARGETS) and targets["pt2"]["ok"] and "nowhere" in targets["tflite"]["problem"]
    text = called("doctor", TRUSTML_ENV_TENSORFLOW=str(tmp_path / "nowhere")).stdout
    assert "trustml setup tensorflow" in text
    assert "models can be exported to, and asked in: pt2 (in PyTorch)" in text
    assert "export to keras: the tensorflow environment is missing" in text


def test_internal_errors_exit_3_in_one_line(tmp_path):
    code = (
        "import sys, trustml.record.store as store\n"
        "def broken(root): raise RuntimeError('surprise')\n"
        "store.list_runs = broken\n"
        "from trustml.cli.main import _main\nsys.exit(_main(['list']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3
    assert "surprise" in done.stderr and "Traceback" not in done.stderr
