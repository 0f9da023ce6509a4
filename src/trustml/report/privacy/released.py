"""The page that says of everything outside ``private/`` why it is there, from the table of the record.

``python -m trustml.report.privacy.released`` prints it.
"""

from __future__ import annotations

import itertools

from trustml.record.released import REASONS, RELEASED
from trustml.report.documents import templates


def released_markdown() -> str:
    """Write the page."""
    files = itertools.groupby(RELEASED, key=lambda known: (known.files, known.reason, known.named))
    facts = {"reasons": REASONS, "files": [list(group) for _, group in files]}
    return templates("privacy").get_template("released.md.j2").render(facts)


if __name__ == "__main__":
    print(released_markdown(), end="")
