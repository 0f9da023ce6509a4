"""Writing what people read to where they want it."""

from __future__ import annotations

from pathlib import Path

from trustml.errors import UsageError


def write_document(path: Path | str, text: str, *, what: str) -> Path:
    """Write a text and give its path.

    Raises
    ------
    UsageError
        If the file cannot be written; `what` names it there.
    """
    target = Path(path)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{what}: {target} cannot be written ({error.strerror}); choose another place") from None
    return target
