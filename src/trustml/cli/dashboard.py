"""``trustml dashboard``."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import click

from trustml.cli.output import root_option


@click.command("dashboard", short_help="Open the dashboard on 127.0.0.1.")
@root_option
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@click.option("--open/--no-open", "open_browser", default=False, help="Open a browser window.")
def command(root: Path, port: int, open_browser: bool) -> int:
    """Serve the dashboard for the runs in a folder, on this machine alone, until Ctrl-C."""
    from trustml.errors import EnvironmentMissingError
    from trustml.processes import module_command
    from trustml.scenario.ready import shipped

    if importlib.util.find_spec("streamlit") is None:
        raise EnvironmentMissingError("streamlit is not installed; run `pip install 'trustml[dashboard]'`")
    options = ["--server.address", "127.0.0.1", "--server.port", str(port)]
    options += ["--server.headless", "false" if open_browser else "true"]
    options += ["--browser.gatherUsageStats", "false", "--client.toolbarMode", "minimal"]
    app = str(shipped("apps") / "dashboard.py")
    serve = module_command(Path(sys.executable), "streamlit", "run", app, *options)
    process = subprocess.Popen(
        serve.arguments,
        pass_fds=serve.inherited,
        env={**os.environ, "TRUSTML_RUNS": str(root.resolve())},
    )
    click.echo(f"dashboard: http://127.0.0.1:{port}   runs: {root.resolve()}   (Ctrl-C ends it)", err=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        return 0
