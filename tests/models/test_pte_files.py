"""Whether a program of ExecuTorch keeps weights in 8 bits: by its own numbers, of which none is believed."""

from __future__ import annotations

import struct

import pytest

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
