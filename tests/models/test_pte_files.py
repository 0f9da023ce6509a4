"""Whether a program of ExecuTorch keeps weights in 8 bits: by its own numbers, of which none is believed."""

from __future__ import annotations

import struct

import pytest

from trustml.models import pte_files
from trustml.models.pte_files import holds_eight_bits

flatbuffers = pytest.importorskip("flatbuffers")
FLOAT, SIGNED, BIAS, BY_CHANNEL = 1, 3, 5, 6


def graph(*values: tuple[int, int, int]) -> bytes:
    """A graph of XNNPACK with values: kind of the union, datatype, and number of their constant (0 for none)."""
    builder = flatbuffers.Builder()
    places = []
    for kind, datatype, constant in values:
        builder.StartObject(7)
        builder.PrependInt16Slot(0, datatype, 0)
        builder.PrependUint32Slot(3, constant, 0)
        tensor = builder.EndObject()
        if kind == 2:
            builder.StartObject(3)
            builder.PrependUOffsetTRelativeSlot(0, tensor, 0)
            tensor = builder.EndObject()
        builder.StartObject(2)
        builder.PrependUint8Slot(0, kind, 0)
        builder.PrependUOffsetTRelativeSlot(1, tensor, 0)
        places.append(builder.EndObject())
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    listed = builder.EndVector()
    builder.StartObject(8)
    builder.PrependUOffsetTRelativeSlot(2, listed, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"XN01")
    return bytes(builder.Output())


def program(*graphs: bytes) -> bytes:
    parts = [b"\x18\0\0\0ET12" + b"\1" * 40]
    for one in graphs:
        header = b"\0\0\0\0XH00" + struct.pack("<HIIIQ", 30, 32, len(one), 32 + len(one), 0)
        parts += [header.ljust(32, b"\0"), one, b"\1" * 16]
    return b"".join(parts)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([(1, FLOAT, 1)], False),
        ([(1, FLOAT, 1), (2, BY_CHANNEL, 2)], True),
        ([(2, SIGNED, 3)], True),
        ([(2, SIGNED, 0)], False),  # a value that is rounded while it runs, no weight
        ([(2, BIAS, 1)], False),
        ([], False),
    ],
)
def test_weights_in_eight_bits_are_seen(values, said):
    assert holds_eight_bits(program(graph(*values))) is said
    assert holds_eight_bits(program(graph((1, FLOAT, 1)), graph(*values))) is said


def test_its_word_is_not_taken_and_a_damaged_one_says_nothing():
    whole = program(graph((2, SIGNED, 3)))
    assert not holds_eight_bits(b"ET12 int8 XNNQuantizedTensorValue XH00")
    for length in range(0, len(whole) - 16):
        holds_eight_bits(whole[:length])
    assert not holds_eight_bits(whole[:80])


def shared(graphs: int, values: int) -> bytes:
    """Graphs of their own, all with one list, in which all places are those of one value."""
    builder = flatbuffers.Builder()
    builder.StartObject(2)
    builder.PrependUint8Slot(0, 1, 0)
    value = builder.EndObject()
    builder.StartVector(4, values, 4)
    for _ in range(values):
        builder.PrependUOffsetTRelative(value)
    listed = builder.EndVector()
    places = []
    for _ in range(graphs):
        builder.StartObject(8)
        builder.PrependUOffsetTRelativeSlot(2, listed, 0)
        places.append(builder.EndObject())
    roots = [builder.PrependUOffsetTRelative(place) or builder.Offset() for place in places]
    builder.Finish(places[0])
    content = bytes(builder.Output())
    headers = b""
    for number, root in enumerate(roots):
        place = 16 * (graphs - number) + len(content) - root
        headers += (b"\0\0\0\0XH00" + struct.pack("<HI", 16, place)).ljust(16, b"\0")
    return headers + content


@pytest.mark.parametrize("graphs", ["one", "their own"])
def test_a_list_to_which_every_header_points_is_not_read_as_often(graphs, monkeypatch):
    if graphs == "one":
        one = program(graph(*[(1, FLOAT, 1)] * 40))
        at = one.index(b"\0\0\0\0XH00")
        (place,) = struct.unpack_from("<I", one, at + 10)
        headers = [b"\0\0\0\0XH00" + struct.pack("<HI", 16, 14 * left + at + place) for left in range(60, 0, -1)]
        content = b"".join(headers) + one
    else:
        content = shared(60, 400)
    looked: list[int] = []
    monkeypatch.setattr(pte_files, "_is_rounded", lambda content, value: bool(looked.append(value)))
    assert not holds_eight_bits(content)
    assert len(looked) == (40 if graphs == "one" else len(content) // 4)
    assert len(set(looked)) == (40 if graphs == "one" else 1)
