"""Every error that trustml raises on purpose.

::

    TrustmlError
    ├── UsageError             what the user asked for cannot work (exit code 2)
    │   ├── ScenarioError      a field of a scenario
    │   ├── DataError          a data file or what is in it
    │   └── RunNotFoundError   no run directory there
    ├── EnvironmentMissingError  a backend's environment is not installed
    ├── RecordError            a run directory that cannot be trusted or read
    └── PrivacyError           going on would break a privacy promise

A message is one line: the field, the value, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable


def printable(text: str) -> str:
    """Write control characters out, such as those that would move or colour what a terminal shows."""
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Give ``did you mean X?`` where one of the choices is near, else nothing."""
    import difflib

    near = difflib.get_close_matches(name, list(choices), n=1)
    return f"did you mean {printable(near[0])}?" if near else ""


class TrustmlError(Exception):
    """Anything trustml raises on purpose.

    Parameters
    ----------
    message : str
        It may quote a file of anybody's, such as the names of its columns: line feeds and what steers a terminal are
        written out.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class UsageError(TrustmlError):
    """The request cannot work as it stands."""


class ScenarioError(UsageError):
    """A field of a scenario is unknown, of the wrong type or impossible.

    Parameters
    ----------
    field : str
        Path of the field, such as ``training.1.epsilon``.
    problem : str
        The value and what is wrong with it.
    fix : str
        What to write instead.
    """

    def __init__(self, field: str, problem: str, *, fix: str) -> None:
        self.field, self.problem, self.fix = field, problem, fix
        super().__init__(f"{field}: {problem}; {fix}")


class DataError(UsageError):
    """A data file is missing, broken, or holds something unexpected."""


class RunNotFoundError(UsageError):
    """There is no run directory at the place given."""


class EnvironmentMissingError(TrustmlError):
    """A backend's environment is not installed; the message names the command that makes it."""


class RecordError(TrustmlError):
    """A run directory is damaged or was written by another version."""


class PrivacyError(TrustmlError):
    """Going on would break a privacy promise."""


def refuse_no_text(text: str, *, field: str) -> None:
    """Refuse what a command line gives of bytes that are no UTF-8: no file of ours and no other program takes it.

    Raises
    ------
    UsageError
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{field}: {text[:80]!r} holds bytes that are no UTF-8; write it anew") from None
