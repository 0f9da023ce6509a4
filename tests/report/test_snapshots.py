"""What is written is what was written before, byte for byte: pages of made-up audits and of a made-up study.

``python -m tests.report.test_snapshots`` writes them anew; look at the difference before it is committed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.audit.examples import empty_audit, example_audit, hostile_audit
from tests.report.study.examples import study_parts
from trustml.auditing.result import AuditRecord, encode_audit
from trustml.report.audit.html import audit_html
from trustml.report.audit.model_card import model_card
from trustml.report.study.tables import study_markdown

FOLDER = Path(__file__).with_name("snapshots")
AUDITS = {"example": example_audit(2, 3), "hostile": hostile_audit(), "empty": empty_audit()}


def page(record: AuditRecord) -> str:
    """The page without what is not the report's own: drawings are matplotlib's, the digest is the record's."""
    text = re.sub(r"<svg .*?</svg>", "<svg/>", audit_html(record), flags=re.DOTALL)
    text = re.sub(r"(?<=<style>\n).*?(?=\n</style>)", "", text, flags=re.DOTALL)
    return text.replace(hashlib.sha256(encode_audit(record)).hexdigest(), "DIGEST")


WRITTEN: dict[str, Callable[[], str]] = {
    **{f"{name}.html": lambda record=record: page(record) for name, record in AUDITS.items()},
    **{f"{name}.card.md": lambda record=record: model_card(record) for name, record in AUDITS.items()},
    "study.md": lambda: study_markdown(study_parts()),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_same_record_gives_the_page_it_gave_before(name):
    assert WRITTEN[name]() == (FOLDER / name).read_text(encoding="utf-8")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, write in WRITTEN.items():
        (FOLDER / name).write_text(write(), encoding="utf-8")
