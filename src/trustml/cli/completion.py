"""``trustml completion``."""

from __future__ import annotations

import os
from pathlib import Path

import click

_SHELLS = ("bash", "zsh", "fish")
_HELP = """Print the script with which SHELL (else the one of $SHELL) completes what is typed after `trustml`.

\b
bash: echo 'eval "$(trustml completion bash)"' >> ~/.bashrc
zsh:  echo 'eval "$(trustml completion zsh)"' >> ~/.zshrc
fish: trustml completion fish > ~/.config/fish/completions/trustml.fish

Then open another shell. Commands, options, identifiers of runs, ready scenarios and the fields of --set and --grid are
completed.
"""


@click.command(
    "completion", help=_HELP, short_help="Print what lets a shell complete commands, runs, scenarios and fields."
)
@click.argument("shell", required=False, type=click.Choice(_SHELLS))
def command(shell: str | None) -> None:
    """Print a shell's script; the help above says how it is used."""
    from click.shell_completion import get_completion_class

    from trustml.cli.main import trustml
    from trustml.errors import UsageError

    name = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name) if name in _SHELLS else None
    if kind is None:
        raise UsageError(f"{name or '$SHELL'}: is no shell that can be completed in; name one of {', '.join(_SHELLS)}")
    try:
        click.echo(kind(trustml, {}, "trustml", "_TRUSTML_COMPLETE").source())
    except RuntimeError as error:
        raise UsageError(f"{name}: {str(error).rstrip('.')}; use another shell") from None
