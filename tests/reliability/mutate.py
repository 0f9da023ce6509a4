"""Changed files: bytes, and structure where a change of bytes would only break a check sum or a syntax."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any, TypeAlias

Mutator: TypeAlias = Callable[[random.Random, bytes], bytes]

MARKUP = "<script>trustml91()</script>"
ESCAPE = "\x1b]0;trustml91\x07\x1b[31m"
STRANGE = (
    MARKUP, f"[x](javascript:{MARKUP})", ESCAPE, "../../../trustml91", "/trustml91", "\0", "\n\n# trustml91\r", "=1+1",
    "{{ 7*7 }}", "[red]trustml91[/red]", "x" * 5000, "", "\u202etrustml91", "nan", "a/../../b", "\ud800",
)  # fmt: skip
"""Texts that some reader could take for more than text."""
NUMBERS = (0, -1, 1, 2**31, 2**63, 10**30, 1e308, -1e308, float("nan"), float("inf"), 0.5)
_EDGES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xff\xff\xff\x7f", b"\n", b"\0" * 8)


def of_bytes(generator: random.Random, content: bytes) -> bytes:
    """Change, add, drop, move or repeat bytes, one to six times."""
    changed = bytearray(content)
    for _ in range(generator.choice((1, 1, 1, 2, 3, 6))):
        size = len(changed)
        place, other = generator.randrange(size + 1), generator.randrange(size + 1)
        match generator.choice(("flip", "flip", "edge", "edge", "cut", "drop", "repeat", "insert", "move")):
            case "flip" if place < size:
                changed[place] ^= 1 << generator.randrange(8)
            case "edge":
                edge = generator.choice(_EDGES)
                changed[place : place + len(edge)] = edge
            case "cut":
                del changed[place:]
            case "drop":
                del changed[place : place + generator.choice((1, 4, 64))]
            case "repeat":
                piece = changed[place : place + generator.choice((1, 8, 64))]
                changed[place:place] = piece * generator.choice((1, 2, 50))
            case "insert":
                changed[place:place] = generator.choice(STRANGE).encode("utf-8", errors="surrogatepass")
            case "move":
                changed[place : place + 16] = changed[other : other + 16]
    return bytes(changed)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places in plain data."""
    found = []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((*path, key))
        if isinstance(inner, dict | list):
            found += places(inner, (*path, key))
    return found


def changed_value(generator: random.Random, value: Any) -> Any:
    """Change one to three places in plain data: other values and types, strange texts, gone, nested, renamed."""
    value = json.loads(json.dumps(value))
    for _ in range(generator.choice((1, 1, 2, 3))):
        if not isinstance(value, dict | list) or not (known := places(value)):
            return generator.choice((None, [], {}, "x", 1))
        *path, key = generator.choice(known)
        holder = value
        for name in path:
            holder = holder[name]
        old = holder[key]
        match generator.choice(("gone", "number", "strange", "type", "nested", "renamed", "twice")):
            case "gone":
                del holder[key]
            case "number":
                holder[key] = generator.choice(NUMBERS)
            case "strange":
                holder[key] = generator.choice(STRANGE)
            case "type":
                holder[key] = generator.choice((None, [], {}, "x", True, [[]], [old], {"a": old}))
            case "nested":
                deep: Any = old
                for _ in range(generator.choice((3, 200))):
                    deep = [deep]
                holder[key] = deep
            case "renamed" if isinstance(holder, dict):
                holder[generator.choice(STRANGE)] = holder.pop(key)
            case "twice" if isinstance(holder, list):
                holder.extend([old] * generator.choice((1, 40)))
    return value


def of_json(generator: random.Random, content: bytes) -> bytes:
    """Change values of a JSON document, or its bytes."""
    if generator.random() < 0.3:
        return of_bytes(generator, content)
    try:
        return json.dumps(changed_value(generator, json.loads(content))).encode("utf-8", errors="surrogatepass")
    except ValueError:
        return of_bytes(generator, content)


def of_lines(generator: random.Random, content: bytes) -> bytes:
    """Change one line of JSON, or lose, move or repeat lines."""
    lines = content.splitlines(keepends=True)
    if not lines or generator.random() < 0.2:
        return of_bytes(generator, content)
    place, other = generator.randrange(len(lines)), generator.randrange(len(lines))
    match generator.choice(("value", "value", "gone", "moved", "twice")):
        case "value":
            lines[place] = of_json(generator, lines[place].rstrip(b"\n")) + b"\n"
        case "gone":
            del lines[place]
        case "moved":
            lines[place], lines[other] = lines[other], lines[place]
        case "twice":
            lines.insert(other, lines[place])
    return b"".join(lines)


def of_text(generator: random.Random, content: bytes) -> bytes:
    """Change cells or words of a text, or its bytes."""
    if generator.random() < 0.4:
        return of_bytes(generator, content)
    text = content.decode("utf-8", errors="replace")
    cuts = [place for place, letter in enumerate(text) if letter in ',\n:= \t"']
    if not cuts:
        return of_bytes(generator, content)
    begin = generator.choice(cuts) + 1
    end = next((place for place in cuts if place >= begin), len(text))
    new = generator.choice((*STRANGE, *map(str, NUMBERS), '"', ",", "é" * 40, "[", "'''"))
    return (text[:begin] + new + text[end:]).encode("utf-8", errors="surrogatepass")


def in_zip(inner: Mutator) -> Mutator:
    """Change a member of an archive and pack it anew, so that its check sum holds; or names, or the archive's bytes."""

    def changed(generator: random.Random, content: bytes) -> bytes:
        if generator.random() < 0.35:
            return of_bytes(generator, content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info.filename, archive.read(info), info.compress_type) for info in archive.infolist()]
        place = generator.randrange(len(members))
        name, held, kind = members[place]
        match generator.choice(("content", "content", "content", "name", "gone", "twice", "bomb", "link")):
            case "content":
                members[place] = (name, inner(generator, held), kind)
            case "name":
                members[place] = (generator.choice(STRANGE).replace("\ud800", "x") or "x", held, kind)
            case "gone":
                del members[place]
            case "twice":
                members.append(members[place])
            case "bomb":
                members[place] = (name, bytes(generator.choice((1 << 20, 1 << 24))), zipfile.ZIP_DEFLATED)
            case "link":
                members.append(("link", b"/etc/passwd", kind))
        return _packed(members, linked=generator.random() < 0.2)

    return changed


def _packed(members: list[tuple[str, bytes, int]], *, linked: bool) -> bytes:
    import warnings

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a name is there twice
        for name, held, kind in members:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = kind
            if linked and name == members[-1][0]:
                entry.create_system, entry.external_attr = 3, 0o120777 << 16
            archive.writestr(entry, held)
    return stream.getvalue()


def of_npy(generator: random.Random, content: bytes) -> bytes:
    """Change the header of an array, keeping its length, or its bytes."""
    if not content.startswith(b"\x93NUMPY") or generator.random() < 0.4:
        return of_bytes(generator, content)
    size = struct.unpack("<H", content[8:10])[0]
    header = content[10 : 10 + size].decode("latin-1")
    new = generator.choice((
        "(2,)", "()", "(-1,)", f"({2**40},)", f"({2**62}, 4)", "(0,)", "(0, 99999999999)", "'|O'", "'<f8'", "'|V0'",
        "'<U9'", "'<M8[s]'", "[('a', '<f4')]", "True",
    ))  # fmt: skip
    begin = generator.choice([place for place, letter in enumerate(header) if letter == ":"]) + 2
    end = header.find(", '", begin)
    changed = (header[:begin] + new + header[end if end > 0 else begin :]).rstrip()[: size - 1].ljust(size - 1) + "\n"
    return content[:10] + changed.encode("latin-1") + content[10 + size :]


def of_safetensors(generator: random.Random, content: bytes) -> bytes:
    """Change the header of weights, and its length with it, or the bytes of the file."""
    if generator.random() < 0.35:
        return of_bytes(generator, content)
    (size,) = struct.unpack("<Q", content[:8])
    header = of_json(generator, content[8 : 8 + size])
    return struct.pack("<Q", len(header)) + header + content[8 + size :]
