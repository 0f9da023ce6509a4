"""The tab on which a reader gives another input, without a browser and without frameworks."""

from __future__ import annotations

from tests.apps.test_dashboard import assert_whole, opened, pytestmark  # noqa: F401
from tests.launch.test_what_if import METHOD, asked  # noqa: F401
from tests.records import copy_of


def test_every_library_explains_what_is_given(entry, tmp_path, monkeypatch, asked):  # noqa: F811
    monkeypatch.setenv("TRUSTML_ENV_TENSORFLOW", "/nonexistent")
    copy_of("frameworks", tmp_path)
    app = opened(entry, tmp_path, monkeypatch)
    app.session_state["explanations tab"] = "What if"
    app.switch_page("views/explanations.py").run()
    assert_whole(app)
    app.button(key="what if ask").click().run()
    assert_whole(app)
    assert {job.backend for job, *_ in asked} == {"torch", "jax"}
    assert [error.value.partition(":")[0] for error in app.error] == ["tensorflow", "jax"]
    table = app.table[0].value
    assert table.columns.tolist() == ["library", "the example", "what you gave"]
    assert table["what you gave"].tolist() == ["4 (p 0.23), predicted"]
