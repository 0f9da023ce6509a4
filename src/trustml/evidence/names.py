"""Names that files of a bundle may have, so that every system unpacks the same files, and none outside the folder."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

LONGEST_NAME = 500
_LONGEST_PART = 200
_NOT_ALLOWED = set('\\:*?"<>|')
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def why_not_a_name(name: str) -> str:
    """Tell why a bundle may not hold a file of this name; empty where it may.

    Refused: what leaves the folder (``..``, absolute, drive letters), what only some systems can write
    (backslashes, control characters, device names, trailing dots, very long names), and ``private/``.
    """
    parts = name.split("/")
    if not name or name.startswith("/"):
        return "is absolute" if name else "is empty"
    if len(name.encode(errors="surrogatepass")) > LONGEST_NAME or any(len(part) > _LONGEST_PART for part in parts):
        return "is too long"
    if any(character in _NOT_ALLOWED or not character.isprintable() for character in name):
        return "has a character that file names may not have"
    if ".." in parts:
        return "leaves the folder by '..'"
    if "" in parts or "." in parts:
        return "has an empty part"
    if any(part.endswith((".", " ")) or part.startswith(" ") for part in parts):
        return "has a part that begins or ends with a space, or ends with a dot"
    if any(part.split(".")[0].casefold() in _DEVICES for part in parts):
        return "is the name of a device"
    if parts[0].casefold() == "private":
        return "is private: no bundle may hold it"
    return ""


def clashes(names: Iterable[str]) -> str:
    """Tell which names are one and the same file on some system, or a file and a folder at once; empty if none."""
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            return f"{seen[key]!r} and {name!r} are one file" if seen[key] != name else f"{name!r} is there twice"
        seen[key] = name
    for key, name in seen.items():
        place = key.rfind("/")
        while place > 0:
            if key[:place] in seen:
                return f"{seen[key[:place]]!r} is a file and the folder of {name!r}"
            place = key.rfind("/", 0, place)
    return ""
