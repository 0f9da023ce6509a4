"""``trustml``: the group of commands, loaded when they are called, and the exit codes.

0 ok, 1 a check failed, 2 usage, 3 internal error, 4 partial, 130 interrupted.
"""

from __future__ import annotations

import errno
import gc
import importlib
import keyword
import os
import signal
import sys

import click

from trustml.errors import TrustmlError, did_you_mean, printable

OK, FAILED, USAGE, INTERNAL, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 4, 130

_COMMANDS = {
    "init": "Look at a data file and write a scenario that works.",
    "import": "Carry a model over from PyTorch, with its weights, to all frameworks.",
    "run": "Run a scenario or a data file, or go on with a run.",
    "jobs": "List the runs that are executed now, and how far they are.",
    "attach": "Show the progress of a run that another process executes.",
    "cancel": "End runs that another process executes, as Ctrl-C would.",
    "list": "List the runs and the ready scenarios.",
    "query": "Ask all runs of a folder in SQL.",
    "note": "Write a note or tags on a run, or show them.",
    "rm": "Remove runs, or what is left of one that was never planned to its end.",
    "show": "Show how a run went and what it measured.",
    "compare": "Show regimes and frameworks, or several runs, side by side.",
    "recommend": "Say which framework a run favours for which need, and what it cannot tell.",
    "explain": "Show how the models of a run explain one example.",
    "ledger": "Show what a run was charged for privacy, and verify it.",
    "audit": "Audit a model, an endpoint or a run: what it leaks, and what of its claims holds.",
    "report": "Write what runs measured as HTML to be handed on.",
    "export-mlflow": "Send what a run measured to an MLflow server.",
    "export": "Write a trained model for deployment, and check that it still is that model.",
    "bundle": "Pack a run as evidence, signed if you like.",
    "verify": "Check a bundle or a run: every hash, every number.",
    "conformance": "Prove that private training is the mechanism it is said to be.",
    "study": "Run the scenarios of a study and answer its questions.",
    "bench": "Time trustml beside other libraries on this machine.",
    "schema": "Write the JSON schema of a scenario, with which editors complete TOML.",
    "dashboard": "Open the dashboard on 127.0.0.1.",
    "doctor": "Say what is installed, what is missing, and what fixes it.",
    "completion": "Print what lets a shell complete commands, runs, scenarios and fields.",
    "setup": "Make the environment of a backend.",
}


class _LazyGroup(click.Group):
    """Imports a command's module only when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name.replace("-", "_")
        command: click.Command = importlib.import_module(f"trustml.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = did_you_mean(args[0], _COMMANDS)
            ctx.fail(f"there is no command {printable(args[0])!r}; {near or '`trustml --help` lists them'}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"trustml {version('trustml')}")
        context.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."
)
def trustml() -> None:
    """What privacy, federation and the choice of framework cost, measured in PyTorch, TensorFlow and JAX.

    Begin with `trustml doctor`, then `trustml run digits`.
    """


_COLLECT_AFTER = 50_000
"""Objects that are made before Python looks for cycles: imports make hundreds of thousands that all stay."""


def main() -> None:
    """Run the command line and exit with its code."""
    gc.set_threshold(_COLLECT_AFTER)
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: list[str]) -> int:
    try:
        code = trustml.main(arguments, prog_name="trustml", standalone_mode=False)
        return code if isinstance(code, int) else OK
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return USAGE
    except TrustmlError as error:
        click.echo(f"Error: {error}", err=True)
        return USAGE
    except BrokenPipeError:
        return _unread()
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # click ends with 1, which is a failed check here
            return _unread()
        raise
    except OSError as error:
        if error.errno not in _FIXES or os.environ.get("TRUSTML_DEBUG"):
            return _internal(error)
        where = printable(str(error.filename or "a file"))
        click.echo(f"Error: {where}: {error.strerror}; {_FIXES[error.errno]}", err=True)
        return USAGE
    except Exception as error:
        return _internal(error)


def interrupted_by_signals() -> None:
    """End this process as Ctrl-C would when it is told to end, or when its terminal is gone.

    Also where SIGINT was ignored when we were started, as a shell does for what it puts into the background. A hang-up
    that is ignored stays so: `nohup` asked for that.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


_FIXES = {
    errno.ENOSPC: "free some space, or name a folder on another disk",
    errno.EDQUOT: "free some space, or name a folder on another disk",
    errno.EROFS: "name a folder that can be written",
    errno.EACCES: "name a folder that you may use",
    errno.EPERM: "name a folder that you may use",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ENOENT: "name what is there",
    errno.ENOTDIR: "name a folder",
    errno.EISDIR: "name a file",
}
"""What to do about what the system refuses; anything else is a mistake of ours."""


def _unread() -> int:
    """End quietly where nobody reads what is printed, as after `trustml show | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK


def _internal(error: Exception) -> int:
    if os.environ.get("TRUSTML_DEBUG"):
        raise error
    text = printable(f"{type(error).__name__}: {error}")
    click.echo(f"Internal error: {text}; set TRUSTML_DEBUG=1 for the traceback, and report it", err=True)
    return INTERNAL
