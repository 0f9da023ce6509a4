"""Jobs that commands place: real processes, of which this machine plays the node."""

from __future__ import annotations

import os
import re
import socket
import tomllib
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.launch.places.pretended import JOB, pretend, unfinished
from trustml.errors import ScenarioError, UsageError
from trustml.launch.places import ticket as files
from trustml.launch.places.command import CommandEngine
from trustml.launch.places.node import main as node_main
from trustml.launch.places.ticket import fingerprint
from trustml.launch.schedule import JobScheduler
from trustml.scenario.check import check_scenario
from trustml.scenario.places import Command, Ray, Resources, Slurm
from trustml.scenario.spec import Execution

PLACE = (
    'execution.place={kind = "command", submit = ["sh", "-c", "{{shell}} > {{folder}}/node.err 2>&1 & echo $!"], '
    'poll = ["ps", "-o", "pid=", "-p", "{{id}}"], stop = ["kill", "{{id}}"]}'
)


def execute(run):
    events = []
    with run.lock() as lock:
        manifest = JobScheduler(run, listener=events.append, lock=lock).execute()
    return next(record for record in manifest.jobs if record.id == JOB), events


def test_a_job_runs_where_commands_put_it_and_the_record_says_where(tmp_path, monkeypatch):
    pretend(tmp_path, monkeypatch)
    run = unfinished(tmp_path, overrides=(PLACE, "execution.resources={train = {time = 2.0, memory = 1.5}}"))
    record, events = execute(run)
    assert (record.status, record.reason, record.exit_code) == ("ok", "", 0)
    assert record.result.library == "pretended" and 0 < record.seconds < 60
    assert record.node.name == socket.gethostname()
    assert record.node.cores == len(os.sched_getaffinity(0)) and record.node.memory > 2**28
    assert record.concurrent is False
    (folder,) = (run.path / files.FOLDER).iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    ticket = files.read(folder / files.TICKET, files.Ticket)
    assert (ticket.timeout, ticket.memory) == (120.0, int(1.5 * 2**30))
    assert [event["pid"] for event in events if event["event"] == "job-start"] == [0]
    # What an engine does that starts a command again, after the failure of a node, say.
    (run.job_folder(JOB) / "result.json").unlink()
    assert node_main([str(folder), fingerprint(ticket.token)]) == 0
    assert not (run.job_folder(JOB) / "result.json").exists(), "no ticket is used twice"


def test_what_an_engine_is_given_is_a_path_and_a_fingerprint(tmp_path, monkeypatch):
    given = []

    def submit(self, command, *, name, resources, folder):
        given.append((command, name, resources))
        raise UsageError("no more of it")

    monkeypatch.setattr(CommandEngine, "submit", submit)
    run = unfinished(tmp_path, overrides=(PLACE, "execution.resources={train = {cores = 3, gpus = 1}}"))
    record, _ = execute(run)
    assert (record.status, record.reason) == ("error", "no more of it")
    ((command, name, resources),) = given
    (folder,) = (run.path / files.FOLDER).iterdir()
    token = files.read(folder / files.TICKET, files.Ticket).token
    assert command[1:] == ("-P", "-m", "trustml.launch.places.node", str(folder), fingerprint(token))
    assert token not in " ".join(command)
    assert name == f"trustml-{JOB}" and resources == Resources(cores=3, gpus=1, time=60.0)


def test_words_are_filled_in_and_the_last_line_is_the_identifier(tmp_path):
    script = "cat; printf '%s|' \"$@\" > words; echo noise; echo job-7"
    engine = CommandEngine(
        Command(
            submit=("sh", "-c", f"cd {tmp_path}; {script}", "sh", "{{name}}", "{{cores}}-{{memory}}", "{{command}}"),
            poll=("sh", "-c", "test {{id}} = job-7 && cat " + str(tmp_path / "there")),
            stop=("rm", str(tmp_path / "{{id}}")),
            stdin="run {{json}}\n",
        )
    )
    resources = Resources(cores=2, memory=0.5)
    found = engine.submit(
        ("python", "-m", "a b"), name="trustml-train.torch.X.s0", resources=resources, folder=tmp_path
    )
    assert found == "job-7"
    assert (tmp_path / "words").read_text() == "trustml-train-torch-x-s0|2-512|python|-m|a b|"
    with pytest.raises(UsageError, match=r"execution.place.poll: sh ended with 1: cat: .*No such file"):
        engine.is_there("job-7")
    (tmp_path / "there").write_text("")
    assert not engine.is_there("job-7"), "it must say something"
    (tmp_path / "there").write_text("Running")
    assert engine.is_there("job-7") and not engine.is_there("job-8")
    (tmp_path / "job-7").touch()
    engine.cancel("job-7")
    assert not (tmp_path / "job-7").exists()


def test_bytes_that_are_no_text_are_read_all_the_same(tmp_path):
    words = ("sh", "-c", "printf 'J\\351\\n'", "{{command}}")
    engine = CommandEngine(Command(submit=words, poll=("sh", "-c", "printf '\\351'", "{{id}}")))
    found = engine.submit(("x",), name="n", resources=Resources(), folder=tmp_path)
    assert found == "J\N{REPLACEMENT CHARACTER}" and engine.is_there(found)


def test_who_is_gone_and_who_could_not_be_asked():
    for script, there in (("true", False), ("exit 1", False), ("echo R", True), ("echo down >&2; exit 1", None)):
        engine = CommandEngine(Command(submit=("true", "{{shell}}"), poll=("sh", "-c", script, "{{id}}")))
        if there is None:
            with pytest.raises(UsageError, match="ended with 1: down"):
                engine.is_there("7")
        else:
            assert engine.is_there("7") is there, script


def test_a_command_that_fails_is_one_line(tmp_path):
    poll = ("true", "{{id}}")
    for submit, words in (
        (("sh", "-c", "echo no quota >&2; exit 3", "{{shell}}"), "sh ended with 3: no quota"),
        (("true", "{{shell}}"), "true ended with 0: it printed nothing"),
        (("/nonexistent/kubectl", "{{shell}}"), "/nonexistent/kubectl cannot be run"),
    ):
        with pytest.raises(UsageError) as caught:
            CommandEngine(Command(submit=submit, poll=poll)).submit(
                ("x",), name="n", resources=Resources(), folder=tmp_path
            )
        assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"submit": ("sh", "{{comand}}")}, "execution.place.submit: {{comand}} stands for nothing there"),
        ({"submit": ("sh", "x {{command}}")}, "{{command}} stands for nothing there"),
        ({"submit": ("sh",)}, "execution.place.submit: never names the command of the job"),
        ({"poll": ("true",)}, "execution.place.poll: never names the job"),
        ({"stop": ("kill", "{{name}}")}, "execution.place.stop: {{name}} stands for nothing there"),
    ],
)
def test_words_that_stand_for_nothing_are_refused_before_anything_runs(tiny, changes, words):
    place = replace(Command(submit=("sh", "{{shell}}"), poll=("ps", "{{id}}")), **changes)
    with pytest.raises(ScenarioError) as caught:
        check_scenario(replace(tiny, execution=Execution(place=place)))
    assert words in str(caught.value)


def test_the_places_of_the_page_can_be_asked_for(tiny):
    page = (Path(__file__).resolve().parents[3] / "docs" / "clusters.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    asked = [msgspec.convert(tomllib.loads(block).get("execution", {}), Execution) for block in blocks]
    assert {type(one.place) for one in asked} == {Slurm, Ray, Command}
    for one in asked:
        check_scenario(replace(tiny, execution=one))
