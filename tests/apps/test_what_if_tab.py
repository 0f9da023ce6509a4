"""The tab on which a reader gives another input, without a browser and without frameworks."""

from __future__ import annotations

import numpy as np

from tests.apps.test_auditing import APPS
from tests.apps.test_dashboard import assert_whole, opened, pytestmark  # noqa: F401
from tests.launch.test_what_if import METHOD, asked  # noqa: F401
from tests.records import copy_of
from trustml.data.given import Feature


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


def test_a_long_table_with_a_category_can_be_changed(monkeypatch):
    monkeypatch.syspath_prepend(str(APPS))
    import what_if

    features = [Feature(name="colour", columns=(0, 1), categories=("red", "green"))]
    features += [Feature(name=f"f{place}", columns=(place + 2,)) for place in range(45)]
    base = np.linspace(-1, 1, 47, dtype=np.float32)
    base[:2] = 0, 1
    shown = []

    def editor(table, *, column_config, **_):
        shown.append(set(map(type, table["value"])))
        assert column_config["value"]["type_config"]["type"] == "text"
        return table.assign(value=["red", "0.5", *table["value"][2:]])

    monkeypatch.setattr(what_if.st, "data_editor", editor)
    row = what_if._changed(features, base, key="k")
    assert shown == [{str}]  # numbers beside texts are shown, and cannot be changed
    assert row[:3].tolist() == [1, 0, 0.5] and row[3:].tobytes() == base[3:].tobytes()
