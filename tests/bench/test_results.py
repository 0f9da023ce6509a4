"""The file, its table, and the arithmetic behind rates."""

from __future__ import annotations

import json

import msgspec
import pytest

from tests.bench.fakes import absent, measured, result
from trustml.errors import RecordError
from trustml.measures.row import Row
from trustml_bench.arithmetic import forward_operations, step_operations
from trustml_bench.machine import matrix_rate, stream_rate
from trustml_bench.results import BENCH_MEASURES, Ceilings, newest_result, read_result, write_result
from trustml_bench.rows import floor_ratio
from trustml_bench.workloads import Workload

PRIVATE = Workload(kind="private_step", network="mlp", size=256)
PLAIN = Workload(kind="plain_step", network="mlp", size=256)


def some():
    return result(
        measured(PLAIN, "jax plain", 0.002, role="floor"),
        measured(PLAIN, "torch plain", 0.001, role="floor", environment="torch"),
        measured(PRIVATE, "trustml jax", 0.003, role="ours"),
        absent(PRIVATE, "jax-privacy", environment="jax"),
        ceilings=Ceilings(flops_one_core=1e11, flops_all_cores=2e11, bytes_one_core=1e10, bytes_all_cores=2e10),
    )


def test_it_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_result(path, some())
    assert read_result(path) == some()
    assert path.read_text().endswith("\n")


def test_rows_have_the_columns_of_the_tidy_table(tmp_path):
    write_result(tmp_path / "r.json", some())
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert {tuple(row) for row in rows} == {tuple(Row.__struct_fields__)}
    assert {row["measure"] for row in rows} == set(BENCH_MEASURES)
    (gone,) = [row for row in rows if row["value"] is None]
    assert gone["subject"] == "jax-privacy" and gone["note"] == "absent: failed: broke" and gone["n"] == 0


def test_a_private_step_is_compared_with_both_floors():
    found = {row.measure: row for row in some().rows if row.subject == "trustml jax"}
    assert found["bench_ratio"].value == pytest.approx(1.5) and "jax plain" in found["bench_ratio"].note
    assert found["bench_ratio_any"].value == pytest.approx(3.0) and "torch plain" in found["bench_ratio_any"].note
    assert found["bench_work_memory"].value == 2**28
    other = msgspec.structs.replace(some().measured[2], allocator="default")
    assert floor_ratio(other, some(), any_framework=True) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": "trustml-bench-0"}', b'{"format": 3}', b"\xff"])
def test_another_format_is_refused(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"x\.json"):
        read_result(path)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "x.json"
    content = json.loads(msgspec.json.encode(some()))
    content["measured"][0]["role"] = "friend"
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match="damaged"):
        read_result(path)
    with pytest.raises(RecordError, match="cannot be read"):
        read_result(tmp_path / "nothing.json")


def test_the_newest_is_the_last_by_name(tmp_path):
    assert newest_result(tmp_path) is None
    for name in ("20260102-000000", "20260101-235959"):
        write_result(tmp_path / "benchmarks" / f"{name}.json", some())
    assert newest_result(tmp_path).stem == "20260102-000000"


def test_arithmetic_by_hand():
    assert forward_operations("mlp") == 2 * (784 * 256 + 256 * 128 + 128 * 10)
    first, second = 14 * 14 * 16 * 8 * 8, 5 * 5 * 32 * 4 * 4 * 16
    assert forward_operations("cnn") == 2 * (first + second + 512 * 32 + 32 * 10)
    assert step_operations(PLAIN) == 3 * 256 * forward_operations("mlp")
    (rate,) = [row.value for row in some().rows if row.measure == "bench_rate" and row.subject == "torch plain"]
    assert rate == pytest.approx(step_operations(PLAIN) / 0.001 / 1e9)


def test_plain_steps_of_real_size_have_a_rate_and_of_a_part_have_none():
    def rates(network: str) -> list[float | None]:
        workload = msgspec.structs.replace(PLAIN, network=network, size=64)
        found = result(measured(workload, "trustml torch plain", 0.2, role="ours", environment="torch"))
        return [row.value for row in found.rows if row.measure == "bench_rate"]

    assert rates("resnet20") == [pytest.approx(3 * 64 * forward_operations("resnet20") / 0.2 / 1e9)]
    assert rates("encoder_lora") == []


def test_the_machine_is_measured():
    assert matrix_rate(64) > 0
    assert stream_rate(2, size=2**20) > 0
