"""A scenario as the Python file that a person would write: what is not said is the default, and comments say why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trustml.errors import printable

_WIDTH = 88
_STEP = "    "
_ALWAYS = {
    "Plain": ("epochs", "batch_size"),
    "DPSGD": ("delta", "clipping_norm", "batch_size"),
    "FedAvg": ("rounds", "local_epochs", "batch_size"),
    "SGD": ("learning_rate",),
}
"""Fields that a reader looks for, whether or not they have their defaults."""


def expression(
    value: Any,
    *,
    path: str = "",
    comments: Mapping[str, str] | None = None,
    written: Mapping[str, str] | None = None,
    indent: str = "",
) -> str:
    """Write a value as a Python expression.

    Parameters
    ----------
    value : msgspec.Struct, tuple, dict, str, number or None
    path : str
        Of the value in the scenario, such as ``training.1``.
    comments : mapping of str to str
        Path to the comment above it.
    written : mapping of str to str
        Path to an expression that stands for what is there.
    indent : str
        Of the line that the expression begins in.
    """
    comments, written = comments or {}, written or {}
    if path in written:
        return written[path]
    parts = _parts(value)
    if parts is None:
        return _quoted(value) if isinstance(value, str) else repr(value)
    begin, end, inner = parts
    within = [(prefix, f"{path}.{key}" if path else key, part) for key, prefix, part in inner]
    commented = any(name == each or name.startswith(f"{each}.") for _, each, _ in within for name in comments)
    texts = [
        prefix + expression(part, path=each, comments=comments, written=written, indent=indent + _STEP)
        for prefix, each, part in within
    ]
    comma = "," if begin == "(" and len(texts) == 1 else ""
    line = f"{begin}{', '.join(texts)}{comma}{end}"
    if not commented and "\n" not in line and len(indent) + len(line) + 24 <= _WIDTH:
        return line
    lines = [begin]
    for (_, each, _), text in zip(within, texts, strict=True):
        lines.extend(f"{indent}{_STEP}# {one}" for one in wrapped(comments.get(each, ""), _WIDTH - len(indent) - 8))
        lines.append(f"{indent}{_STEP}{text},")
    return "\n".join([*lines, f"{indent}{end}"])


def _parts(value: Any) -> tuple[str, str, list[tuple[str, str, Any]]] | None:
    """Give brackets, and for each part its key, what stands before it, and itself; None for what has no parts."""
    match value:
        case msgspec.Struct():
            defaults = {field.name: field for field in msgspec.structs.fields(value)}
            always = _ALWAYS.get(type(value).__name__, ())
            said = [
                name for name, field in defaults.items() if name in always or getattr(value, name) != _default(field)
            ]
            return f"{type(value).__name__}(", ")", [(name, f"{name}=", getattr(value, name)) for name in said]
        case tuple():
            return "(", ")", [(str(number), "", part) for number, part in enumerate(value)]
        case dict():
            return "{", "}", [(str(key), f"{_quoted(str(key))}: ", part) for key, part in value.items()]
    return None


def _quoted(text: str) -> str:
    """Write text in double quotes where that needs no escape."""
    plain = repr(text)
    return f'"{plain[1:-1]}"' if plain[0] == "'" and '"' not in plain else plain


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def names_in(value: Any) -> set[str]:
    """Names of the classes that an expression of the value mentions."""
    found = {type(value).__name__} if isinstance(value, msgspec.Struct) else set()
    for _, _, part in (_parts(value) or ("", "", []))[2]:
        found |= names_in(part)
    return found


def wrapped(text: str, width: int) -> list[str]:
    """Cut a text into lines; what does not print is written out, as names of anybody's may be in it."""
    import textwrap

    return textwrap.wrap(printable(text), width)


def docstring(text: str, width: int) -> str:
    """Write a text as the docstring of a module, whatever it quotes."""
    lines = "\n".join(wrapped(text, width)).replace("\\", "\\\\").replace('"', '\\"')
    return f'"""{lines}\n"""'
