"""The user's own index of a folder of runs: what a list says of them, so that no list opens thousands of records.

It is a DuckDB file in the user's folder for caches, never in the folder of runs: a database that came with somebody's
runs would be read by code that trusts it. It can be deleted at any time and is made again. An entry holds for as long
as the record's file is the same one, by inode, size, time of writing and time of any change. Whoever finds entries that
are behind reads those records, and writes them into the index where nobody else has it open: no answer depends on that.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trustml.errors import RecordError, RunNotFoundError, UsageError
from trustml.record.heads import ManifestHead
from trustml.record.store import MANIFEST, RunDirectory, list_runs

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

FEWEST = 500
"""Runs below which their records are read as quickly as an index."""
_LAYOUT = 1
_PATIENCE = 0.5  # seconds for a lock, where records can be read instead
_MOST_MEMORY, _MOST_SPILT = "2GiB", "8GiB"
_CLOSED = {
    "enable_external_access": False,  # no file, no network, no other database
    "python_enable_replacements": False,  # a name in a query is never a variable of this program
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "memory_limit": _MOST_MEMORY,
    "max_temp_directory_size": _MOST_SPILT,
    "lock_configuration": True,
}
_OF_PROCESS = secrets.token_hex(4)  # processes of two containers may have one number
_TRIES = 3
_INTERRUPTED = ("Query interrupted",)  # so DuckDB tells of Ctrl-C, by no type of its own
HEADS = "heads"


class IndexUnavailableError(UsageError):
    """There is no index to be had now: another process writes it, it cannot be written, or DuckDB is not installed."""


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """A run in a list.

    Parameters
    ----------
    directory : RunDirectory
    head : ManifestHead, optional
        None where the record cannot be read.
    problem : str
        Why it cannot be read.
    """

    directory: RunDirectory
    head: ManifestHead | None
    problem: str = ""


def listed_runs(root: Path) -> list[ListedRun]:
    """All runs below `root` with the head of their record, oldest name first; by the index where there are many."""
    runs = list_runs(root)
    if len(runs) >= FEWEST and is_installed():
        with suppress(IndexUnavailableError):
            return _by_index(root, runs)
    return [one for run in runs if (one := _read(run)) is not None]


def is_installed() -> bool:
    """Whether DuckDB is installed; it is not imported."""
    return importlib.util.find_spec("duckdb") is not None


def index_file(root: Path) -> Path:
    """Where the index of a folder of runs lies: below ``TRUSTML_INDEX``, or the system's place for caches."""
    import platformdirs

    folder = os.environ.get("TRUSTML_INDEX") or os.path.join(platformdirs.user_cache_dir("trustml"), "index")
    return Path(folder) / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]}.duckdb"


def run_name(run: RunDirectory, *, place: str) -> str:
    """What a run is called in the index of the folder `place`: its name, or its path where that has a link to it."""
    head, _, name = run.folder.rpartition("/")
    return name if head == place else run.folder


def signature(*paths: str | Path) -> str:
    """Which files these are, and when each was written last; a file that is not there counts as such."""
    return " ".join(_facts(path) for path in paths)


def _facts(path: str | Path) -> str:
    try:
        facts = os.stat(path)
    except OSError:
        return "-"
    return f"{facts.st_ino}:{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns}"  # the last cannot be put back


def _read(run: RunDirectory) -> ListedRun | None:
    try:
        return ListedRun(directory=run, head=run.head())
    except RunNotFoundError:  # removed since it was seen
        return None
    except RecordError as error:
        return ListedRun(directory=run, head=None, problem=str(error))


def _by_index(root: Path, runs: Sequence[RunDirectory]) -> list[ListedRun]:
    file = index_file(root)
    place = str(root.resolve())
    known = _known_heads(file)
    listed, behind = [], []
    for run in runs:
        name = run_name(run, place=place)
        now = signature(f"{run.folder}/{MANIFEST}")
        entry = known.pop(name, None)
        if entry is not None and entry[0] == now and (head := _decoded(entry[1])) is not None:
            listed.append(ListedRun(directory=run, head=head))
        elif (read := _read(run)) is not None:
            listed.append(read)
            if read.head is not None:
                behind.append((name, now, msgspec.json.encode(read.head).decode()))
    if behind or known:
        with suppress(IndexUnavailableError), opened(file, write=True) as connection:
            replace_rows(connection, HEADS, text_table(("run", "signature", "head"), behind), gone=list(known))
    return listed


def _known_heads(file: Path) -> dict[str, tuple[str, str]]:
    with opened(file, write=False) as connection:
        if connection is None or not has_table(connection, HEADS):
            return {}
        return {name: (known, head) for name, known, head in connection.execute(f"FROM kept.{HEADS}").fetchall()}


def _decoded(head: str) -> ManifestHead | None:
    try:
        return msgspec.json.decode(head, type=ManifestHead)
    except msgspec.MsgspecError:
        return None


def text_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> pa.Table:
    """Give rows of text as an Arrow table."""
    import pyarrow as pa

    return pa.table({name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(names)})


def has_table(connection: duckdb.DuckDBPyConnection, name: str, *, schema: str = "kept") -> bool:
    """Whether the index has this table already."""
    found = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?", [schema, name]
    ).fetchone()
    return bool(found and found[0])


def replace_rows(
    connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table, *, gone: Sequence[str], schema: str = "kept"
) -> None:
    """Put the rows of some runs into the place of those that were there, and take out those of runs that are gone."""
    connection.register("incoming", rows)
    connection.execute(f"CREATE TABLE IF NOT EXISTS {schema}.{name} AS SELECT * FROM incoming LIMIT 0")
    connection.execute(
        f"DELETE FROM {schema}.{name} WHERE run IN (SELECT run FROM incoming) OR run IN (SELECT unnest(?::VARCHAR[]))",
        [list(gone)],
    )
    connection.execute(f"INSERT INTO {schema}.{name} SELECT * FROM incoming")
    connection.unregister("incoming")


@contextmanager
def opened(file: Path, *, write: bool, patience: float = _PATIENCE) -> Iterator[Any]:
    """Open the index while no other process writes it, or alone in order to write, in one transaction.

    Yields
    ------
    DuckDBPyConnection or None
        None where it is only read and there is none, or none that can be read.

    Raises
    ------
    IndexUnavailableError
    """
    try:
        import duckdb
    except ImportError:
        raise IndexUnavailableError("DuckDB is not installed; pip install 'trustml[index]'") from None
    with locked(file.with_suffix(".lock"), alone=write, patience=patience), _spilling(file) as spilt:
        connection = _connected(file, write=write, spilt=spilt)
        try:
            if write:
                connection.execute("BEGIN")
            yield connection
            if write:
                connection.execute("COMMIT")
        except duckdb.Error as error:  # damaged, or the disk is full: it is made anew
            remove(file)
            raise IndexUnavailableError(f"{file}: {str(error).splitlines()[0]}; it is made anew next time") from None
        except RuntimeError as error:
            if error.args == _INTERRUPTED:
                raise KeyboardInterrupt from None
            raise
        finally:
            if connection is not None:
                connection.close()


@contextmanager
def _spilling(file: Path) -> Iterator[Path]:
    """Give this process's folder for what a query has no memory for; those of processes that were killed are removed.

    One for the process: DuckDB opens a file a second time only as it did the first time.
    """
    shutil.rmtree(file.with_name(f"{file.name}.tmp"), ignore_errors=True)  # where DuckDB puts it unasked
    mark = f"{file.stem}.spilt."
    for left in file.parent.glob(f"{mark}*"):
        _remove_unheld(left)
    folder = file.with_name(f"{mark}{os.getpid()}-{_OF_PROCESS}")
    with ExitStack() as held:
        for _ in range(_TRIES):  # another thread may be removing it
            with suppress(OSError):
                folder.mkdir(mode=0o700, exist_ok=True)
                held.enter_context(_held(folder, alone=False))
                break
        try:
            yield folder
        finally:
            held.close()
            _remove_unheld(folder)


def _remove_unheld(folder: Path) -> None:
    with suppress(OSError), _held(folder, alone=True):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold a folder's own lock, as its users do for as long as they live.

    Raises
    ------
    OSError
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _connected(file: Path, *, write: bool, spilt: Path) -> Any:
    import duckdb

    config = {**_CLOSED, "temp_directory": str(spilt)}
    if not write and not file.exists():
        return None
    try:
        connection = duckdb.connect(str(file), read_only=not write, config=config)
        if _is_current(connection):
            return connection
        connection.close()
    except duckdb.Error:  # broken, or another version's
        if not write:
            return None
    if not write:
        return None
    remove(file)
    try:
        connection = duckdb.connect(str(file), config=config)
        connection.execute("CREATE SCHEMA kept")
        connection.execute("CREATE TABLE kept.about AS SELECT ?::VARCHAR AS made_by", [_maker()])
    except duckdb.Error as error:
        raise IndexUnavailableError(f"{file}: cannot be written ({error}); see to that folder") from None
    return connection


def _is_current(connection: duckdb.DuckDBPyConnection) -> bool:
    return has_table(connection, "about") and connection.execute("FROM kept.about").fetchall() == [(_maker(),)]


def _maker() -> str:
    return f"layout {_LAYOUT} of trustml {version('trustml')}"


def remove(file: Path) -> None:
    """Delete an index: it is made again when it is needed.

    Raises
    ------
    IndexUnavailableError
    """
    for one in (file, file.with_name(file.name + ".wal")):
        try:
            one.unlink(missing_ok=True)
        except OSError as error:
            raise IndexUnavailableError(f"{one}: cannot be deleted ({error.strerror}); see to that") from None


@contextmanager
def locked(lock: Path, *, alone: bool, patience: float) -> Iterator[None]:
    """Hold a lock beside the index, which its readers and writers take: DuckDB's own lock refuses, and never waits.

    Raises
    ------
    IndexUnavailableError
    """
    try:
        make_own(lock.parent)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise IndexUnavailableError(f"{lock.parent}: cannot be used ({error.strerror}); set TRUSTML_INDEX") from None
    try:
        until = time.monotonic() + patience
        while not _is_taken(handle, lock, alone=alone):
            if time.monotonic() > until:
                raise IndexUnavailableError(f"{lock}: another process holds it; wait for that")
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _is_taken(handle: int, lock: Path, *, alone: bool) -> bool:
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise IndexUnavailableError(f"{lock}: cannot be locked ({error.strerror}); set TRUSTML_INDEX") from None
    return True


def make_own(folder: Path) -> None:
    """Make a folder for what is believed later: of this user, and such that nobody else can write there.

    Raises
    ------
    IndexUnavailableError, OSError
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise IndexUnavailableError(f"{folder}: others can write there; set TRUSTML_INDEX to a folder of your own")
