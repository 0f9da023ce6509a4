"""Every file outside ``private/``, every part of it, and why it is a function of released things: the table.

A part is a field of JSON (``#`` stands for an item of a list), ``<event>: <field>`` of a line of events, an array of
``.npz`` or ``.safetensors``, or ``column <name>`` and ``measure <name>`` of the table of measures. What is no function
of released things is named in the privacy statement of every private model, under the name that stands here.
"""

from __future__ import annotations

import fnmatch
import functools
from dataclasses import dataclass
from typing import Literal, TypeAlias

from trustml.privacy.statement import ReleaseName

Reason: TypeAlias = Literal["declared", "machine", "model", "public random numbers", "other files", "named"]

REASONS: dict[Reason, str] = {
    "declared": "what the scenario asks for, and numbers that follow from it alone",
    "machine": "the machine, its packages and its clock, not the data",
    "model": "final weights with held-out inputs and public random numbers: epsilon covers it, and what it shows of "
    "held-out examples is disclosed. No epsilon covers a model trained without privacy, and the statement says so",
    "public random numbers": "streams, and who came to the rounds of a training, that follow from public seeds",
    "other files": "computed from other files that are released",
    "named": "follows the data, and the privacy statement names it",
}


@dataclass(frozen=True, kw_only=True)
class Known:
    """Parts of files, and why they may lie outside ``private/``.

    Attributes
    ----------
    files, parts : str
        Patterns of names; ``*`` stands for anything.
    reason : Reason
    named : ReleaseName or ""
        Under which name the statement lists it.
    plain_only : bool
        Whether it is there for jobs that promise no privacy alone.
    started : bool, optional
        Whether it holds of runs that start from weights of a file alone, or of all others; None where that is the same.
    """

    files: str
    parts: str
    reason: Reason
    named: ReleaseName | Literal[""] = ""
    plain_only: bool = False
    started: bool | None = None

    def fits(self, file: str, part: str, *, started: bool) -> bool:
        """Whether a part of a file is this."""
        return (
            self.started in (None, started)
            and fnmatch.fnmatchcase(file, self.files)
            and fnmatch.fnmatchcase(part, self.parts)
        )


@functools.cache
def why_released(file: str, part: str, *, started: bool = False) -> Known | None:
    """Find why a part of a file is released; None where nothing is known of it.

    Parameters
    ----------
    file, part : str
    started : bool
        Whether the run starts from weights of a file, which follow from no seed.
    """
    return next((known for known in RELEASED if known.fits(file, part, started=started)), None)


def _of(files: str, parts: str, reason: Reason, *, plain_only: bool = False) -> list[Known]:
    return [Known(files=files, parts=part, reason=reason, plain_only=plain_only) for part in parts.split()]


def _named(name: ReleaseName, files: str, parts: str) -> list[Known]:
    return [Known(files=files, parts=part, reason="named", named=name) for part in parts.split()]


def _results(files: str, before: str) -> list[Known]:
    """``result.json``, and the same within the manifest."""
    return [
        *_named("how jobs ended", files, f"{before}status {before}error {before}notes.#"),
        *_of(
            files,
            f"{before}versions.* {before}device {before}switches.* {before}library {before}engine "
            f"{before}engine.refused {before}engine.refused.* {before}details.compiled_before "
            f"{before}details.load_before {before}details.cores "
            f"{before}methods.#.seconds {before}methods.#.first_seconds",
            "machine",
        ),
        *_named(
            "times and memory",
            files,
            f"{before}seconds.* {before}details.largest_resident_bytes {before}details.compiled_anew "
            f"{before}details.resident_before_work_bytes {before}details.cpu_seconds {before}details.others_share "
            f"{before}details.load_after {before}details.throttled_share {before}details.throttled_seconds "
            f"{before}engine.name {before}engine.seconds {before}engine.seconds.*",
        ),
        *_of(files, f"{before}methods.# {before}methods.#.method {before}methods.#.library", "declared"),
        *_of(files, f"{before}methods.#.ok {before}methods.#.reason", "model"),
    ]


def _trainings(before: str) -> list[Known]:
    """What a job asks for that trains; `before` stands before the fields of a canary job's training."""
    files = "jobs/*/job.json"
    mechanism = (
        "noise_multiplier count_noise clipping_norm expected_batch_size sampling secret_sampling "
        "largest_participation total_steps start_step steps attempt steps_per_charge unit noise separation"
    )
    names = "id kind backend model.* task.* input_shape.# execution.* regime.* seed initial_weights data plan"
    return [
        *_of(files, " ".join(f"{before}{name}" for name in names.split()), "declared"),
        *_of(files, f"{before}clients {before}scores {before}mechanism {before}ablated", "declared"),
        *_of(files, " ".join(f"{before}mechanism.{name}" for name in mechanism.split()), "declared"),
        *_of(files, f"{before}ablated.regime.* {before}ablated.noise_multiplier", "declared"),
        *_named("sizes and names", files, f"{before}mechanism.examples {before}mechanism.sample_rate"),
        *_named("partition of the clients", files, f"{before}mechanism.users"),
        *_named("fingerprint of the data", files, f"{before}data_fingerprint"),
    ]


_MANIFEST = "manifest.json"
_LEDGER = "jobs/*/ledger.jsonl"
_INITIAL = "weights/initial.*.safetensors"
_EXPLAINED = "jobs/explain.*/attributions.npz"
_TRIED = (
    "fractions deletion insertion comprehensiveness sufficiency infidelity road_morf road_lerf max_sensitivity "
    "local_lipschitz mprt_cascading.signed mprt_cascading.magnitude mprt_independent.signed mprt_independent.magnitude "
    "mprt_layers smprt.signed smprt.magnitude emprt mprt_again.signed mprt_again.magnitude emprt_again"
)

RELEASED: tuple[Known, ...] = (
    *_of(".lock", "(empty)", "machine"),
    # The manifest.
    *_of(_MANIFEST, "format run scenario.* overrides.# skips.# skips.#.*", "declared"),
    *_of(_MANIFEST, "created hardware.* versions.* source source.* jobs.#.node jobs.#.node.*", "machine"),
    *_named("how jobs ended", _MANIFEST, "status jobs.#.status jobs.#.reason jobs.#.exit_code jobs.#.stderr_tail.#"),
    *_named("times and memory", _MANIFEST, "ended jobs.#.seconds jobs.#.peak_memory"),
    *_named("fingerprint of the data", _MANIFEST, "data.fingerprint jobs.#.digest"),
    *_named(
        "sizes and names",
        _MANIFEST,
        "warnings.# cohort_warnings.# "
        "data.train_examples data.test_examples data.input_shape.# data.class_names.# data.feature_names.# "
        "data.feature_groups.# data.notes.# data.preparation.learned_columns.# "
        "data.preparation.left_out_columns.#",
    ),
    *_of(
        _MANIFEST,
        "data.preparation.scaling data.preparation.categories data.preparation.classes data.preparation.code",
        "declared",
    ),
    *_of(_MANIFEST, "start start.run start.job start.earlier", "declared"),
    *_of(_MANIFEST, "start.weights", "other files"),
    *_named(  # what is kept of the earlier trainings tells by itself whether rows were found to be shared
        "rows shared with the start",
        _MANIFEST,
        "start.shared start.uncharged start.scored start.chosen start.held_out_seen start.tuned_runs "
        "start.chosen_among start.charges.# start.charges.#.* start.trainings.# start.trainings.#.*",
    ),
    *_of(_MANIFEST, "partitions.# partitions.#.regime partitions.#.seed", "declared"),
    *_named(
        "partition of the clients",
        _MANIFEST,
        "partitions.#.clients partitions.#.fingerprint partitions.#.left_out",
    ),
    *_of(
        _MANIFEST,
        "jobs.#.id jobs.#.backend jobs.#.kind jobs.#.regime jobs.#.seed jobs.#.attempt jobs.#.concurrent "
        "jobs.#.subject jobs.#.reused_from jobs.#.warm",
        "declared",
    ),
    *_of(_MANIFEST, "artifacts.* jobs.#.artifacts jobs.#.artifacts.*", "other files"),
    *_of(_MANIFEST, "jobs.#.result", "machine"),
    *_results(_MANIFEST, "jobs.#.result."),
    # Events: starts and ends, in whole seconds.
    *_of("events.jsonl", "run:* job-start:event job-start:job job-start:backend job-start:pid done:*", "machine"),
    *_named("progress events", "events.jsonl", "job-start:time job-end:time job-end:seconds job-end:event job-end:job"),
    *_named("how jobs ended", "events.jsonl", "job-end:status job-end:reason"),
    # What the measures and the statements are.
    *_of(
        "measures.parquet",
        "column:run column:job column:backend column:regime column:seed column:subject column:method column:measure "
        "column:value column:low column:high column:unit column:n column:note column:kind column:model column:verdict "
        "column:pair column:first column:second column:delta column:privacy_unit column:relation column:sampling "
        "column:accountant column:p_value column:confidence column:interval column:facts",
        "other files",  # what a value is, its measure says
    ),
    *_of("measures.parquet", "measure:accuracy measure:logit_relative_difference measure:held_out_loss", "model"),
    *_of("measures.parquet", "measure:r2 measure:rmse measure:mae measure:balanced_accuracy measure:roc_auc", "model"),
    *_of("measures.parquet", "measure:score_difference measure:tuned_score measure:tuned_score_difference", "model"),
    *_of("measures.parquet", "measure:perplexity", "model"),
    *_of("measures.parquet", "measure:slice_*", "model"),
    *_of("measures.parquet", "measure:pr_auc measure:log_loss measure:calibration_error measure:f1", "model"),
    *_of("measures.parquet", "measure:rounds_to_target measure:attribution_* measure:deletion_auc", "model"),
    *_of("measures.parquet", "measure:insertion_auc measure:comprehensiveness measure:sufficiency", "model"),
    *_of("measures.parquet", "measure:infidelity measure:road measure:max_sensitivity measure:local_*", "model"),
    *_of("measures.parquet", "measure:mprt_* measure:smooth_mprt_similarity measure:efficient_mprt", "model"),
    *_of("measures.parquet", "measure:explain_passes measure:mean_absolute_attribution", "model"),
    *_of("measures.parquet", "measure:explanation_* measure:change_of_* measure:accuracy_trend*", "model"),
    *_of("measures.parquet", "measure:explain_time", "machine"),
    *_of("measures.parquet", "measure:deployed_size measure:deployed_first_call measure:deployed_latency_*", "machine"),
    *_named("results of attacks", "measures.parquet", "measure:deployed_membership_*"),
    *_of("measures.parquet", "measure:deployed_*", "model"),
    *_of("measures.parquet", "measure:bytes_down measure:bytes_up", "public random numbers"),
    *_named("largest participation", "measures.parquet", "measure:epsilon_unamplified"),
    *_named("rows of users", "measures.parquet", "measure:epsilon_of_group"),
    *_named("results of attacks", "measures.parquet", "measure:epsilon_estimate"),
    *_of("measures.parquet", "measure:epsilon measure:epsilon_*", "other files"),
    *_named(
        "times and memory",
        "measures.parquet",
        "measure:step_time_median measure:step_time_first measure:examples_per_second measure:peak_memory "
        "measure:work_memory measure:round_ratio",
    ),
    *_named("measures of the clients", "measures.parquet", "measure:client_*"),
    *_named(
        "results of attacks",
        "measures.parquet",
        "measure:training_accuracy measure:membership_* measure:audited_epsilon "
        "measure:canary_exposure* measure:extraction_rate measure:attribute_inference_rate "
        "measure:reconstruction_* measure:model_inversion_likeness measure:property_inference_rate "
        "measure:attainable_at_claim measure:ceiling_all_correct measure:claimed_epsilon",
    ),
    *_named(
        "results of attacks",
        "curves.json",
        "#.subject #.attack #.false_positives.# #.true_positives.# #.distinct_false_positives.# "
        "#.distinct_true_positives.#",
    ),
    *_named(
        "largest participation",
        "privacy.json",
        "#.comparisons.#.value #.comparisons.#.note #.curve.unamplified.#",
    ),
    *_named("sizes and names", "privacy.json", "#.data_size #.sample_rate"),
    *_of(
        "privacy.json",
        "#.model #.epsilon #.delta #.unit_of_privacy #.neighboring_relation #.accountant #.mechanism #.clipping "
        "#.clipping_norm #.noise_multiplier #.sampling #.expected_batch_size #.steps #.attempts #.data_size_public "
        "#.released #.hyperparameter_tuning #.trust_setting #.source_of_noise #.comparisons.#.name "
        "#.comparisons.#.bound #.comparisons.#.relation #.comparisons.#.accountant #.assumptions.#.name "
        "#.assumptions.#.status #.assumptions.#.why #.not_covered.# #.releases.#.name #.releases.#.coverage "
        "#.releases.#.why #.curve #.curve.steps.# #.curve.poisson.# #.curve.shuffle_lower.# #.epsilon_at_least "
        "#.ledger #.understated #.understated.* #.comparisons.#.agrees "
        "#.drawn #.secret_sampling #.largest_participation #.accounted_by #.comparisons.#.drawn #.trained #.trained.* "
        "#.cyclic #.cyclic.* "
        "#.comparisons.#.secret_sampling #.comparisons.#.not_at_hand #.comparisons.#.own #.composed_with "
        "#.contribution #.comparisons.#.group",
        "other files",
    ),
    *_of("exports/*", "*", "model"),
    *_of("audit.json", "*", "other files"),
    *_of("audit.html", "*", "other files"),
    # Arrays.
    *_named("explained inputs", "heldout.npz", "inputs targets tokens"),
    *_named("held-out labels", "heldout.npz", "test_labels"),
    *_named("groups of held-out examples", "heldout.npz", "slice_codes slice_names"),
    Known(files=_INITIAL, parts="*", reason="public random numbers", started=False),
    Known(files=_INITIAL, parts="*", reason="named", named="starting weights", started=True),
    *_of("jobs/train.*/weights.safetensors", "*", "model"),
    *_of("jobs/train.*/predictions.npz", "test_logits", "model"),
    *_of("jobs/train.*/history.npz", "rounds steps accuracy r2 loss", "model"),
    *_of("jobs/train.*/timings.npz", "seconds cpu_seconds examples", "machine", plain_only=True),
    *_of(
        "jobs/train.*/rounds.npz",
        "participants asked update_norm clipping_norm left_out client_mean client_tenth client_worst client_best "
        "sent_up sent_down",
        "model",
        plain_only=True,
    ),
    *_of(
        _EXPLAINED, "logits targets outcomes columns *.native *.completed *.common *.baseline_logits *.tried", "model"
    ),
    *_of(_EXPLAINED, "*.total_native *.total_completed *.total_common", "model"),
    *_of(_EXPLAINED, "*.again", "model"),
    *_of(_EXPLAINED, "*.passes_native *.passes_completed *.passes_common", "model"),
    *_of("jobs/explain.*/probes.npz", " ".join(f"*.{name}" for name in _TRIED.split()), "model"),
    # Jobs and their ledgers.
    *_trainings(""),
    *_trainings("training."),
    *_of(
        "jobs/*/job.json", "subject weights examples baselines methods.#.* target quantity probes.* timing", "declared"
    ),
    *_of("jobs/*/job.json", "members output chosen canaries.* game.* clipping_norm delta", "declared"),
    *_results("jobs/*/result.json", ""),
    *_of(
        _LEDGER,
        "attempt first_step end_step noise_multiplier quantile_noise_multiplier clipping_norm batch_size sampling "
        "secret_sampling participation largest_participation unit relation noise noise_source coordinates",
        "declared",
    ),
    *_of(_LEDGER, "plan", "public random numbers"),  # the hash of secret entropy that follows no example
    *_named("sizes and names", _LEDGER, "examples sample_rate"),
    *_named("fingerprint of the data", _LEDGER, "data"),
    *_named("partition of the clients", _LEDGER, "users"),
)
