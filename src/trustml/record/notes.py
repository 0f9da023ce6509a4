"""What people write of a run afterwards: notes and tags.

They lie below ``private/``, beside what was signed and not in it: a note may tell of what only ``private/`` shows, and
so is in no bundle and no report.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Collection

import msgspec

from trustml.errors import RecordError, UsageError, refuse_no_text
from trustml.record.files import UNREADABLE, plain_bytes, write_atomic
from trustml.record.store import RunDirectory, held

NOTES = "private/notes.json"
_LOCK = "private/.notes.lock"
_LONGEST, _MOST = 2000, 200
_TAG = re.compile(r"[\w.:+-]{1,40}")


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One note.

    Attributes
    ----------
    text : str
    written : str
        UTC, ISO 8601.
    """

    text: str
    written: str = ""


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """All that people wrote of a run.

    Attributes
    ----------
    tags : tuple of str
    notes : tuple of Note
        Oldest first.
    """

    tags: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


def read_notes(run: RunDirectory) -> Notes:
    """Read what was written of a run; nothing where nothing was, or ``private/`` is not at hand.

    Raises
    ------
    RecordError
        If the file cannot be read.
    """
    path = run.file(NOTES)
    try:
        return msgspec.json.decode(plain_bytes(path), type=Notes)
    except FileNotFoundError:
        return Notes()
    except UNREADABLE as error:
        raise RecordError(f"{path}: cannot be read ({error}); delete it, and what was noted is lost") from None


def tags_of(run: RunDirectory) -> tuple[str, ...]:
    """Tags of a run in a list; none where they cannot be read."""
    if not os.path.lexists(f"{run.folder}/{NOTES}"):  # of thousands hardly any has some, and a look is all they cost
        return ()
    try:
        return read_notes(run).tags
    except RecordError:
        return ()


def write_note(run: RunDirectory, *, text: str = "", add: Collection[str] = (), remove: Collection[str] = ()) -> Notes:
    """Add a note and tags to a run, and take tags away; nothing else of the run changes.

    Parameters
    ----------
    run : RunDirectory
    text : str
        Of the note; none where it is empty.
    add, remove : collection of str
        Tags: letters, digits and ``_ . : + -``.

    Raises
    ------
    UsageError
        If a text or a tag may not be written so, or a tag to be removed is not there; if another process is writing
        for seconds.
    RecordError
        If what is there cannot be read.
    """
    for tag in add:
        if not _TAG.fullmatch(tag):
            raise UsageError(f"tag {tag!r}: takes 1 to 40 letters, digits and _ . : + -; write it so")
    refuse_no_text(text, field="note")
    if len(text) > _LONGEST:
        raise UsageError(f"note: has {len(text)} characters, and {_LONGEST} are kept; write several")
    run.file(NOTES).parent.mkdir(mode=0o700, exist_ok=True)
    with held(run.file(_LOCK), what=f"{run.path.name}: another process is writing notes"):
        return _write(run, text=text, add=add, remove=remove)


def _write(run: RunDirectory, *, text: str, add: Collection[str], remove: Collection[str]) -> Notes:
    """Read, change and write while nobody else does."""
    before = read_notes(run)
    for tag in remove:
        if tag not in before.tags:
            raise UsageError(f"tag {tag!r}: is not on {run.path.name}; there are {', '.join(before.tags) or 'none'}")
    if text and len(before.notes) >= _MOST:
        raise UsageError(f"{run.path.name}: has {_MOST} notes, and more are not kept; delete {NOTES} of the run")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    found = Notes(
        tags=tuple(tag for tag in dict.fromkeys((*before.tags, *add)) if tag not in remove),
        notes=(*before.notes, *([Note(text=text, written=now)] if text else [])),
    )
    if found != before:
        write_atomic(run.file(NOTES), msgspec.json.format(msgspec.json.encode(found)) + b"\n", private=True)
    return found
