"""``trustml dashboard``."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import click

from trustml.cli.main import interrupted_by_signals
from trustml.cli.output import root_option

_PATIENCE = 5.0  # seconds


@click.command("dashboard", short_help="Open the dashboard on 127.0.0.1.")
@root_option
@click.option(
    "--scenarios",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Let whoever opens it start the scenarios of this folder; a .py file there is executed to be read.",
)
@click.option(
    "--audits",
    type=click.Path(file_okay=False, path_type=Path),
    help="Let whoever opens it upload models and data to be audited; they and the reports are kept in this folder.",
)
@click.option(
    "--audits-memory",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="GiB that one audit of an upload may hold; one that holds more is ended.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@click.option("--open/--no-open", "open_browser", default=False, help="Open a browser window.")
def command(
    root: Path, scenarios: Path | None, audits: Path | None, audits_memory: int, port: int, open_browser: bool
) -> int:
    """Serve the dashboard for the runs in a folder, on this machine alone, until Ctrl-C or SIGTERM.

    It reads records, and explains inputs that a reader gives. With --scenarios it starts runs, and with --audits it
    audits models that are uploaded; both outlive it.
    """
    from trustml.errors import EnvironmentMissingError
    from trustml.processes import module_command
    from trustml.scenario.ready import shipped

    if importlib.util.find_spec("streamlit") is None:
        raise EnvironmentMissingError("streamlit is not installed; run `pip install 'trustml[dashboard]'`")
    options = ["--server.address", "127.0.0.1", "--server.port", str(port)]
    options += ["--server.headless", "false" if open_browser else "true"]
    options += ["--browser.gatherUsageStats", "false", "--client.toolbarMode", "minimal"]
    options += ["--client.showErrorDetails", "none"]  # of what no page expects, the terminal has it all
    if audits is not None:
        _make(audits)
    folders = {"TRUSTML_SCENARIOS": scenarios, "TRUSTML_AUDITS": audits}
    app = str(shipped("apps") / "dashboard.py")
    serve = module_command(Path(sys.executable), "streamlit", "run", app, *options)
    interrupted_by_signals()
    # A session of its own: a signal to our group comes to us alone, and the server ends with us, however we end.
    process = subprocess.Popen(
        serve.arguments,
        pass_fds=serve.inherited,
        env={
            **{name: value for name, value in os.environ.items() if name not in folders},
            "TRUSTML_RUNS": str(root.resolve()),
            "TRUSTML_AUDITS_MEMORY": str(audits_memory),
            **{name: str(folder.resolve()) for name, folder in folders.items() if folder is not None},
        },
        start_new_session=True,
    )
    click.echo(f"dashboard: http://127.0.0.1:{port}   runs: {root.resolve()}   (Ctrl-C ends it)", err=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(process)


def _make(folder: Path) -> None:
    from trustml.errors import UsageError

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--audits: {folder} cannot be made ({error.strerror}); name another folder") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and what it started, at once where it does not end by itself."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
