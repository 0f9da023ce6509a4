"""What programs of ExecuTorch hold: whether weights that XNNPACK was given are kept in 8 bits.

A program holds a graph of XNNPACK for each part that was lowered: a header, and behind it a table of flatbuffers whose
third field is the list of its values. That list is read here by hand, as ExecuTorch's own reader takes half a minute to
import and starts a process for it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import islice

_HEADER = re.compile(rb"\0\0\0\0XH00")
_FLATBUFFER_PLACE = 10
"""In a header: where the place of its graph is given, which is counted from the header."""
_VALUES, _UNION_KIND, _UNION, _TENSOR, _DATATYPE, _CONSTANT = 2, 0, 1, 0, 0, 3
_QUANTISED = 2
_EIGHT_BITS = frozenset({3, 4, 6})
"""Signed, unsigned, and signed by channel; biases of rounded layers have 32 bits."""


def holds_eight_bits(content: bytes) -> bool:
    """Whether a program keeps weights in 8 bits, by its own numbers and not by what it says of itself.

    Of a damaged graph nothing is known, and its runtime refuses it. Graphs of a stranger may share one list, so all
    values together are no more than fit into the file: the time grows with its length alone.
    """
    return any(_is_rounded(content, value) for value in islice(_values(content), len(content) // 4))


def _values(content: bytes) -> Iterator[int]:
    """Places of the values of all graphs, each of which is looked at once."""
    seen: set[int] = set()
    for found in _HEADER.finditer(content):
        try:
            (place,) = struct.unpack_from("<I", content, found.start() + _FLATBUFFER_PLACE)
            graph = _follow(content, found.start() + place)
            if graph not in seen:
                seen.add(graph)
                yield from _listed(content, _field(content, graph, _VALUES))
        except struct.error:
            continue


def _is_rounded(content: bytes, value: int) -> bool:
    try:
        return _has_eight_bits(content, value)
    except (struct.error, IndexError):
        return False


def _has_eight_bits(content: bytes, value: int) -> bool:
    kind, union = _field(content, value, _UNION_KIND), _field(content, value, _UNION)
    if not kind or not union or content[kind] != _QUANTISED:
        return False
    tensor = _follow(content, _field(content, _follow(content, union), _TENSOR))
    datatype, constant = _field(content, tensor, _DATATYPE), _field(content, tensor, _CONSTANT)
    if not datatype or not constant:
        return False
    (said,) = struct.unpack_from("<h", content, datatype)
    return said in _EIGHT_BITS and struct.unpack_from("<I", content, constant) > (0,)


def _listed(content: bytes, place: int) -> Iterator[int]:
    """Places of the tables of a list; none where there is no list."""
    if not place:
        return
    start = _follow(content, place)
    (count,) = struct.unpack_from("<I", content, start)
    for number in range(count):
        yield _follow(content, start + 4 + 4 * number)


def _field(content: bytes, table: int, number: int) -> int:
    """Place of a field of a table; 0 where it has its default."""
    (back,) = struct.unpack_from("<i", content, table)
    index = table - back
    (size,) = struct.unpack_from("<H", content, index)
    if 4 + 2 * number >= size:
        return 0
    (offset,) = struct.unpack_from("<H", content, index + 4 + 2 * number)
    return table + offset if offset else 0


def _follow(content: bytes, place: int) -> int:
    return place + int(struct.unpack_from("<I", content, place)[0])
