"""Writes a report: a folder of pages beside the scripts that draw, or one file with all of it."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import resources
from pathlib import Path, PurePath

import msgspec
from markupsafe import Markup
from msgspec.structs import replace

from trustml.compare.table import read_measures, read_statements
from trustml.errors import UsageError
from trustml.record.files import write_atomic
from trustml.record.schema import Manifest
from trustml.record.store import RunDirectory
from trustml.report.documents import templates
from trustml.report.site.content import Chart, Line, Page, ReleasedRun, RunShown, Table
from trustml.report.site.pages import pages_of

LARGEST_FILE = 16 << 20
"""Bytes of one file: beyond them browsers open it slowly, and mail refuses it."""
_VEGA = "vega.js"
_SCRIPTS = (_VEGA, "draw.js")
_KEPT = (*_SCRIPTS, "vega.licenses.txt", "site.css")


def shown_run(run: RunDirectory) -> RunShown:
    """Read what a report shows of a run: nothing of ``private/``, whether that is at hand or not.

    Raises
    ------
    RecordError
        If the run has not been measured, or cannot be read.
    """
    released = ReleasedRun(run.path)
    manifest = without_folders(released.manifest())
    return RunShown(
        directory=released,
        manifest=replace(manifest, status=released.shown_status(manifest.status)),
        table=read_measures(released),
        statements=tuple(read_statements(released)),
    )


def without_folders(manifest: Manifest) -> Manifest:
    """Name files of the scenario without their folders, wherever they are told: those may name whose they are."""
    paths = [PurePath(text) for text in _texts(manifest.scenario) if PurePath(text).is_absolute()]
    folders = {str(path.parent) for path in paths if path.parent != path.parent.parent}
    text = msgspec.json.encode(manifest).decode()
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(f"{msgspec.json.encode(folder).decode()[1:-1]}/", "")
    return msgspec.json.decode(text, type=Manifest)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def site_files(runs: Sequence[RunDirectory]) -> dict[str, bytes]:
    """Make the files of a report as a folder of pages, by their names; ``index.html`` is the first page.

    Parameters
    ----------
    runs : sequence of RunDirectory
    """
    pages = pages_of([shown_run(run) for run in runs])
    found = {f"{page.name}.html": _filled([page], pages, one_file=False).encode() for page in pages}
    return found | {name: _part(name).encode() for name in _KEPT}


def site_page(runs: Sequence[RunDirectory]) -> str:
    """Make the same report as one page, with scripts and styles inside it.

    Raises
    ------
    UsageError
        If it would be larger than `LARGEST_FILE`.
    """
    pages = pages_of([shown_run(run) for run in runs])
    text = _filled(pages, pages, one_file=True)
    if len(text.encode()) > LARGEST_FILE:
        size = f"{len(text.encode()) / 2**20:.0f} MiB"
        raise UsageError(f"report: one file would have {size}; write a folder of pages with --site DIR")
    return text


def write_site(runs: Sequence[RunDirectory], folder: Path) -> Path:
    """Write a report into a folder, which is new, empty or holds an earlier report; gives its first page.

    Raises
    ------
    UsageError
        If the folder holds anything else, or cannot be written.
    """
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if there and not {"index.html", *_KEPT} <= there:
        raise UsageError(f"{folder}: holds other files; name a new folder for the report")
    files = site_files(runs)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in there - set(files):
            if name.endswith(".html"):  # a page of an earlier report, of runs that had one more subject
                (folder / name).unlink()
        for name, content in files.items():
            write_atomic(folder / name, content)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); name another folder") from None
    return folder / "index.html"


@cache
def _part(name: str) -> str:
    folder = resources.files("trustml.report.site").joinpath("templates")
    if name == _VEGA:  # kept packed: nobody reads it, and whoever searches the source would find all of it in a line
        return gzip.decompress(folder.joinpath(f"{name}.gz").read_bytes()).decode()
    return folder.joinpath(name).read_text(encoding="utf-8")


def _filled(shown: Sequence[Page], pages: Sequence[Page], *, one_file: bool) -> str:
    scripts = [Markup(f"\n{_part(name)}\n") for name in _SCRIPTS] if one_file else []
    allowed = " ".join(f"'sha256-{_digest(text)}'" for text in scripts) if one_file else "'self' file:"
    environment = templates("site")
    environment.filters["json"] = _json
    environment.tests |= {"line": _is(Line), "table": _is(Table), "chart": _is(Chart)}
    return environment.get_template("page.html.j2").render(
        {
            "shown": shown,
            "pages": pages,
            "one_file": one_file,
            "allowed": Markup(allowed),
            "scripts": scripts,
            "names": _SCRIPTS,
            "style": Markup(_part("site.css")),
        }
    )


def _is(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kind)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: object) -> Markup:
    """Write data into a script element: no text in it can end the element."""
    text = msgspec.json.encode(value).decode()
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
