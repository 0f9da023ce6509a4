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
        target = next(word.removeprefix("-o=") for word in given if word.startswith("-o="))
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
    name = auditing.start(tmp_path, model=model, train=train, holdout=None, claim=(3.0, 1e-5))
    (one,) = ended(auditing, tmp_path)
    assert one.name == name and one.path == tmp_path / name and one.record is not None and one.said == "done"
    assert {path.name for path in one.path.iterdir()} >= {"model.onnx", "train.npz", "audit.json"}
    assert (one.path / "model.onnx").stat().st_mode & 0o077 == 0
    (given,) = command
    assert given[:6] == [sys.executable, "-P", "-m", "trustml.cli", "audit", str(one.path / "model.onnx")]
    assert {"--claim-epsilon=3", "--claim-delta=1e-05", f"--train={one.path / 'train.npz'}"} <= set(given)
    assert {path.name for path in tmp_path.iterdir()} == {name}
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


def test_a_table_of_numbers_becomes_examples(auditing):
    content = auditing.examples_of(auditing.Upload(name="a.CSV", content=b"x,y,label\n1,2.5,0\n3,4,1\n"))
    with np.load(io.BytesIO(content)) as arrays:
        assert arrays["inputs"].tolist() == [[1, 2.5], [3, 4]] and arrays["labels"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x,label\n1,yes\n", "no table of numbers"),
        (b"x,label\n1,0.5\n", "whole numbers"),
        (b"x,label\n1,-1\n", "whole numbers"),
        (b"x,label\nnan,1\n", "whole numbers"),
        (b"x,label\n", "need a line of names"),
        (b"label\n1\n", "need a line of names"),
        (b"x,y,label\n1,2,0\n1,0\n", "no table of numbers"),
        (b"\xff\xfe", "no table of numbers"),
    ],
)
def test_what_is_no_such_table_is_refused_in_a_line(auditing, content, said):
    with pytest.raises(UsageError, match=said):
        auditing.examples_of(auditing.Upload(name="a.csv", content=content))


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
