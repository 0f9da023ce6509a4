"""Run directories that broke off before they had a manifest, and how any is removed with all that is in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from trustml.errors import RecordError, RunNotFoundError, UsageError
from trustml.record.store import MANIFEST, RunDirectory, create_run, is_run_name


@contextmanager
def planned_run(root: Path, *, name: str) -> Iterator[RunDirectory]:
    """Make a run directory and hold its lock while it is filled; it is gone if that fails, as nothing has run in it."""
    run = create_run(root, name=name)
    try:
        with run.lock():
            yield run
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise


def unplanned_runs(root: Path, *, planned: Collection[str] = ()) -> list[RunDirectory]:
    """Folders below `root` that were made for runs and have no manifest: being planned, or interrupted in that.

    Names of those `planned` are known to have one: of thousands none is looked at again.
    """
    if not root.is_dir():
        return []
    with os.scandir(root.resolve()) as entries:
        others = (one for one in entries if one.name not in planned)
        found = [one.path for one in others if _is_unplanned(one.path) and one.is_dir(follow_symlinks=False)]
    return [RunDirectory(path) for path in sorted(found)]


def _is_unplanned(path: str | Path) -> bool:
    return is_run_name(os.path.basename(path)) and not os.path.lexists(f"{path}/{MANIFEST}")


def removable_run(name: str, *, root: Path) -> RunDirectory:
    """Find what `name` says in full, as an identifier or a path, directly below `root`.

    Raises
    ------
    RunNotFoundError
        If there is nothing of that name.
    UsageError
        If it lies elsewhere, is a link, or is no run.
    """
    place, path = root.resolve(), Path(os.path.abspath(root / name))
    if not os.path.lexists(path):
        path = Path(os.path.abspath(name))
    if not name or not os.path.lexists(path):
        raise RunNotFoundError(f"{name}: no run of that name in {root}; write it in full, as `trustml list` shows it")
    if path.parent.resolve() != place:
        raise UsageError(f"{name}: is not in the folder of runs {root}; name that folder with --runs")
    if path.is_symlink():
        raise UsageError(f"{name}: is a link, which is not followed; remove the link itself, or name the run")
    if not _is_run(path) and not _is_unplanned(path):
        raise UsageError(f"{name}: is no run; `trustml list` shows the runs")
    return RunDirectory(path)


def _is_run(path: Path) -> bool:
    """Whether a folder has a manifest and the name or the content of one of ours: others have such files too."""
    if not (path / MANIFEST).is_file():
        return False
    if is_run_name(path.name):
        return True
    try:
        return bool(RunDirectory(path).head().run)
    except RecordError:
        return False


def remove_run(run: RunDirectory) -> None:
    """Delete a run directory, links in it and not what they point to; never one that some process executes.

    Raises
    ------
    UsageError
        If a process executes it, or what is in it cannot be deleted.
    """
    with run.lock():
        try:
            shutil.rmtree(run.path)
        except OSError as error:
            raise UsageError(
                f"{error.filename or run.path}: cannot be deleted ({error.strerror}); see to that"
            ) from None
