"""Audits of uploaded models: what may be uploaded, what it becomes, and the command line that is called."""

from __future__ import annotations

import fcntl
import io
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.records import stored
from trustml.cli.audit import command as AUDIT
from trustml.errors import UsageError

APPS = Path(__file__).resolve().parents[2] / "apps"
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # AppTest leaves an event loop behind
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, inputs=np.zeros((3, 2), np.float32), labels=np.array([0, 1, 0]))
    return stream.getvalue()


@pytest.fixture
def auditing(tmp_path, monkeypatch):
    """The module, with a folder of the operator's, and a command line that ends at once."""
    monkeypatch.syspath_prepend(str(APPS))
    import auditing

    monkeypatch.setenv("TRUSTML_AUDITS", str(tmp_path))
    monkeypatch.setenv("TRUSTML_RUNS", str(tmp_path / "runs"))
    return auditing


@pytest.fixture
def command(auditing, monkeypatch):
    """What would be called: it prints a line and writes an audit of a stored run where the report belongs."""
    called, real = [], auditing.subprocess.Popen
    audit = (stored("evidence") / "audit.json").as_posix()

    def popen(given, **options):
        called.append(given)
        target = given[given.index("-o") + 1]
        code = f"import shutil; print('done'); shutil.copy({audit!r}, {target!r})"
        return real([sys.executable, "-S", "-c", code], **options)

    monkeypatch.setattr(auditing.subprocess, "Popen", popen)
    return called


def ended(auditing, folder):
    deadline = time.monotonic() + 30
    while any(one.running for one in auditing.uploaded(folder)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return auditing.uploaded(folder)


def test_an_upload_lies_under_a_name_of_its_content_and_is_audited_by_the_command_line(auditing, command, tmp_path):
    model = auditing.Upload(name="../../etc/cron.d/x; rm -rf ~.ONNX", content=b"\x08model")
    train = auditing.Upload(name="/etc/passwd.npz", content=npz())
    name = auditing.start(tmp_path, model=model, train=train, holdout=None, claim=(3.0000000012, 1e-5))
    (one,) = ended(auditing, tmp_path)
    assert one.name == name and one.path == tmp_path / name and one.record is not None and one.said == "done"
    assert {path.name for path in one.path.iterdir()} >= {"model.onnx", "train.npz", "audit.json"}
    assert (one.path / "model.onnx").stat().st_mode & 0o077 == 0
    (given,) = command
    read = AUDIT.make_context("audit", given[6:]).params  # as the command line reads it
    assert read["file"] == one.path / "audit.json" and read["report"] == one.path / "audit.html" and read["as_json"]
    assert (read["target"], read["train"]) == (str(one.path / "model.onnx"), one.path / "train.npz")
    limits = ["1800", str(8 << 30)]
    module = ["-P", "-m", "trustml.auditing.upload_process"]
    assert given[:7] == [sys.executable, *module, *limits, str(one.path / "model.onnx")]
    assert {"--claim-epsilon=3.0000000012", "--claim-delta=1e-05", f"--train={one.path / 'train.npz'}"} <= set(given)
    assert {path.name for path in tmp_path.iterdir()} == {name, ".lock"}
    other = auditing.Upload(name="m.onnx", content=b"\x08other")
    assert auditing.start(tmp_path, model=other, train=train, holdout=train) != name


@pytest.mark.parametrize("name", ["model.pkl", "model.py", "model", "model.onnx.exe", ""])
def test_no_other_kind_of_file_is_taken(auditing, command, tmp_path, name):
    model = auditing.Upload(name=name, content=b"x")
    with pytest.raises(UsageError, match=r"of no known kind; give a file ending in \.pt2"):
        auditing.start(tmp_path, model=model, train=auditing.Upload(name="a.npz", content=npz()), holdout=None)
    assert not command and not list(tmp_path.iterdir())


def test_one_audit_at_a_time(auditing, command, tmp_path):
    path = tmp_path / ("0" * 16)
    path.mkdir()
    (path / ".lock").touch()
    lock = os.open(path / ".lock", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    model = auditing.Upload(name="m.onnx", content=b"\x08")
    with pytest.raises(UsageError, match="another audit is running"):
        auditing.start(tmp_path, model=model, train=auditing.Upload(name="a.npz", content=npz()), holdout=None)
    os.close(lock)
    (one,) = auditing.uploaded(tmp_path)
    assert not one.running and one.record is None


def test_two_sessions_that_start_at_once_start_one(auditing, command, tmp_path, monkeypatch):
    train, said, real = auditing.Upload(name="a.npz", content=npz()), [], auditing.write_atomic

    def while_the_other_writes(path, content, **options):
        if not said:
            for other in (b"\x08other", b"\x08"):  # another upload, and the same twice: neither may wait
                said.append("started")
                with pytest.raises(UsageError) as refused:
                    auditing.start(
                        tmp_path, model=auditing.Upload(name="m.onnx", content=other), train=train, holdout=None
                    )
                said[-1] = str(refused.value)
        real(path, content, **options)

    monkeypatch.setattr(auditing, "write_atomic", while_the_other_writes)
    auditing.start(tmp_path, model=auditing.Upload(name="m.onnx", content=b"\x08"), train=train, holdout=None)
    assert len(command) == 1 and len(said) == 2 and all(one.startswith("another audit is being") for one in said)


def test_a_table_is_left_to_the_process_of_the_audit(auditing, command, tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTML_AUDITS_MEMORY", "3")
    table = auditing.Upload(name="a.CSV", content=b"no table that a server would have looked at")
    name = auditing.start(tmp_path, model=auditing.Upload(name="m.onnx", content=b"\x08"), train=table, holdout=table)
    path = tmp_path / name
    assert (path / "train.csv").read_bytes() == (path / "holdout.csv").read_bytes() == table.content
    assert {f"--train={path / 'train.npz'}", f"--holdout={path / 'holdout.npz'}", str(3 << 30)} <= set(command[0])
    monkeypatch.setenv("TRUSTML_AUDITS_MEMORY", "nan")
    with pytest.raises(UsageError, match="whole number of GiB"):
        auditing.most_memory()


def test_an_audit_that_runs_is_cancelled_and_only_then_deleted(auditing, tmp_path, monkeypatch):
    real, train = auditing.subprocess.Popen, auditing.Upload(name="a.npz", content=npz())

    def popen(given, **options):
        code = "import pathlib, time\nwhile not pathlib.Path('.cancel').exists(): time.sleep(0.01)"
        return real([sys.executable, "-S", "-c", code], **options)

    monkeypatch.setattr(auditing.subprocess, "Popen", popen)
    auditing.start(tmp_path, model=auditing.Upload(name="m.onnx", content=b"\x08"), train=train, holdout=None)
    (one,) = auditing.uploaded(tmp_path)
    assert one.running
    with pytest.raises(UsageError, match="cancel it first"):
        auditing.delete(one)
    auditing.cancel(one)
    ended(auditing, tmp_path)
    auditing.delete(one)
    auditing.delete(one)  # as another session may
    assert not auditing.uploaded(tmp_path)


def test_the_audit_that_was_chosen_stays_when_another_begins(auditing, command, tmp_path):
    train = auditing.Upload(name="a.npz", content=npz())

    def done(content: bytes) -> str:
        model = auditing.Upload(name="m.onnx", content=content)
        name = auditing.start(tmp_path, model=model, train=train, holdout=None)
        ended(auditing, tmp_path)
        return name

    first, second = done(b"\x081"), done(b"\x082")
    app = AppTest.from_file(str(APPS / "dashboard.py"), default_timeout=60).run()
    app.switch_page("views/audit_model.py").run()
    assert app.selectbox(key="audit shown").value == second  # the newest
    app.selectbox(key="audit shown").set_value(first).run()
    third = done(b"\x083")
    app.run()
    assert app.selectbox(key="audit shown").value == first and len(app.selectbox(key="audit shown").options) == 3
    app.button(key=f"delete {first}").click().run()
    assert app.selectbox(key="audit shown").value == third and not app.exception


def test_the_page_shows_what_was_found_and_deletes_it(auditing, command, tmp_path, monkeypatch):
    model = auditing.Upload(name="m.onnx", content=b"\x08model")
    auditing.start(tmp_path, model=model, train=auditing.Upload(name="a.npz", content=npz()), holdout=None)
    (one,) = ended(auditing, tmp_path)
    app = AppTest.from_file(str(APPS / "dashboard.py"), default_timeout=60).run()
    app.switch_page("views/audit_model.py").run()
    assert not app.exception and not app.error, [error.value for error in app.error]
    assert one.record is not None and one.record.worst in app.success[0].value
    app.button(key=f"delete {one.name}").click().run()
    assert not app.exception and not one.path.exists()
    monkeypatch.delenv("TRUSTML_AUDITS")
    assert auditing.audits_folder() is None  # then there is no such page
