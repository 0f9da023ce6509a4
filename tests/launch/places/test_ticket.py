"""Who may work for a ticket: one attempt at a time, whoever slept, was cut off or left it behind."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.launch.places.pretended import JOB, unfinished
from tests.launch.places.test_placed import Engine, answer, start
from trustml.cli.main import _main
from trustml.errors import PrivacyError, UsageError
from trustml.launch.places import node, placed
from trustml.launch.places import ticket as files
from trustml.launch.places.ticket import EndedOnNode, Listener, Ticket, fingerprint, require_nobody
from trustml.privacy.ledger import charge, read_ledger
from trustml.processes import TICKET_VARIABLE
from trustml.record.files import replacing, write_atomic
from trustml.record.store import RunDirectory
from trustml.worker.__main__ import main as worker_main


@pytest.fixture
def run(tmp_path, monkeypatch) -> RunDirectory:
    monkeypatch.setattr(files, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(files, "LOST_SECONDS", 0.4)
    return unfinished(tmp_path)


@contextmanager
def beaten(path: Path):
    """Have somebody beat who knows nothing of the rest."""
    over = threading.Event()

    def beat() -> None:
        count = 0
        while not over.wait(0.02):
            count += 1
            path.write_text(str(count))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def use(folder: Path) -> Path:
    """Do what the node of a ticket does that takes it, up to its first sign."""
    answer(folder)
    (folder / files.NODE_BEAT).write_text("1")
    return folder


def open_ticket(folder: Path) -> None:
    token = files.read(folder / files.TICKET, Ticket).token
    assert node.main([str(folder), fingerprint(token)]) == 0


def test_a_silent_node_is_waited_for_as_long_as_it_would_go_on_and_then_shut_out(run):
    folder = use(start(run, Engine())[1])
    begun = time.monotonic()
    require_nobody(run)
    assert time.monotonic() - begun > files.LOST_SECONDS, "it may only be cut off"
    assert files.is_stopped(folder) and not (folder / files.ENDED).exists(), "which its node alone can say"
    begun = time.monotonic()
    require_nobody(run)
    assert time.monotonic() - begun < 0.2, "once"


def test_a_launcher_that_gave_up_says_nothing_of_the_node(run, monkeypatch):
    monkeypatch.setattr(placed, "STOP_SECONDS", 0.2)
    worker, folder = start(run, Engine())
    use(folder)
    with beaten(folder / files.NODE_BEAT):
        assert worker.stop("interrupted", "stopped").status == "interrupted"
        assert (folder / files.STOP).exists() and not files.is_closed(folder)
        with pytest.raises(UsageError, match=f"{JOB} still runs on n1"):
            require_nobody(run)
        assert _main(["rm", run.path.name, "--runs", str(run.path.parent), "--yes"]) == 2
        assert run.path.is_dir(), "nor is it removed beside its node"
    assert _main(["rm", run.path.name, "--runs", str(run.path.parent), "--yes"]) == 0
    assert not run.path.exists()


@pytest.mark.parametrize("how", ["stop", "end", "remove"])
def test_a_worker_that_wakes_too_late_charges_and_writes_nothing(run, monkeypatch, tmp_path, how):
    folder = use(start(run, Engine())[1])
    monkeypatch.setenv(TICKET_VARIABLE, str(folder))
    ledger, weights = tmp_path / "ledger.jsonl", tmp_path / "weights.safetensors"
    source = run.job_folder("train.torch.DPSGD.s0") / "ledger.jsonl"
    entry = read_ledger(source)[0]
    charge(ledger, entry)
    write_atomic(weights, b"while it may")
    if how == "stop":
        files.mark(folder / files.STOP)
    elif how == "end":
        files.write(folder / files.ENDED, EndedOnNode(status="error", reason=""))
    else:
        shutil.rmtree(folder)
    with pytest.raises(PrivacyError, match="given up"):
        charge(ledger, entry)
    with pytest.raises(PrivacyError, match="given up"):
        write_atomic(weights, b"over the other's")
    with pytest.raises(PrivacyError, match="given up"):
        write_atomic(tmp_path / "gone" / "checkpoint.npz", b"private", private=True)
    result = run.job_folder(JOB) / "result.json"
    result.write_bytes(b"the other's")
    (run.job_folder(JOB) / "job.json").write_bytes(b"{}")  # which it would tell in its result
    assert worker_main([str(run.job_folder(JOB))]) == 1
    assert len(read_ledger(ledger)) == 1 and weights.read_bytes() == b"while it may"
    assert not (tmp_path / "gone").exists() and result.read_bytes() == b"the other's"


def test_what_is_written_when_it_is_given_up_takes_no_place(run, monkeypatch, tmp_path):
    folder = use(start(run, Engine())[1])
    monkeypatch.setenv(TICKET_VARIABLE, str(folder))
    with pytest.raises(PrivacyError), replacing(tmp_path / "weights") as stream:
        stream.write(b"long")
        files.mark(folder / files.STOP)
    assert not (tmp_path / "weights").exists() and not list(tmp_path.glob(".weights*"))


@pytest.mark.parametrize("error", [UsageError("no quota"), KeyboardInterrupt(), RuntimeError("sbatch:\nno")])
def test_what_an_engine_may_have_taken_though_it_failed_never_trains(run, error):
    class Failing(Engine):
        def submit(self, *args, **options):
            raise error

    expected = UsageError if isinstance(error, RuntimeError) else type(error)
    with pytest.raises(expected) as caught:
        start(run, Failing())
    assert "\n" not in str(caught.value)
    (folder,) = (run.path / files.FOLDER).iterdir()
    open_ticket(folder)
    assert not (folder / files.ANSWER).exists() and (folder / files.STOP).exists()


@pytest.mark.parametrize("gone", [True, False])
def test_a_node_starts_a_worker_for_a_launcher_that_it_hears(run, monkeypatch, gone):
    begun = []
    monkeypatch.setattr(node, "Worker", lambda **options: begun.append(options) or _Done())
    worker, folder = start(run, Engine())
    if gone:
        files.HEART.leave_out(worker._pulse)
    open_ticket(folder)
    told = files.read(folder / files.ENDED, EndedOnNode)
    assert (bool(begun), told.status) == ((False, "interrupted") if gone else (True, "ok")), told.reason
    assert gone or begun[0]["variables"][TICKET_VARIABLE] == str(folder)


class _Done:
    def poll(self):
        return msgspec.convert({"status": "ok", "reason": ""}, EndedOnNode)


def test_an_orphan_that_is_stopped_before_it_begins_deletes_no_result(run):
    folder = start(run, Engine())[1]
    (run.job_folder(JOB) / "result.json").write_bytes(b"the other's")
    files.mark(folder / files.STOP)
    open_ticket(folder)
    assert files.read(folder / files.ENDED, EndedOnNode).status == "interrupted"
    assert (run.job_folder(JOB) / "result.json").read_bytes() == b"the other's"


def test_an_environment_that_a_variable_names_in_vain_ends_the_job(run, monkeypatch):
    monkeypatch.setenv("TRUSTML_ENV_TENSORFLOW", "/nonexistent")
    monkeypatch.setattr(node, "create_tensorflow", lambda *args, **options: pytest.fail("made, and of no use"))
    folder = start(run, Engine())[1]
    ticket = msgspec.structs.replace(files.read(folder / files.TICKET, Ticket), backend="tensorflow")
    files.write(folder / files.TICKET, ticket)
    open_ticket(folder)
    told = files.read(folder / files.ENDED, EndedOnNode)
    assert told.status == "error" and "TRUSTML_ENV_TENSORFLOW=/nonexistent" in told.reason


def test_both_sides_beat_while_they_wait_for_something(run, monkeypatch):
    """The launcher for an engine, the node for an installation."""
    heard = {}

    class Slow(Engine):
        def submit(self, command, *, name, resources, folder):
            heard["launcher"] = _grows(folder / files.LAUNCHER_BEAT)
            return "7"

    _, folder = start(run, Slow())

    def install(asked, at):
        heard["node"] = _grows(at / files.NODE_BEAT)
        raise UsageError("enough")

    monkeypatch.setattr(node, "_environment", install)
    open_ticket(folder)
    assert heard == {"launcher": True, "node": True}


def _grows(path: Path) -> bool:
    ear, end = Listener(path), time.monotonic() + 3
    while not ear.grew and time.monotonic() < end:
        ear.silence()
        time.sleep(0.02)
    return ear.grew


def test_a_number_that_lies_there_is_no_sign(tmp_path):
    ear = Listener(tmp_path / "beat")
    for content, grew in ((None, False), (b"7", False), (b"", False), (b"7", False), (b"8", True)):
        if content is not None:
            (tmp_path / "beat").write_bytes(content)
        ear._looked = -np.inf
        ear.silence()
        assert ear.grew is grew, content


def test_tickets_behind_links_are_left_alone(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run.path / files.FOLDER).mkdir(exist_ok=True)
    (run.path / files.FOLDER / "x.y").symlink_to(elsewhere)
    require_nobody(run)
    assert list(elsewhere.iterdir()) == []
