"""Rounds, clients, bytes, and privacy for users."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from chosen_run import current, measures, seen
from chosen_run import statements as stated_of_run
from page_parts import beside, draw, show_rows, sortable

from trustml.errors import RecordError
from trustml.measures.evidence import Evidence
from trustml.measures.federated import clients_of, federated_jobs
from trustml.measures.measure import MEASURES, of_family, shown_in
from trustml.plan.job import short_model
from trustml.privacy.statement import PrivacyStatement, at_most, statement_line
from trustml.report.documents import plain_text
from trustml.report.federated import figures
from trustml.report.federated.frames import (
    FederatedFrames,
    epsilon_by_round,
    federated_frames,
    summary_frame,
    user_statements,
)
from trustml.report.federated.partition import ENDS, MOST_BARS, partition_bars

ACCURACY, HOLDS, BYTES = "Accuracy by round", "Who holds what", "Bytes"
PRIVACY, DRIFT = "Privacy for users", "Participants and drift"
NOT_COVERED = "no epsilon covers it"


def show_accuracy(frames: FederatedFrames, regimes: list[str], order: list[str], private: list[str]) -> None:
    """Draw accuracy by round, and how far apart clients are."""
    draw(figures.accuracy_by_round(of(frames.history, regimes), targets=of(frames.targets, regimes), order=order))
    st.caption(
        "Mean over seeds, on all held-out examples; frameworks that agree lie on one another. The dashed "
        "rule is the target accuracy of the scenario."
    )
    spread = of(frames.spread, regimes)
    if spread.empty:
        st.info("How far clients are apart is not at hand for these regimes.")
        return
    beside(figures.client_spread(spread, order=order), columns=2)
    shown = [name for name in private if name in set(spread.regime)]
    st.caption(
        "Clients by themselves, each on the held-out examples that stand for it: the line is their mean, the band goes "
        "from the 10th percentile to the best client; means over seeds. Where a client has few of them, a wide band "
        "says more of luck than of clients. "
        + plain_text(f"For {', '.join(shown)} this follows who holds what: {NOT_COVERED}." if shown else "")
    )


def show_partition(evidence: Evidence, regimes: list[str]) -> None:
    """Draw who holds what, for one regime and seed."""
    jobs = {(record.regime, record.seed): job for record, job in federated_jobs(evidence) if record.regime in regimes}
    left, right = st.columns([3, 1])
    regime = left.selectbox("Federated regime", regimes)
    seed = right.selectbox("Seed", sorted(seed for name, seed in jobs if name == regime))
    job = jobs[regime, seed]
    clients = clients_of(evidence, job)
    if clients is None:
        st.info("Who holds what is under private/, which is not at hand here.")
        return
    counts = clients["label_counts"].astype(int)
    names = [str(name) for name in clients.get("label_names", evidence.manifest.data.class_names)]
    every, *ends = partition_bars(counts, names=[str(name) for name in clients["names"]], labels=names)
    draw(every)
    beside(ends, columns=2)
    sizes = sorted(counts.sum(axis=1))
    about = (
        f"{len(sizes):,} clients; smallest {sizes[0]:,}, median {pd.Series(sizes).median():,g}, largest {sizes[-1]:,} "
    )
    about += "examples"
    for part in evidence.manifest.partitions:
        if (part.regime, part.seed) == (regime, seed):
            about += f"; {part.left_out:,} examples left out; fingerprint {part.fingerprint[:12]}"
    st.caption(plain_text(f"{about}. Every framework trains on this same partition."))
    if len(sizes) > MOST_BARS:
        st.caption(
            plain_text(
                f"With more than {MOST_BARS} clients, only the {ENDS} largest and the {ENDS} smallest have a bar each; "
                "the histogram above them counts all."
            )
        )
    if job.mechanism is not None:
        st.caption(
            "This picture shows private data: no epsilon covers it. It is drawn from private/, for whoever may see it."
        )


def show_bytes(rows: pd.DataFrame) -> None:
    """Draw what clients send."""
    draw(figures.bytes_by_regime(rows))
    st.caption("Payload alone, for the clients expected in a round: no protocol, no encryption.")


def show_privacy(evidence: Evidence, statements: list[PrivacyStatement], order: list[str]) -> None:
    """Draw user-level epsilon by round."""
    curves = epsilon_by_round(evidence, statements)
    if curves.empty:
        st.info("No finite epsilon holds for users.")
    else:
        draw(figures.user_epsilon(curves, order=order))
        st.caption(
            "The unit of privacy is a user: one client with all its examples. Each line ends at the claim; models with "
            "the same epsilons share a line. A mark without a line is noise correlated over rounds: its epsilon holds "
            "for the whole training and says nothing of a part of it. Privacy for examples is not in this chart."
        )
    lines: dict[str, list[str]] = {}
    for one in statements:
        value = "no finite epsilon" if one.epsilon is None else f"epsilon at most {at_most(one.epsilon, 3)}"
        lines.setdefault(f"{value}; {statement_line(one)}", []).append(short_model(one.model))
    for line, models in lines.items():
        st.caption(plain_text(f"{', '.join(models)}: {line}"))


def show_rounds(frames: FederatedFrames, regimes: list[str], order: list[str], private: list[str]) -> None:
    """Draw who took part, how far updates went, and the clipping norm where it moves."""
    rounds, clips = of(frames.rounds, regimes), of(frames.clips, regimes)
    hidden = [name for name in private if name in regimes]
    if len(rounds):
        beside(figures.participants_by_round(rounds, order=order), columns=3)
        st.caption(
            "Clients asked, and clients that answered, in each round: one line where all did. "
            "Mean over seeds, alike in all frameworks."
        )
    if rounds.update_norm.notna().any():
        title = "L2 norm of a client's update"
        draw(figures.norm_by_round(rounds, "update_norm", title=title, order=order))
        silent = sorted(set(rounds.regime) - set(rounds.dropna(subset="update_norm").regime))
        st.caption(
            "How far clients drift from the global model in a round: mean over its clients, then over seeds. "
            + plain_text(f"The library does not tell it for {', '.join(silent)}." if silent else "")
        )
    if hidden:
        st.caption(
            plain_text(
                f"Not shown for {', '.join(hidden)}: who took part, and how far their updates went, stays private."
            )
        )
    if len(clips):
        draw(figures.norm_by_round(clips, "clipping_norm", title="clipping norm", order=order))
        st.caption("Adaptive clipping: each step follows a noisy count of clients, which the epsilon pays for.")


@st.cache_resource(max_entries=4, show_spinner=False)
def frames_of(path: str, seen: str, _evidence: Evidence) -> FederatedFrames:
    """Read what every round came to; anew when more is known."""
    return federated_frames(_evidence)


@st.cache_resource(max_entries=4, show_spinner=False)
def summary_of(
    path: str, seen: str, _evidence: Evidence, _table: pd.DataFrame, _statements: list[PrivacyStatement]
) -> pd.DataFrame:
    """Make the first table; anew when more is known."""
    return summary_frame(_evidence, _table, _statements)


def of(frame: pd.DataFrame, regimes: list[str]) -> pd.DataFrame:
    """Give the rows of some regimes."""
    return frame[frame.regime.isin(regimes)]


def main() -> None:
    """Show the page."""
    st.title("Federated")
    run = current()
    manifest = run.manifest
    if not manifest.partitions:
        st.info("This run has no federated regime: nothing here was trained by clients.")
        st.stop()
    for warning in manifest.cohort_warnings:
        st.warning(plain_text(warning))
    table = measures()
    evidence, known = Evidence(run.directory), (str(run.path), seen(run))
    try:
        jobs, frames = federated_jobs(evidence), frames_of(*known, evidence)
    except RecordError as error:
        st.warning(plain_text(f"The rounds cannot be read. {error}"))
        st.stop()
    if not jobs:
        running = manifest.status == "running"
        st.info(
            "No federated training has ended yet."
            if running
            else "No federated training of this run ended well. The Record page says why."
        )
        st.stop()
    readable, statements = True, []
    try:
        statements = user_statements(evidence, stated_of_run())
    except RecordError as error:
        readable = False
        st.warning(plain_text(f"There are no privacy statements. {error}"))
    order = list(dict.fromkeys(record.regime for record, _ in jobs))
    private = list(dict.fromkeys(record.regime for record, job in jobs if job.mechanism is not None))

    sortable(summary_of(*known, evidence, table, statements))
    st.caption(
        "Means over seeds; the epsilon, of privacy for users, is the largest. 10th percentile and worst: of clients. A "
        "step is a round; MB up: in a round, all its clients together. Round/central: time of a round over that of "
        "plain training on as many examples, where the run has one. User epsilon 'none': trained without privacy, no "
        "finite epsilon holds. "
        + plain_text(f"Accuracies of clients of {', '.join(private)}: no epsilon covers them." if private else "")
    )
    chosen = st.multiselect("Regimes", order, default=order) if len(order) > 1 else order
    if not chosen:
        st.info("Choose a regime.")
        st.stop()
    rows, parts = of(table, chosen), {ACCURACY: lambda: show_accuracy(frames, chosen, order, private)}
    parts[HOLDS] = lambda: show_partition(evidence, chosen)
    if len(figures.sent(rows)):
        parts[BYTES] = lambda: show_bytes(rows)
    if readable and any(record.regime in chosen for record, job in jobs if job.mechanism is not None):
        wanted = {record.id for record in manifest.jobs if record.regime in chosen}
        parts[PRIVACY] = lambda: show_privacy(evidence, [one for one in statements if one.model in wanted], order)
    if any(len(of(frame, chosen)) for frame in (frames.rounds, frames.clips)) or set(private) & set(chosen):
        parts[DRIFT] = lambda: show_rounds(frames, chosen, order, private)
    # Of the others nothing is made, and nothing is sent to the browser.
    places = st.tabs([plain_text(name) for name in parts], key="federated tab", on_change="rerun")
    for place, show in zip(places, parts.values(), strict=True):
        if place.open:
            with place:
                show()
    listed = of_family("federated") | shown_in("federated page") | {"epsilon": MEASURES["epsilon"]}
    show_rows(rows[rows.measure.isin(list(listed)) & rows.regime.isin(chosen)])


main()
