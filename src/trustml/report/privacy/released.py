"""The page that says of everything outside ``private/`` why it is there, from the table of the record.

``python -m trustml.report.privacy.released`` prints it.
"""

from __future__ import annotations

import itertools

from trustml.record.released import REASONS, RELEASED

_HEAD = """# What a run releases, and why

Made by `python -m trustml.report.privacy.released` from `record/released.py`; a test walks every file of a private,
federated, attacked run and finds each field, array and event here.

A run directory without `private/` is what may be published. Everything in it is a function of released things, or the
privacy statement of every private model names it (`trustml show RUN --privacy`, under *released, and what covers
it*).

* Times of single steps, sizes of secret batches, and all that a job prints are private: `private/events.jsonl` and
  `private/events/` hold the progress that bars and dashboard show, `private/logs/` what libraries said, whose
  messages may hold values of the data. The public `events.jsonl` holds starts and ends of jobs, in whole seconds.
* What is released is the directory after the run. Whoever watches it grow sees when a ledger was charged.
* Files hold nothing but their parts: archives have no dates and a fixed order, so sizes of files follow from their
  content. Leave times of modification behind where they matter (`trustml bundle` does).
* Baselines and backgrounds of explanations can be computed from attributions, weights and inputs. Beside a private
  regime they are numbers, the blurred input, or rows that the user declares public; `explanations.discloses` lets
  held-out rows through, which the statement then lists, or training rows, with which no epsilon holds for the
  explanations.
* The fingerprint is a plain SHA-256, so that runs, ledgers and bundles of the same data can be told to be so
  anywhere. Who guesses all examples can confirm the guess; no epsilon covers that.

## Reasons
"""


def released_markdown() -> str:
    """Write the page."""
    lines = [_HEAD]
    lines += [f"* **{reason}**: {text}" for reason, text in REASONS.items()]
    lines += ["", "## Files", "", "`#` stands for an item of a list, `*` for any name.", ""]
    lines += ["| file | why | parts |", "|---|---|---|"]
    for (files, why), group in itertools.groupby(
        RELEASED, key=lambda known: (known.files, f"named: {known.named}" if known.named else known.reason)
    ):
        known = list(group)
        only = " (plain jobs alone)" if known[0].plain_only else ""
        parts = ", ".join(f"`{one.parts}`" for one in known)
        lines.append(f"| `{files}`{only} | {why} | {parts} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(released_markdown(), end="")
