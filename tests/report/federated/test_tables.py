"""What federated training came to, in the terminal."""

from __future__ import annotations

from types import SimpleNamespace

from tests.report.test_figures import rows
from tests.report.test_tables import printed
from trustml.report.federated.tables import print_federated

PARTITION = SimpleNamespace(regime="FedAvg", seed=3, clients=12, left_out=7, fingerprint="f" * 64)


def shown(partitions, *cells) -> str:
    manifest = SimpleNamespace(partitions=partitions, scenario={"backends": ["jax", "torch"]})
    table = rows(*({"regime": "FedAvg", "backend": "jax", **cell} for cell in cells))
    return printed(print_federated, manifest, table)


def test_medians_over_seeds_in_megabytes_and_rounds():
    found = shown(
        [PARTITION],
        *({"measure": "client_accuracy_mean", "seed": seed, "value": 0.5 + 0.1 * seed} for seed in range(3)),
        {"measure": "client_accuracy_worst", "value": 0.25},
        {"measure": "rounds_to_target", "value": 4.0},
        {"measure": "bytes_up", "value": 2.5e6},
        {"measure": "client_update_norm", "value": 0.123456},
        {"measure": "round_ratio", "value": float("inf")},
    )
    (line,) = [one for one in found.splitlines() if one.startswith("FedAvg ")]
    assert line.split() == ["FedAvg", "jax", "0.600", "-", "0.250", "4", "0.123", "2.50", "-"]
    assert f"FedAvg, seed 3: 12 clients, 7 examples left out; partition sha256 {'f' * 16}\n" in found


def test_a_target_that_no_seed_reached_is_never_and_no_partition_is_no_table():
    cell = {"measure": "client_accuracy_mean", "value": 0.5}
    assert "never" in shown([PARTITION], cell, {"measure": "rounds_to_target", "value": None})
    assert shown([], cell) == ""
