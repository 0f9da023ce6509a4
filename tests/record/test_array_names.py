"""Names of arrays of explain jobs are made and taken apart by one pair of functions."""

from __future__ import annotations

from trustml.record.array_names import array_name, arrays_below


def test_what_is_put_together_is_taken_apart():
    arrays = {array_name(title, variant, "deletion"): title for title in ("A", "AB", "A.B") for variant in "xy"}
    assert arrays["A.x.deletion"] == "A"
    assert arrays_below(arrays, "AB") == {"x.deletion": "AB", "y.deletion": "AB"}
    assert arrays_below(arrays, "A", "x") == {"deletion": "A"}
    assert arrays_below(arrays, "B") == {} == arrays_below({}, "A")
