"""The note of a row, made from its columns: the one place where facts of measures become words.

It is here and not in ``report``, as the note is a column of the table, which is written, shown and verified without any
report. Nothing reads it back; what a reader needs is a column or a fact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, get_args

import msgspec
import numpy as np

from trustml.measures.row import About, IntervalKind, PairKind, Row, Verdict
from trustml.measures.wording import models_of, sampling_words
from trustml.privacy.statement import Contribution

_Words: TypeAlias = str | Callable[[dict[str, Any]], str]

_VERDICTS: dict[Verdict, str] = {
    "absent": "absent: {reason}",
    "better than random": "better than random by {gain:.3g} [{gain_low:.3g}, {gain_high:.3g}]",
    "no better than random": "no better than random ({gain:+.3g} [{gain_low:.3g}, {gain_high:.3g}]): says nothing",
    "worse than random": "worse than random by {loss:.3g} [{loss_low:.3g}, {loss_high:.3g}]",
    "random control": "the random control",
    "fails the sanity check": "fails the sanity check: similarity above {limit:g} with random weights",
    "does not fit": "WARNING: outside of what is proved of epsilon from below and from above: one of the two is wrong",
    "fits": "fits what is proved of epsilon from below and from above",
}
_PAIRS: dict[PairKind, str] = {
    "same weights": "same weights",
    "two regimes": "two regimes",
    "trained apart": "trained apart, same start",
    "two seeds": "noise floor: same regime, other seed",
}
_INTERVALS: dict[IntervalKind, str] = {
    "wilson": "Wilson {percent} %",
    "t over canaries": "t over canaries {percent} %",
    "t over updates": "t over updates {percent} %",
    "t over rows": "t over rows {percent} %",
    "t over canaries and sequences": "t over canaries and sequences {percent} %",
    "newcombe": "Newcombe {percent} %, paired",
    "bootstrap over examples": "bootstrap {percent} % over examples",
    "exact bootstrap over examples": "exact bootstrap {percent} % over examples",
    "jackknife over seeds": "jackknife {percent} % over seeds",
    "quartiles": "quartiles",
    "5th to 95th percentile": "interval: 5th and 95th percentile over examples",
    "simulated audits": "median and {percent} % range of {repetitions} simulated audits at the claim",
}


def _seeds(known: dict[str, Any]) -> str:
    return f"{known['seeds']} seed{'s' if known['seeds'] > 1 else ''}"


def _plain(known: dict[str, Any]) -> str:
    count = known["models_without_privacy"]
    return (
        f"private models alone: this run also trained {models_of(count)} without privacy on the same data, and "
        f"publishing {'it' if count == 1 else 'any of them'} has no finite epsilon"
    )


def _planted_words(known: dict[str, Any]) -> str:
    reasons = {"never_came": "never came to a step", "without_gradient": "had no gradient to learn from"}
    missed = [f"{known[name]} {words}" for name, words in reasons.items() if known[name]]
    if not missed:
        return f"each of {known['planted']} planted canaries received loss"
    return f"WARNING: of {known['planted']} planted canaries {' and '.join(missed)}: they tested nothing"


FIRST: dict[str, _Words] = {
    "models": lambda known: models_of(known["models"]),
    "private_models": lambda known: models_of(known["private_models"], kind="private "),
    "seeds_for_a_claim": lambda known: f"descriptive: {_seeds(known)}, a claim needs {known['seeds_for_a_claim']}",
    "least_p": lambda known: f"{_seeds(known)} allow none below {known['least_p']:.3g}",
    "references": "{references} reference models",
    "made_do": "{made_do}",
    "audit_confidence": "{audit_confidence:.0%} confidence",
}
"""Facts that are told before the columns, with their words."""

REST: dict[str, _Words] = {
    "noise_multiplier": "one private step with noise multiplier {noise_multiplier:g} on a batch that all are in",
    "audit": "{audit}",
    "thresholds": "{thresholds}",
    "attempts": "{attempts} attempts composed",
    "training_status": "charged although training ended {training_status}",
    "rows_shown": "WARNING: no epsilon holds for the released explanations, whose baselines are training rows",
    "other_data": "WARNING: the ledger names other data than the manifest",
    "held_out_seen": "WARNING: no test of what was learned: its start was trained on {held_out_seen} of these examples",
    "seen_left_out": "{seen_left_out} held-out examples that its start was trained on are left out",
    "start_without_guarantee": "WARNING: rows of this data were trained on before without a guarantee that composes",
    "start_not_known": "WARNING: it does not hold for rows that starting weights were made from; which is not known",
    "start_chosen": "WARNING: its start was chosen by scores on rows that are trained on here, which it does not cover",
    "monte_carlo_error": "+-{monte_carlo_error:.1g} by its own draws (Monte-Carlo)",
    "ends_error": "ends +-{ends_error:.1g} by its draws (Monte-Carlo)",
    "one_draw": "one draw of random weights, of which its interval knows nothing",
    "between_draws": lambda known: (
        ("not told apart from" if known["within_draws"] else "beside")
        + f" two draws of the same, which agree by {known['between_draws']:.3g}"
    ),
    "of": "{of}",
    "own_charges": "of this training alone, without that of its start",
    "others": lambda known: (
        f"not in this number: {models_of(known['others'], kind='private ')} of the run for another unit, or for users "
        "of another partition, whose publication too has no joint epsilon here"
    ),
    "models_without_privacy": _plain,
    "gaussian_scores": "Gaussian scores are assumed: an estimate, never a bound, and no ground for a violation",
    "test": "{test}",
    "part": "they differ in {part} alone",
    "epsilons": lambda known: (
        f"over epsilon {known['epsilons']}{' of the private regimes they belong to' if 'controls' in known else ''}"
    ),
    "minuend": "{minuend} minus {subtrahend}, seed by seed",
    "setting": "with {setting}, the best of {candidates} on {chosen_on} other held-out examples",
    "perturbation_methods": "{perturbation_methods} perturbation and {gradient_methods} gradient methods",
    "quantity": "of the {quantity}, not the logit",
    "steps": "{steps} steps",
    "wanted_error": "to a completeness error of {wanted_error:g}",
    "points": "{points}",
    "missed": "{missed} of {examples} examples are not there",
    "read_as": "{read_as}",
    "inputs": "{inputs}",
    "caveat": "{caveat}",
    "call": "{call}",
    "compiled_before": "save what was compiled before: {compiled_before} programs were at hand and {compiled_anew} "
    "compiled anew",
    "warm": "by a worker that was forked with its framework imported",
    "counted": "{counted}",
    "clients_tested": "{clients_tested} of {clients} clients have held-out examples, {examples_each} each in the "
    "median",
    "target": "target accuracy {target:g}, looked at every {evaluate_every} round(s)",
    "norm_first": "median over rounds; {norm_first:.4g} at first, {norm_last:.4g} at last",
    "clients_a_round": "{clients_a_round:g} clients a round expected; {coding}; payload alone, no protocol, no "
    "encryption",
    "summed_rounds": lambda known: (
        "all messages of secure aggregation"
        + (", and float32 weights to each client that trained" if known["with_weights"] else "")
        + f", mean of the {known['summed_rounds']} rounds with a sum; keys and shares of others are not counted"
        + "; no headers, no encryption of the wire"
    ),
    "against": "against {against}, batches of {batch_size}",
    "of_mean": "{of_mean:.4g} by always answering the mean",
    "of_median": "{of_median:.4g} by always answering the median",
    "of_unigram": "{of_unigram:.4g} by the shares of the tokens alone",
    "chosen_by_this": "the best of several runs by this score on these examples, so that it looks better than it is",
    "worst_before": "the worst group: {worst_before:.3f} before, {worst_after:.3f} after",
    "smallest_group": "{smallest_group} examples in the smallest group",
    "not_covered": "{not_covered}",
    "device": "{device}",
    "beside": "other jobs ran beside it",
    "node": "on node {node}, {node_cores} cores",
    "unequal_nodes": "WARNING: jobs of this run had unequal nodes: do not compare their times",
    "reused_from": "measured in run {reused_from}, whose job was taken over",
    "cpu_time": "{cpu_time:.3g} s of processors in the median",
    "others_share": lambda known: (
        f"others used {known['others_share']:.0%} of the {known['cores']} cores meanwhile, "
        f"load {known['load_before']:.1f} before"
        + (f" and {known['load_after']:.1f} at the end" if "load_after" in known else "")
    ),
    "throttled_share": "WARNING: a quota of processors held it back in {throttled_share:.0%} of its periods, "
    "{throttled_seconds:.3g} s in all",
    "quartiles_apart": "WARNING: quartiles span {quartiles_apart:.1f} times: the machine was busy, or the steps differ",
    "asked": "on {asked} examples",
    "framework_seconds": lambda known: (
        f"{1e3 * known['framework_seconds']:.3g} ms by {known['framework']} itself, in turns"
    ),
    "least_agreement": "{least_agreement:.3g} on the example that agrees least",
    "largest_difference": "values differ by {largest_difference:.1e} of the largest at the most",
    "own_agreement": "the model's own agree at {own_agreement:.3g} where inputs move as little as rounding moves them",
    "own_difference": "and differ by {own_difference:.1e} of the largest there",
    "remarks": "{remarks}",
    "how": "{confidence:.0%}: {how}",
    "no_interval": "{no_interval}",
    "untrained": "{untrained_value:.3g} for {untrained} that were not trained on",
    "imputed": "{imputed:.3g} imputed without the model, {commonest:.3g} by the commonest of {values} values",
    "guessed_at_most": "at most {guessed_at_most:.3g} by its epsilon, were {guessed_without:.3g} the best without it",
    "round_at_most": "at most {round_at_most:.3g} by the noise of one round that the client is in, exactly",
    "exchanged": "{untrained_value:.3g} where shares of the {exchanged} models to learn from are exchanged at random",
    "rows_of_models": "models of {rows_of_models} rows, asked {probes} others",
    "among": "among {among} rows of its label, updates of {rows_each} rows",
    "moved": "{moved} updates moved a weight",
    "trusted": "before noise comes to it: the guarantee trusts whoever sees it",
    "likeness": "correlation {likeness:.3g} with the row, {control_likeness:.3g} with one that nobody trained on",
    "nearest_other": "{untrained_value:.3g} dB by the nearest of {nearest_other} other rows",
    "of_other_classes": "{of_other_classes:.3g} of held-out rows with what was made of another class, "
    "{of_class_means:.3g} with the mean of their class",
    "sequences": "among {sequences} other sequences of random tokens",
    "most_bits": "at most {most_bits:.2f}",
    "open_above": "no upper end: ranks tell no more than that it is at least the lower one",
    "skew_normal": "by a skew-normal law (Kolmogorov-Smirnov p = {skew_normal:.2g}): an extrapolation",
    "planted": _planted_words,
    "distinct_members": "with copies: {distinct_members} distinct members and {distinct_others} distinct others",
    "exposed": "WARNING: {exposed} members stand before all but {exposed_among} non-members, p = {exposed_p:.1g}",
    "at_most": "WARNING: at most {at_most:.3f}: members and non-members differ, perhaps exchanged",
    "strongest_of": "the strongest of {strongest_of} attacks",
    "model_auc": "of the model, by the same attack, {model_auc:.4f}",
    "model_at_least": "of the model {model_at_least:.4f}",
    "attacks": "one-sided, {confidence:.3%} confidence, so that all {attacks} attacks together have {together:.0%}",
}
"""Facts that are told after them."""

SILENT = frozenset(
    {
        *(
            "majority",
            "classes_answered",
            "labels",
            "tokens",
            "one_value",
            "not_applicable",
            "understated",
            "reason",
            "not_at_hand",
            "gain",
            "gain_low",
            "gain_high",
            "loss",
            "loss_low",
            "loss_high",
            "limit",
        ),
        *("seeds", "secret_sampling", "largest_participation", "samplings", "bound", "subtrahend", "gradient_methods"),
        *(
            "examples",
            "compiled_anew",
            "clients",
            "examples_each",
            "evaluate_every",
            "norm_last",
            "coding",
            "with_weights",
        ),
        *("batch_size", "repetitions", "together", "first_variant", "second_variant", "variant", "canaries", "fault"),
        *(
            "class_name",
            "load_before",
            "load_after",
            "throttled_seconds",
            "cores",
            "node_cores",
            "accounted_by",
            "explained_by",
            "exposed_among",
            "exposed_p",
            "distinct_others",
            "controls",
            "within_draws",
            "slice",
            "group",
            "worst_after",
            "candidates",
            "chosen_on",
            "framework",
            "halvings",
            "untrained_value",
            "commonest",
            "guessed_without",
            "values",
            "feature",
            "p_of",
            "never_came",
            "rows_each",
            "control_likeness",
            "of_class_means",
            "probes",
            "without_gradient",
            "contribution",
        ),
    }
)
"""Facts without words of their own: others tell them, or the row's other columns do."""


def described(row: Row, about: About) -> Row:
    """Give a row its typed columns and the note that is made from them."""
    facts = {name: one.item() if isinstance(one, np.generic) else one for name, one in about.facts.items()}
    about = msgspec.structs.replace(about, facts=facts)
    columns = {name: getattr(about, name) for name in About.__struct_fields__}
    return msgspec.structs.replace(row, **columns, note=note_of(about))


def absent(reason: str, *, not_at_hand: bool = False) -> About:
    """Say why there is no value; `not_at_hand` where a file was left out that others have."""
    return About(verdict="absent", facts={"reason": reason} | ({"not_at_hand": True} if not_at_hand else {}))


def not_applicable(reason: str) -> About:
    """Say why a measure means nothing here."""
    return About(verdict="absent", facts={"reason": f"not applicable: {reason}", "not_applicable": True})


def note_of(about: About) -> str:
    """Put what is known of a value into one line."""
    unknown = about.facts.keys() - FIRST.keys() - REST.keys() - SILENT
    assert not unknown, f"facts without words: {', '.join(sorted(unknown))}"
    known = {name: getattr(about, name) for name in About.__struct_fields__} | about.facts
    if about.confidence is not None:
        known["percent"] = f"{100 * about.confidence:g}"
    parts = [
        str(about.facts.get("understated", "")),
        _VERDICTS.get(about.verdict, "").format_map(known),
        f"{about.facts.get('p_of', 'permutation')} p = {about.p_value:.3g}" if about.p_value is not None else "",
        *_told(FIRST, known),
        _PAIRS.get(about.pair, ""),
        _bound_words(about),
        *_privacy_words(about),
        *_told(REST, known),
        _INTERVALS.get(about.interval, "").format_map(known),
    ]
    return "; ".join(part for part in parts if part)


def _told(words: dict[str, _Words], known: dict[str, Any]) -> list[str]:
    found = [one for name, one in words.items() if name in known]
    return [one.format_map(known) if isinstance(one, str) else one(known) for one in found]


def _bound_words(about: About) -> str:
    if about.facts.get("bound") != "at least":
        return ""
    return "a lower bound (>=)" + (f" at {about.confidence:.0%} confidence" if about.confidence is not None else "")


def _contribution(about: About) -> Contribution:
    usual: Contribution = "client update" if about.privacy_unit == "user" else "example gradient"
    said = about.facts.get("contribution")
    return next((one for one in get_args(Contribution) if one == said), usual)


def _privacy_words(about: About) -> list[str]:
    facts = about.facts
    sampling = str(facts.get("samplings", ""))
    if not sampling and about.sampling and about.sampling != "several":
        sampling = sampling_words(
            about.sampling,
            contribution=_contribution(about),
            secret=bool(facts.get("secret_sampling", False)),
            most=int(facts.get("largest_participation", 0)),
        )
    return [
        f"delta={about.delta:g}" if about.delta is not None else "",
        f"unit: {about.privacy_unit}" if about.privacy_unit else "",
        f"relation: {about.relation}" if about.relation else "",
        f"sampling: {sampling}" if sampling else "",
        f"accountant: {about.accountant}" if about.accountant else "",
    ]
