"""Tables, charts, the page and the panel of the dashboard, from a small result."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from streamlit.testing.v1 import AppTest

from tests.bench.fakes import absent, measured, result
from trustml_bench import panels
from trustml_bench.figures import ratio_dots, time_dots
from trustml_bench.judge import judge_all
from trustml_bench.page import performance_page
from trustml_bench.results import Ceilings, write_result
from trustml_bench.tables import bars_frame, milliseconds, number, print_groups, print_result, summary
from trustml_bench.workloads import Workload

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # streamlit's and altair's own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # AppTest leaves an event loop behind
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PRIVATE = Workload(kind="private_step", network="mlp", size=256)
PLAIN = Workload(kind="plain_step", network="mlp", size=256)


@pytest.fixture(scope="module")
def some():
    """Met, not met, not measured; a peer that failed."""
    both = [
        found
        for allocator in ("tuned", "default")
        for found in (
            measured(PLAIN, "jax plain", 0.002, role="floor", allocator=allocator),
            measured(PLAIN, "torch plain", 0.0015, role="floor", environment="torch", allocator=allocator),
            measured(PRIVATE, "trustml jax", 0.0023, role="ours", allocator=allocator, note="book-keeping"),
            measured(PRIVATE, "Opacus hooks", 0.1, environment="torch", allocator=allocator),
            absent(PRIVATE, "jax-privacy", allocator=allocator, reason="no chex | at all"),
        )
    ]
    most = Ceilings(flops_one_core=1e11, flops_all_cores=2e11, bytes_one_core=1e10, bytes_all_cores=2e10)
    return result(*both, ceilings=most)


def test_the_page_says_all_that_was_found(some):
    page = performance_page(some)
    assert "| JAX private step / best plain step of JAX | private_step/mlp/256 | tuned | <= 1.25 | 1.15" in page
    assert "| **not met** |" in page and "- Not measured, jax-privacy: failed: no chex" in page
    assert "| **trustml jax** | 2.30 | 2.25-2.35 | 70 | 1.00 | 512 | 256 | 1.15 | 1.53 | book-keeping |" in page
    assert "200 on all" in page and "only in `trustml bench --full`" in page
    assert "at commit 0123456789ab" in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    assert not any(line.endswith(" ") for line in page.splitlines())


def test_the_terminal_shows_times_and_verdicts(some):
    out = Console(file=io.StringIO(), width=200)
    print_result(out, some)
    text = out.file.getvalue()
    for word in ("Opacus hooks", "failed: no chex", "not met", summary(judge_all(some)), "GFLOP/s"):
        assert word in text
    print_groups(out, [])


def test_charts_hold_every_figure(some):
    judged = judge_all(some)
    times, dots = time_dots(some, "tuned"), ratio_dots(judged)
    text = json.dumps([chart.to_dict() for chart in times])
    assert "Opacus hooks" in text and "jax-privacy" not in text
    text = json.dumps([chart.to_dict() for chart in dots])
    assert "not met" in text and "met" in text
    assert ratio_dots([]) == time_dots(result(), "tuned") == []
    frame = bars_frame(judged)
    assert set(frame.verdict) == {"met", "not met", "not measured"}
    assert (frame.low <= frame.ratio).loc[frame.ratio.notna()].all()


@pytest.mark.parametrize(("value", "text"), [(1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")])
def test_numbers(value, text):
    assert number(value) == text
    assert milliseconds(value / 1e3) == text


def panel(runs: str) -> None:
    """What the speed page shows below the run's own figures."""
    from pathlib import Path

    from trustml_bench.panels import show_benchmark

    show_benchmark(Path(runs))


def shown(runs: Path) -> AppTest:
    app = AppTest.from_function(panel, default_timeout=60, args=(str(runs),)).run()
    assert not app.exception, [error.value for error in app.exception]
    return app


def test_the_panel_shows_the_newest_file(some, tmp_path):
    write_result(tmp_path / "benchmarks" / "20260101-000000.json", result())
    write_result(tmp_path / "benchmarks" / "20260102-000000.json", some)
    app = shown(tmp_path)
    assert summary(judge_all(some)) in app.caption[1].value
    bars, rows = (frame.value for frame in app.dataframe)
    assert "not met" in set(bars.verdict)
    assert {"Opacus hooks", "trustml jax"} <= set(rows.subject)


def test_the_panel_says_how_to_make_one_and_what_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(panels, "RECORDED", tmp_path / "none.json")
    assert "`trustml bench`" in shown(tmp_path).info[0].value
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "1.json").write_text("{}")
    assert "its format is 'unknown'" in shown(tmp_path).warning[0].value
