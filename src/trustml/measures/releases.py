"""What a run with a private model releases, kind by kind, and whether epsilon speaks of it."""

from __future__ import annotations

from collections.abc import Sequence

from trustml.measures.evidence import Evidence
from trustml.measures.sweeps import charged_candidates
from trustml.measures.wording import times_tell
from trustml.models.tasks import facts_of
from trustml.plan.job import TrainJob
from trustml.privacy.ledger import UNAMPLIFIED, Charge
from trustml.privacy.statement import Coverage, Release
from trustml.record.schema import tuned_runs
from trustml.record.starts import chosen_start, earlier_charges, seen_by_start, start_of, start_title, unpaid_rows
from trustml.scenario.baselines import Rows
from trustml.scenario.partition import NaturalKey
from trustml.scenario.regimes import DPSGD, PrivateRegime


def releases_of(
    evidence: Evidence, job: TrainJob, regime: PrivateRegime, charges: Sequence[Charge]
) -> tuple[Release, ...]:
    """List everything outside ``private/`` that follows from one private model or stands beside it."""
    return (
        *_of_the_model(evidence, job, regime),
        *_of_explanations(evidence, job),
        *_of_attacks(evidence),
        *_of_other_models(evidence, regime),
        *_of_the_scenario(evidence, regime),
        *_of_the_run(evidence, job, regime, charges),
    )


def not_covered(releases: Sequence[Release]) -> tuple[str, ...]:
    """List what no epsilon speaks of, and what must not be released."""
    return (
        "everything under private/: examples, batches, sizes and times of steps, what jobs printed, examples left out "
        "as not finite",
        *(f"{one.name}: {one.why}" for one in releases if one.coverage in ("disclosed", "not covered")),
    )


def _of_the_model(evidence: Evidence, job: TrainJob, regime: PrivateRegime) -> list[Release]:
    data = evidence.manifest.data
    labels, seen = facts_of(evidence.task).label_words, seen_by_start(evidence.manifest, regime)
    weights = "what the charged mechanism gives"
    if tuned_runs(evidence.manifest) is not None:
        weights += ", chosen among a random number of runs, which epsilon pays for"
    found = [
        Release(name="final weights", coverage="epsilon", why=weights),
        Release(
            name="predictions on held-out examples",
            coverage="epsilon",
            why=f"the final model's logits on {data.test_examples} held-out inputs, of which they may tell"
            + (f"; {seen} of these its start was trained on, so that scores on them are no test" * bool(seen)),
        ),
    ]
    if not isinstance(regime, DPSGD):
        why = f"held-out {facts_of(evidence.task).score_words} and loss of the noisy global model"
        found.append(Release(name="accuracy by round", coverage="epsilon", why=why))
    elif any("history.npz" in record.artifacts for record in evidence.manifest.jobs if record.id == job.id):
        why = f"held-out {facts_of(evidence.task).score_words} and loss of the noisy model after a few of its steps"
        found.append(Release(name="scores in training", coverage="epsilon", why=why))
    why = f"the {labels} of all {data.test_examples} held-out examples, as they are"
    found.append(Release(name="held-out labels", coverage="disclosed", why=why))
    if slices := evidence.manifest.scenario.get("slices"):
        why = f"{', '.join(slices)} of all {data.test_examples} held-out examples, as they are"
        found.append(Release(name="groups of held-out examples", coverage="disclosed", why=why))
    return found


def _of_explanations(evidence: Evidence, job: TrainJob) -> list[Release]:
    jobs = [explain for _, explain in evidence.explain_jobs]
    asked = evidence.manifest.scenario.get("explanations", {})
    if not asked.get("methods"):
        return []
    count = len(asked.get("rows") or ()) or asked.get("examples", 0)
    training, heldout = ([t for t in evidence.shown_rows[rows] if t != "probes"] for rows in ("training", "held-out"))
    tried: dict[Rows, bool] = {rows: bool(titles) for rows, titles in evidence.shown_rows.items()}
    why = f"{count} held-out inputs and their {facts_of(evidence.task).label_words}, as they are"
    found = [Release(name="explained inputs", coverage="disclosed", why=why)]
    titles = dict.fromkeys(m.title for one in jobs if one.subject == job.id for m in one.methods)
    about = f"of {', '.join(titles)}" if titles else "of other models alone"
    if training:
        why = f"{about}: no epsilon holds for them, as baselines of {', '.join(training)} are training rows"
        found.append(Release(name="attributions", coverage="not covered", why=why))
    elif heldout:
        why = f"{about}: baselines of {', '.join(heldout)} are held-out rows, which can be computed from them"
        found.append(Release(name="attributions", coverage="disclosed", why=why))
    else:
        why = f"{about}: functions of the final weights, the explained inputs and public baselines"
        found.append(Release(name="attributions", coverage="epsilon", why=why))
    if any(probes.faithfulness or probes.robustness or probes.randomisation for probes in (j.probes for j in jobs)):
        why = "what perturbed inputs and randomised weights gave: functions of the same, and of public random numbers"
        coverage: Coverage = "epsilon"
        if tried["training"]:
            coverage, why = "not covered", f"{why}; no epsilon holds for them, as baselines are training rows"
        elif tried["held-out"]:
            coverage, why = "disclosed", f"{why}, with held-out rows as baselines"
        found.append(Release(name="probes of explanations", coverage=coverage, why=why))
    return found


def _of_attacks(evidence: Evidence) -> list[Release]:
    attacks = evidence.manifest.scenario.get("attacks", {})
    tried = any(attacks.get(name) for name in ("membership", "extraction", "attributes", "property_inference"))
    if not tried and not any(
        record.kind in ("shadow", "canary", "reconstruction") for record in evidence.manifest.jobs
    ):
        return []
    why = (
        "ROC curves as counts, AUC, training accuracy, audited epsilon: they follow the training examples. Shadow "
        "models and trainings with canaries stay under private/"
    )
    return [Release(name="results of attacks", coverage="not covered", why=why)]


def _of_other_models(evidence: Evidence, regime: PrivateRegime) -> list[Release]:
    others = [record for record in evidence.manifest.jobs if record.kind == "train" and record.regime != regime.title]
    if not others:
        return []
    why = (
        "other models of this run on the same data; epsilon_all_releases composes the private ones that protect the "
        "same unit, and nothing here composes others"
    )
    return [Release(name="other models", coverage="not covered", why=why)]


def _of_the_scenario(evidence: Evidence, regime: PrivateRegime) -> list[Release]:
    found = []
    chosen = evidence.manifest.scenario.get("chosen_from_data")
    if chosen:
        why = f"{', '.join(chosen)} were read from the data; one row may have decided what they are"
        found.append(Release(name="choices of the scenario", coverage="not covered", why=why))
    if tuned_runs(evidence.manifest) is not None:
        why = (
            "held-out rows decide which of several runs is the one that is released; what it scores on them looks "
            "better than it is"
        )
        found.append(Release(name="settings chosen in a sweep", coverage="disclosed", why=why))
    if evidence.once(charged_candidates):
        why = "half of the held-out rows, by a public order, decides which setting of a swept regime is called its best"
        found.append(Release(name="settings chosen in a sweep", coverage="disclosed", why=why))
    if title := start_title(evidence.manifest, regime):
        before = earlier_charges(evidence.manifest, regime)
        why = f"those of {title}, from which training started; what they were made from is not accounted for"
        if before:
            why = f"those of {title}, from which training started; the epsilon above is of that training, too"
        paid, chosen = unpaid_rows(evidence.manifest, regime) == "none", chosen_start(evidence.manifest, regime)
        covered = bool(before) and paid and not chosen
        if before and not paid:
            why += ", but not of what that started from itself"
        if chosen:
            why += f"; {chosen} was chosen by how it scored on rows that are training rows here"
        found.append(Release(name="starting weights", coverage="epsilon" if covered else "not covered", why=why))
        if start_of(evidence.manifest, regime) is not None:
            why = (
                f"whether {title} saw rows of this data, and so what epsilon is composed with: an answer that follows "
                "from the rows, and tells of a person whose rows alone could be shared"
            )
            found.append(Release(name="rows shared with the start", coverage="not covered", why=why))
    return found


def _of_the_run(evidence: Evidence, job: TrainJob, regime: PrivateRegime, charges: Sequence[Charge]) -> list[Release]:
    steps = "steps" if isinstance(regime, DPSGD) else "rounds"
    follow = times_tell(regime, secret=charges[0].secret_sampling)
    found = [
        Release(name="ledger", coverage="public", why="declared numbers of the mechanism, a hash of secret batches"),
        Release(
            name="progress events",
            coverage="not covered",
            why=f"starts and ends of jobs in whole seconds, which tell totals and no single {steps}",
        ),
        Release(
            name="times and memory",
            coverage="not covered",
            why=f"totals, medians and quartiles over {steps}, peak memory, the way to compute that was fastest: they "
            f"follow {follow}; times of single {steps} are private",
        ),
        Release(
            name="fingerprint of the data",
            coverage="not covered",
            why="a SHA-256 of all examples, which confirms a complete guess of them",
        ),
        Release(
            name="sizes and names",
            coverage="not covered",
            why="numbers of examples, names of classes and of columns, as the data have them",
        ),
        Release(
            name="how jobs ended",
            coverage="not covered",
            why="whether training diverged or failed, in words of our own; what libraries printed is private",
        ),
    ]
    independent = charges[0].noise == "independent"  # of other noise it is a bound that everybody can work out
    if independent and charges[0].secret_sampling and charges[0].sampling not in UNAMPLIFIED:
        why = "the count behind epsilon_unamplified, over the secret batches"
        found.append(Release(name="largest participation", coverage="not covered", why=why))
    if not isinstance(regime, DPSGD):
        natural = isinstance(regime.partition, NaturalKey)
        dealt = "" if natural else ", which follow from all labels and a public seed"
        why = f"its fingerprint, the number of clients and of examples left out{dealt}"
        found.append(Release(name="partition of the clients", coverage="not covered", why=why))
        who = "held-out examples of the same clients, " if natural else ""
        why = f"{who}accuracy over clients and the share of what each holds"
        found.append(Release(name="measures of the clients", coverage="not covered", why=why))
    elif regime.unit == "example" and regime.key_columns:
        why = f"the most rows that one {' and '.join(regime.key_columns)} has, and the median, behind epsilon_of_group"
        found.append(Release(name="rows of users", coverage="not covered", why=why))
        if job.mechanism is not None and job.mechanism.users:
            why = "a fingerprint of whose each training example is"
            found.append(Release(name="partition of the clients", coverage="not covered", why=why))
    elif regime.unit == "user":
        why = "a fingerprint of whose each training example is, and the number of users"
        found.append(Release(name="partition of the clients", coverage="not covered", why=why))
    return found
