"""``trustml note``."""

from __future__ import annotations

from pathlib import Path

import click

from trustml.cli.completing import complete_runs
from trustml.cli.output import console, data_stream, json_option, json_text, root_option


@click.command("note", short_help="Write a note or tags on a run, or show them.")
@click.argument("run", shell_complete=complete_runs)
@click.argument("text", default="")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Add this tag; may be repeated.")
@click.option("--untag", "removed", multiple=True, metavar="TAG", help="Take this tag away; may be repeated.")
@root_option
@json_option
def command(run: str, text: str, tags: tuple[str, ...], removed: tuple[str, ...], root: Path, as_json: bool) -> None:
    """Add TEXT and tags to RUN, and show what is noted of it.

    Notes lie in private/ of the run: the record that is signed stays as it was made, and no bundle and no report has
    them. `trustml list --tag TAG` finds the runs.
    """
    from trustml.record.notes import read_notes, write_note
    from trustml.record.store import find_run

    directory = find_run(run, root=root)
    asked = bool(text.strip() or tags or removed)
    notes = write_note(directory, text=text.strip(), add=tags, remove=removed) if asked else read_notes(directory)
    with data_stream(None) as stream:
        if as_json:
            stream.write(json_text({"run": directory.path.name, "tags": notes.tags, "notes": notes.notes}) + "\n")
            return
        out = console(stream)
        out.print(f"{directory.path.name}: {', '.join(notes.tags) or 'no tags'}", soft_wrap=True, markup=False)
        for note in notes.notes:
            out.print(f"{note.written}  {note.text}", soft_wrap=True, markup=False)
