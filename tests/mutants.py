"""``python tests/mutants.py [WORD ...]``: does some test fail where the code is wrong?

Each mutant is a small mistake that once passed every test, or that a verdict or a guarantee hangs on. It is put into
a copy of the tree, and the named tests must fail there, after they have passed on the copy as it is. Words choose the
mutants whose name or file holds one of them. Ends with 1 if a mutant survives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("src", "apps", "tests", "scenarios", "benchmarks", "docs", "pyproject.toml")
ENVIRONMENTS = (".venv", ".venv-tensorflow")
PASSED, FAILED = 0, 1  # of pytest; anything else is neither


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One mistake.

    Attributes
    ----------
    name : str
    file : str
        Under ``src/trustml``.
    old, new : str
        `old` is there once.
    tests : tuple of str
        Files under ``tests``, of which one test at least must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _mutants(tests: str, *mistakes: tuple[str, str, str, str]) -> tuple[Mutant, ...]:
    """Mistakes that the same tests must find: (name, file, old, new)."""
    return tuple(
        Mutant(name=name, file=file, old=old, new=new, tests=tuple(tests.split())) for name, file, old, new in mistakes
    )


_EVENTS, _STATEMENT = "privacy/events.py", "privacy/statement.py"
_CLIENTS = "worker/private_clients.py"
_PRIVATE, _ASSUMPTIONS, _STARTED = "worker/private.py", "measures/assumptions.py", "measures/started_assumptions.py"
_RUN, _WORDING, _FIGURES = "auditing/run_audit.py", "auditing/run_wording.py", "auditing/checks_accounting.py"
_RESULT = "auditing/result.py"
_QUALITY, _TABLES, _ENTRY = "measures/quality.py", "report/tables.py", "measures/entry.py"
_NOTES, _FORMAT_2 = "measures/notes.py", "compare/format_2.py"
_QUALITY, _TABLES = "measures/quality.py", "report/tables.py"
_AUDIT, _STUDY = "report/audit/words.py", "report/study/tables.py"

_STRATEGY = "privacy/noise_strategy.py"
_SECURE, _AGREED = "privacy/secure_aggregation.py", "privacy/secure_settings.py"

_AUGMENTATION, _SERIES, _AUDIO, _MODULES = (
    f"data/{name}.py" for name in ("augmentation", "series", "audio", "module_worker")
)

MUTANTS = (
    *_mutants(
        "importing/test_carrying.py",
        (
            "a norm is folded into what a shortcut takes, too",
            "importing/folding.py",
            "isinstance(before.layer, _WEIGHTED) and graph.only_taker(before.name) is piece",
            "isinstance(before.layer, _WEIGHTED)",
        ),
        (
            "an import is proved by logits that differ",
            "importing/proof.py",
            "return self.largest_share <= 1",
            "return not self.largest_share > 10",
        ),
        (
            "a branch far out is carried",
            "importing/proof.py",
            "if not apart.max() <= allowed:",
            "if not apart.max() <= np.inf:",
        ),
        (
            "an output whose examples come last is carried",
            "importing/carrying.py",
            "if found.axes[0] != (examples,):",
            "if not found.axes:",
        ),
    ),
    *_mutants(
        "report/site/test_site.py",
        ("a report reads private files", "report/site/content.py", "if private else path", "if False else path"),
        (
            "a text in the data of a chart ends the script",
            "report/site/html.py",
            """text.replace("<", "\\\\u003c").replace""",
            "text.replace",
        ),
        ("rows that are left out are not told", "report/site/content.py", "if len(frame) > MOST_ROWS:", "if False:"),
    ),
    *_mutants(
        "measures/test_slices.py report/accuracy/test_frames.py",
        ("tiny groups decide the gap", "measures/slices.py", "members.sum() >= FEWEST", "members.sum() >= 0"),
        ("the gap before privacy is not taken off", "measures/slices.py", " - before(weights)", ""),
    ),
    *_mutants(
        "evidence/test_rows.py",
        (
            "a drawn end that no seed gives is well",
            "evidence/rows.py",
            '"not recomputed", unsure) if unsure',
            '"ok", unsure) if unsure',
        ),
        (
            "a drawn end may cross a limit",
            "evidence/rows.py",
            "limits = (0.0, SURVIVES.get(anew.measure, 0.0))",
            "limits = ()",
        ),
        ("drawn ends are not drawn again", "evidence/rows.py", "        anew = again\n", "        pass\n"),
    ),
    *_mutants(
        "evidence/test_mlflow.py",
        ("numbers of one name are sent as one", "evidence/mlflow_runs.py", 'taken.add(f"{key}{end}")', "pass"),
    ),
    *_mutants(
        "measures/test_sweeps.py",
        (
            "a setting is chosen on the rows on which it is judged",
            "measures/sweeps.py",
            "_best(evidence, group, backend, choosing)",
            "_best(evidence, group, backend, judging)",
        ),
        ("the weakest promise wins", "measures/sweeps.py", "if field in GUARANTEE)", "if field in ())"),
    ),
    *_mutants(
        "record/test_running.py",
        (
            "a process that has not the lock is ended",
            "record/running.py",
            "return any(os.path.samestat(os.stat(path), lock) for path in opened)",
            "return True",
        ),
        ("a number that was given out again is ended", "record/running.py", "> _SAME_START", "> 1e9"),
        (
            "measuring is broken off",
            "record/running.py",
            'if run.head().status == "running" and',
            "if",
        ),
    ),
    *_mutants(
        "launch/test_tune.py",
        ("the worst run is kept", "tuning.py", "> best[0]", "< best[0]"),
        ("an interrupted tuning keeps its best", "tuning.py", 'if found.status == "interrupted":', "if False:"),
    ),
    *_mutants(
        "data/test_augmentation.py",
        ("copies follow from the place in the batch", _AUGMENTATION, "copies)[rows]", "copies)[: len(rows)]"),
        ("one direction is never shifted", _AUGMENTATION, "for part in (0, 1)", "for part in (0, 0)"),
        ("a reflected border is of zeros", _AUGMENTATION, 'else "reflect"', 'else "constant"'),
    ),
    *_mutants(
        "worker/test_plain.py",
        (
            "copies of a plain training follow from the backend",
            "worker/plain.py",
            "entropy=(job.seed, ",
            "entropy=(len(job.backend), ",
        ),
        (
            "labels of copies in another order",
            "worker/plain.py",
            "np.repeat(np.arange(len(rows)), copies.shape[1])",
            "np.tile(np.arange(len(rows)), copies.shape[1])",
        ),
    ),
    *_mutants(
        "data/test_series.py",
        ("padding is what was there", _SERIES, "found[row, len(kept) :] = 0.0", "found[row, len(kept) :] = 1.0"),
        (
            "standard over all steps",
            _SERIES,
            "[series[row][:steps] for row in train]",
            "[series[row] for row in range(len(series))]",
        ),
        (
            "a gap of a series at its end is none",
            _SERIES,
            "return values[: known[-1] + 1] if len(known) else values[:0]",
            "return values",
        ),
    ),
    *_mutants(
        "data/test_audio.py",
        ("a filter of another height", _AUDIO, "(2 / (edges[2:] - edges[:-2]))", "(1 / (edges[2:] - edges[:-2]))"),
        ("bytes are around 127", _AUDIO, '"u1": (128.0, 128.0)', '"u1": (127.0, 128.0)'),
    ),
    *_mutants(
        "data/test_modules.py",
        ("another file's digest", _MODULES, "Path(file).read_bytes()", "Path(__file__).read_bytes()"),
    ),
    *_mutants(
        "data/test_arrow_folders.py",
        (
            "a state may name any file",
            "data/arrow_folders.py",
            "Path(name).name != name or not file.resolve().is_relative_to(path.resolve()) or ",
            "",
        ),
    ),
    *_mutants(
        "data/test_files_and_datasets.py",
        (
            "mapped arrays have no check sum",
            "data/files.py",
            "                require_check_sum(archive, member)\n",
            "",
        ),
    ),
    *_mutants(
        "privacy/test_secure_aggregation.py privacy/test_secure_settings.py privacy/test_secret_sharing.py",
        (
            "both secrets of survivors are revealed",
            _SECURE,
            "keys={other: share[SHARE_BYTES:] for other, share in self._shares.items() if other not in self._alive}",
            "keys={other: share[SHARE_BYTES:] for other, share in self._shares.items()}",
        ),
        ("no mask of one's own", _SECURE, "words = words + mask(self._seed, like=words)", "words = words + 0"),
        ("masks of a pair from one secret", _SECURE, "words if own < other else np.negative(words)", "words"),
        ("a client that is told to be gone tells", _SECURE, "if self.number not in alive:", "if not alive:"),
        ("clients told otherwise are believed", _SECURE, "if self._opened(other, text) != self._told():", "if False:"),
        ("a few confirmations are enough", _SECURE, "self._enough(len(confirmed) + 1)", "self._enough(2**40)"),
        (
            "half of the clients are enough",
            _AGREED,
            "self.clients < 2 * self.threshold",
            "self.clients <= 2 * self.threshold",
        ),
        ("rounded to the nearest", _AGREED, "np.trunc(", "np.rint("),
        ("a sum that wraps around", _AGREED, "// self.clients)", "// self.clients + 1)"),
        (
            "one coefficient too few",
            "privacy/secret_sharing.py",
            "range(threshold - 1)",
            "range(max(threshold - 2, 0))",
        ),
    ),
    *_mutants(
        "privacy/test_noise_strategy.py",
        ("covered nodes stay", _STRATEGY, "weights[0, 1 : 1 + level] = -1.0", "weights[0, 1 : 1 + level] = 0.0"),
        ("columns not scaled", _STRATEGY, "np.stack([scale * row, row])", "np.stack([row, row])"),
        ("columns of the end too short", _STRATEGY, "[: self.steps - step]", "[: max(1, self.steps - step - 1)]"),
        ("buffers not scaled", _STRATEGY, "row[None] / _blt_scale(self)", "row[None]"),
        (
            "buffers that do not decay",
            _STRATEGY,
            "kept[:, 1:] += np.diag(decays)",
            "kept[:, 1:] += np.eye(self.buffers)",
        ),
        ("noise without end", _STRATEGY, "if not 0 <= step < steps:", "if not 0 <= step:"),
        ("a wider band than the separation", _STRATEGY, "1 <= self.bands <= self.separation", "1 <= self.bands"),
    ),
    *_mutants(
        "worker/test_private.py",
        (
            "correlated noise of all steps again",
            "worker/private.py",
            "steps=mechanism.steps, sep",
            "steps=mechanism.total_steps, sep",
        ),
        ("batches out of turn", "worker/private.py", "and not self._comes_as_planned(plan)", "and not plan"),
        ("less charged than is used", "worker/private.py", "strategy.participation > ", "strategy.participation < -"),
    ),
    *_mutants(
        "backends/test_fourth.py",
        (
            "a worker is not shown the package of its backend",
            "frameworks/table.py",
            'return "" if folder.is_relative_to(Path(sys.prefix).resolve()) else str(folder)',
            'return ""',
        ),
        (
            "another package takes the name of a backend of ours",
            "frameworks/table.py",
            "if point.name in _OURS:",
            "if point.name in ():",
        ),
        (
            "cells of a backend from elsewhere are not asked for",
            "catalogue/available.py",
            "cell = entry_of(backend).methods.get(type(method).__name__, nobody)",
            "cell = nobody",
        ),
    ),
    *_mutants(
        "plan/test_client_mechanism.py worker/test_private_clients.py",
        ("an update replaced at half the sensitivity", _EVENTS, "c.noise_multiplier / 2", "c.noise_multiplier"),
        ("the client that came first is charged", "data/clients.py", "= counts.max(initial=0)", "= counts[:1].sum()"),
        ("a round is charged when it is over", _CLIENTS, "in (first, end)]", "in (first, end - 1)]"),
        ("clients' batches are of anybody", _CLIENTS, "!= held).any():", "!= held).all():"),
        ("progress by rounds", _CLIENTS, "charged_steps(self._regime, plan, number + 1)  #", "number + 1  #"),
    ),
    *_mutants(
        "worker/test_masked.py",
        (
            "half of the clients are enough for a masked sum",
            "worker/masked.py",
            "max(2, threshold)",
            "max(2, asked // 2)",
        ),
        ("masked sums are divided by who was asked", "worker/masked.py", "/ len(found.survivors)", "/ asked"),
        ("whoever drops out has sent its vector", "worker/masked.py", "_SHARED = 2 ", "_SHARED = 3 "),
        (
            "a masked round is held to what another one asked",
            "worker/federated.py",
            "plan.asked[np.diff(plan.rounds) > 0]",
            "plan.asked",
        ),
    ),
    *_mutants(
        "privacy/test_events.py",
        ("most noise first", _EVENTS, "sorted(shared_steps(told))", "sorted(shared_steps(told), reverse=True)"),
        ("participation off by one", _EVENTS, "used = min(left, count)", "used = min(left - 1, count)"),
        ("shared steps are not joined", _EVENTS, "totals[precision**-0.5] +=", "totals[precision**-1.0] +="),
    ),
    *_mutants(
        "data/test_plans.py",
        ("more groups than are charged pass", "data/batches.py", "and abs(found - mean) <= 8", "and found >= -8"),
    ),
    *_mutants(
        "plan/test_charged.py",
        ("an edited participation passes", "plan/charged.py", "if entry.participation != fewest or", "if"),
        ("shuffled batches may be charged for nothing", "plan/charged.py", '== "shuffle" or dealt', '== "" or dealt'),
    ),
    *_mutants(
        "privacy/test_amplified_band.py",
        (
            "a visit to a group not charged",
            _EVENTS,
            "count=max(charge.participation for charge in charges)",
            "count=max(charge.participation for charge in charges) - 1",
        ),
        (
            "amplified models are not joined",
            _EVENTS,
            "precision = math.fsum(charge.precision for charge in charges)",
            "precision = max(charge.precision for charge in charges)",
        ),
        (
            "several examples amplified under a band",
            "privacy/groups.py",
            "if size > 1 and any(charge.groups > 1 for charge in charges):",
            "if not charges:",
        ),
        (
            "one example not amplified under a band",
            "privacy/groups.py",
            "if size > 1 and any(charge.groups > 1",
            "if any(charge.groups > 0",
        ),
        ("mixed groups pass", "data/batches.py", "return once and bool((of_example", "return once or bool((of_example"),
        ("bands only grow", "plan/cycles.py", "if error >= least:", "if error < 0:"),
    ),
    *_mutants(
        "privacy/test_statement.py",
        ("an upper bound rounded down", _STATEMENT, "math.ceil(epsilon * scale - 1e-9)", "math.floor(epsilon * scale)"),
    ),
    *_mutants(
        "worker/test_private.py",
        (
            "adaptive clipping moves away from the quantile",
            _PRIVATE,
            "np.exp(-clipping.learning_rate",
            "np.exp(clipping.learning_rate",
        ),
        ("the count has no noise", _PRIVATE, "0.0, self._mechanism.count_noise", "0.0, 0.0"),
        ("one seed for all noise", _PRIVATE, "noise_seed=entropy_words()", "noise_seed=(1, 2, 3, 4)"),
        ("sensitivity of the count doubled", "plan/mechanism.py", "COUNT_SENSITIVITY = 0.5", "COUNT_SENSITIVITY = 1.0"),
    ),
    *_mutants(
        "models/test_tasks.py",
        (
            "errors in scaled units",
            "models/answers.py",
            "return low + (wide + 1) / 2 * (high - low)",
            "return wide",
        ),
        ("jobs of the default task have other digests", "models/tasks.py", "if name not in later or", "if True or"),
        (
            "the weight of the other class",
            "models/losses.py",
            "np.array(task.class_weights)[classes]",
            "np.array(task.class_weights)[::-1][classes]",
        ),
    ),
    *_mutants(
        "launch/places/test_ticket.py launch/places/test_placed.py",
        (
            "a worker that was given up charges",
            "privacy/ledger.py",
            "    require_wanted()\n    path.touch()",
            "    path.touch()",
        ),
        (
            "a file of a worker that is given up takes its place",
            "record/files.py",
            "            require_wanted()\n            os.replace",
            "            os.replace",
        ),
        (
            "a node is gone after six seconds",
            "launch/places/ticket.py",
            "(LOST_SECONDS + 3 * BEAT_SECONDS if",
            "(3 * BEAT_SECONDS if",
        ),
        ("an orphan trains", "launch/places/node.py", "while not launcher.grew:", "while False:"),
        (
            "what an engine took though it failed may train",
            "launch/places/placed.py",
            "                files.take_back(folder)\n            if",
            "                pass\n            if",
        ),
        ("nothing beats by itself", "launch/places/ticket.py", "if not self._beats:", "if False:"),
        (
            "a poll that fails says that the job is gone",
            "launch/places/placed.py",
            "self._gone, self._unasked = None, self._unasked or now",
            "self._gone, self._unasked = self._gone or now, self._unasked or now",
        ),
        (
            "reasons of our own are hidden",
            "launch/schedule.py",
            " and ended.exit_code is not None:",
            ":",
        ),
    ),
    *_mutants(
        "backends/test_tasks.py",
        (
            "labels of copies are cut up",
            "backends/torch/ranks.py",
            "np.repeat(labels, copies, axis=0)",
            "np.repeat(labels, copies)",
        ),
    ),
    *_mutants(
        "measures/test_performance.py",
        ("ties count whole", "measures/resampling.py", "axis=1) - misses / 2", "axis=1)"),
        ("the root is forgotten", "measures/accuracy.py", "np.sqrt(weights @ squares", "(weights @ squares"),
    ),
    *_mutants(
        "backends/jax/test_clipping.py",
        (
            "each layer may have the whole norm",
            "backends/jax/clipping.py",
            "each = clipping_norm / math.sqrt(len(squares))\n        scales = {name: mask",
            "each = clipping_norm\n        scales = {name: mask",
        ),
        (
            "each given layer may have the whole norm",
            "backends/jax/clipping.py",
            "each = clipping_norm / math.sqrt(len(squares))\n        scales = {name: _scale",
            "each = clipping_norm\n        scales = {name: _scale",
        ),
    ),
    *_mutants(
        "backends/jax/test_tokens.py",
        (
            "a token that comes again is another",
            "backends/jax/tokens.py",
            'jnp.einsum("nsf,nsw->nfw", at_first, gradient)',
            "gradient",
        ),
        ("a step without keys sees all", "backends/jax/tokens.py", "axis=-1) * there", "axis=-1)"),
    ),
    *_mutants(
        "backends/torch/test_tokens.py",
        (
            "a token that comes again is its last",
            "backends/torch/layer_gradients.py",
            ".scatter_add_(1, first[..., None]",
            ".scatter_(1, first[..., None]",
        ),
        ("a tied table has one use", "backends/torch/layer_gradients.py", " + lookup.written()]", "]"),
    ),
    *_mutants(
        "worker/test_token_space.py",
        (
            "a baseline has a padding of its own",
            "worker/token_space.py",
            "found[name] = vectors(array, inputs)",
            "found[name] = vectors(array, array)",
        ),
        ("contributions to a token are averaged", "worker/token_space.py", "if summed else", "if not summed else"),
    ),
    *_mutants(
        "backends/jax/test_recurrent.py",
        (
            "states are multiplied after their step",
            "backends/jax/recurrent.py",
            "jnp.concatenate([jnp.zeros_like(found[:, :1]), found[:, :-1]], axis=1)",
            "found",
        ),
    ),
    *_mutants(
        "backends/torch/test_recurrent.py",
        (
            "PyTorch's states are multiplied after their step",
            "backends/torch/recurrent.py",
            "functional.pad(states.detach()[:, :-1], (0, 0, 1, 0))",
            "states.detach()",
        ),
    ),
    *_mutants(
        "models/test_resizing.py",
        (
            "adaptive windows leave places out",
            "models/resizing.py",
            "-(-(window + 1) * length // size)",
            "(window + 1) * length // size",
        ),
    ),
    *_mutants(
        "launch/test_start_rests_on.py",
        (
            "what a start rests on is no matter",
            _STARTED,
            "return worse(ours if _is_worse(other, own) else own, theirs)",
            "return own",
        ),
        (
            "what an earlier record of a start does not tell is met",
            _STARTED,
            "theirs.get(name, None if training.assumptions else untold)",
            "theirs.get(name)",
        ),
        (
            "delta is held against the examples of the last training alone",
            _ASSUMPTIONS,
            "max(own, *(charge.examples for charge in before), 1)",
            "own",
        ),
    ),
    *_mutants(
        "launch/test_start_saw_rows.py",
        (
            "a held-out row that the start was trained on is a non-member",
            "measures/attacked_examples.py",
            '~evidence.run.arrays(SEEN)["seen"]',
            "True",
        ),
        (
            "a choice by rows that are trained on is no matter",
            _STARTED,
            'start is None or start.scored in (None, "none")',
            "True",
        ),
    ),
    *_mutants(
        "data/test_near_rows.py",
        (
            "rows that were rounded are other rows",
            "data/near_rows.py",
            "np.where(ours == theirs, ours / 2, np.maximum(ours, theirs) * (1 - 1e-4))",
            "0 * ours",
        ),
        (
            "whoever is near by chance is the same",
            "data/near_rows.py",
            "_SURELY * _by_chance(given[others], stored, apart)",
            "0",
        ),
    ),
    *_mutants(
        "measures/test_assumptions.py",
        (
            "training statistics are no matter",
            _ASSUMPTIONS,
            '"training statistics": ("not met"',
            '"training statistics": ("met"',
        ),
        (
            "categories of the data are no matter",
            _ASSUMPTIONS,
            '"of the data": ("not met"',
            '"of the data": ("met"',
        ),
        (
            "the best point decides",
            _ASSUMPTIONS,
            '("not met", "not checked", "met")\n',
            '("met", "not checked", "not met")\n',
        ),
        (
            "a library's batches are secret",
            _ASSUMPTIONS,
            'name=name, status="not checked", why=why)\n    if all(',
            'name=name, status="met", why=why)\n    if all(',
        ),
        (
            "a published seed counts twice",
            _ASSUMPTIONS,
            'status="met", why=why)\n\n\ndef _delta',
            'status="not met", why=why)\n\n\ndef _delta',
        ),
        (
            "bounded noise is no matter",
            _ASSUMPTIONS,
            'name=BOTH_TAILS, status="not met"',
            'name=BOTH_TAILS, status="met"',
        ),
    ),
    *_mutants(
        "measures/test_privacy.py",
        (
            "the smallest delta of all releases",
            "measures/privacy.py",
            "delta = max(statement.delta",
            "delta = min(statement.delta",
        ),
    ),
    *_mutants(
        "measures/test_row.py",
        (
            "a file that was left out is not told",
            "measures/privacy.py",
            "if other.not_at_hand else {}",
            "if False else {}",
        ),
        (
            "what is supposed is called what was done",
            "measures/privacy_statements.py",
            'supposed, note, drawn="poisson"',
            "supposed, note, drawn=drawn",
        ),
        ("a fact without words is passed over", _NOTES, "assert not unknown", "assert True"),
        ("the unit of the epsilon of all is lost", "measures/privacy.py", "privacy_unit=first.unit", 'privacy_unit=""'),
        (
            "a table of before has every job trained",
            "compare/table.py",
            'jobs[job].kind if job in jobs else ""',
            '"train"',
        ),
    ),
    *_mutants(
        "compare/test_indexed.py",
        (
            "the index keeps an epsilon that a ledger has left behind",
            "compare/indexed.py",
            "if job))",
            "if not job))",
        ),
        (
            "a table of which a ledger says more is taken as it lies",
            "compare/indexed.py",
            "if changed_ledgers(run, statements):",
            "if False:",
        ),
        ("a question may be several", "compare/indexed.py", "len(statements) != 1 or ", ""),
        (
            "a question may open files",
            "record/index.py",
            '"enable_external_access": False',
            '"enable_external_access": True',
        ),
    ),
    *_mutants(
        "record/test_index.py",
        ("an index that others write is believed", "record/index.py", "or facts.st_mode & 0o022:", "or False:"),
        ("an entry outlives the record it is of", "record/index.py", "entry[0] == now and", "entry[0] and"),
    ),
    *_mutants(
        "launch/test_finished.py",
        ("a private model is taken over", "launch/finished.py", "job.mechanism is not None or ", ""),
        ("an attacked model is taken over", "launch/finished.py", "unattacked(job) == job and ", ""),
        (
            "files that are not the job's are taken over",
            "launch/finished.py",
            "sha256(path) != artifacts[name]",
            "False",
        ),
        (
            "another starting model makes the same job",
            "launch/finished.py",
            "sha256(self._run.file(job.initial_weights)), ",
            "",
        ),
    ),
    *_mutants(
        "compare/test_format_2.py",
        (
            "an old violation is not refuted",
            _FORMAT_2,
            '"violated" if row.value > claim',
            '"violated" if row.value < claim',
        ),
        (
            "an old verdict on random numbers",
            _FORMAT_2,
            '"worse than random": rf"worse',
            '"worse than random": rf"better',
        ),
        ("an old pair of what may be two", _FORMAT_2, "or len(others) != 1", "or not others"),
        (
            "an old confidence as rounded",
            _FORMAT_2,
            'of is not None and f"{of.confidence:.0%}" == f"{percent}%"',
            "of is not None",
        ),
        ("an old p-value of another row", _FORMAT_2, 'parts[0] == f"permutation p = {p_value:.3g}"', "True"),
        ("an old epsilon without its unit", _FORMAT_2, "About(privacy_unit=unit, **", "About(**"),
        ("an old delta as rounded", _FORMAT_2, "same[0] if len(same) == 1 else", "same[0] if len(same) > 9 else"),
        ("an old reason is cut", _FORMAT_2, 'r"absent: (?P<reason>.+)"', 'r"absent: (?P<reason>[^;]+).*"'),
        ("any form within a note", _FORMAT_2, "re.fullmatch(pattern, text", "re.search(pattern, text"),
        (
            "notes of new tables are read",
            "compare/table.py",
            "    if not typed:\n        table = with",
            "    if True:\n        table = with",
        ),
        ("what was not read is not said", _TABLES, "return not (epsilons | pairs).any()", "return True"),
    ),
    *_mutants(
        "measures/test_quality.py",
        ("better is called worse", _QUALITY, 'verdict="better than random" if', 'verdict="worse than random" if'),
        ("worse is called better", _QUALITY, 'verdict="worse than random"', 'verdict="better than random"'),
        ("higher is worse", _QUALITY, '(1 if better == "higher" else -1)', '(-1 if better == "higher" else 1)'),
        ("no better is called better", _QUALITY, 'else "no better than random"', 'else "better than random"'),
        ("the words of better for worse", _NOTES, '"worse than random by {loss', '"better than random by {loss'),
        (
            "'=' is lost",
            "report/explanations/tables.py",
            '"no better than random": " ="',
            '"no better than random": ""',
        ),
        (
            "an interval end for the other",
            _QUALITY,
            '"loss_low": -high, "loss_high": -low',
            '"loss_low": -low, "loss_high": -high',
        ),
    ),
    *_mutants(
        "measures/test_table.py",
        ("upper bounds rounded down", _ENTRY, "return at_most(value, 2) if", "return at_least(value, 2) if"),
        ("lower bounds rounded up", _ENTRY, "else at_least(value, 2)", "else at_most(value, 2)"),
        (
            "an estimate is a proved bound",
            "measures/privacy_table.py",
            'kind="estimate",\n        words="epsilon by the PRV',
            'words="epsilon by the PRV',
        ),
    ),
    *_mutants(
        "report/test_tables.py",
        ("epsilon for users is not marked", _TABLES, '"user": " (user)"', '"user": ""'),
        (
            "the smallest epsilon over seeds",
            _TABLES,
            "value, unit = float(np.median([row.value for row in rows]))",
            "value, unit = float(np.min([row.value for row in rows]))",
        ),
        (
            "steps in seconds",
            _ENTRY,
            '"milliseconds": NumberForm(pattern="{:.2f}", factor=1e3',
            '"milliseconds": NumberForm(pattern="{:.2f}", factor=1.0',
        ),
        ("quartiles in seconds", _TABLES, 'f"{measure.text(low)}-', 'f"{low}-'),
        (
            "violations exchanged",
            "report/attacks/frames.py",
            '["audited_epsilon"] > values',
            '["audited_epsilon"] < values',
        ),
    ),
    *_mutants(
        "report/federated/test_frames.py",
        ("rounds in seconds", _ENTRY, "value * self.factor", "value"),
        (
            "the smallest epsilon for users",
            "report/federated/frames.py",
            "at_most(max(finite), 2)",
            "at_most(min(finite), 2)",
        ),
    ),
    *_mutants(
        "report/attacks/test_tables.py",
        ("a lower bound rounded up", "report/attacks/tables.py", 'row["audited"], at_least', 'row["audited"], at_most'),
        ("a claim rounded down", "report/attacks/tables.py", 'row["claim"], at_most', 'row["claim"], at_least'),
    ),
    *_mutants(
        "report/audit/test_words.py",
        ("a ceiling rounded down", _AUDIT, "digits(ceiling, rounding=ROUND_CEILING)", "digits(ceiling)"),
        ("a stated bound rounded down", _AUDIT, "Context(prec=6, rounding=ROUND_CEILING)", "Context(prec=6)"),
        ("a share rounded up", _AUDIT, "math.floor(100 * audited", "math.ceil(100 * audited"),
    ),
    *_mutants(
        "report/study/test_tables.py",
        ("sides of 0 exchanged", _STUDY, '"below": int((rows.high < 0)', '"below": int((rows.low > 0)'),
        ("the smallest epsilon of a study", _STUDY, "epsilon.max(skipna=False)", "epsilon.min(skipna=False)"),
        ("lower is better for all", _STUDY, 'lower = measure.better == "lower"', "lower = True"),
        ("intervals that hold together are as wide as one", _STUDY, "LEVEL / 2 / max(1, len(rows))", "LEVEL / 2"),
    ),
    *_mutants(
        "compare/test_contrast.py compare/test_parts.py",
        ("a trend over epsilons in no order", "compare/contrast.py", "means[orders]", "means[orders[:1]]"),
        ("a part that is left out is named", "compare/parts.py", '"noise" if keeps == "clipping"', '"noise" if keeps'),
        (
            "epsilons of other steps are one dose",
            "compare/parts.py",
            "same and first.differs_in_noise_alone(second)",
            "same",
        ),
    ),
    *_mutants(
        "launch/test_ablations.py",
        (
            "an ablation takes the secret batches",
            "launch/prepare.py",
            "sampling_seed=private.sampling_seed or 0",
            "sampling_seed=private.sampling_seed",
        ),
        (
            "an ablation without noise gets it",
            "plan/expand.py",
            'regime.ablation.keeps == "noise"',
            'regime.ablation.keeps != "clipping"',
        ),
    ),
    *_mutants(
        "backends/torch/test_ablated.py",
        (
            "an ablation clips all the same",
            "worker/ablated.py",
            'keeps == "clipping" else NEVER_BINDS',
            "keeps else 1.0",
        ),
    ),
    *_mutants(
        "report/test_figures.py",
        (
            "users have no panel",
            "report/figures.py",
            '"user": "with a guarantee for users",',
            "",
        ),
    ),
    *_mutants(
        "auditing/test_run_wording.py",
        ("no sampling is claimed", _RUN, "sampling=_claimed_sampling(charges)", 'sampling="unknown"'),
        ("replacing is claimed as zeroing out", _RUN, 'REPLACE: "replace-one"', 'REPLACE: "zero-out"'),
        (
            "what is released beside is passed over",
            _RUN,
            'NOTHING_ELSE and one.status == "not met"',
            'NOTHING_ELSE and one.status == "met"',
        ),
        (
            "no finite epsilon passes",
            _WORDING,
            'severity, title = "risk", f"{statement.model}: no finite',
            'severity, title = "pass", f"{statement.model}: no finite',
        ),
        (
            "a violation above twice the claim",
            _WORDING,
            "violated = audited.value > claimed.value",
            "violated = audited.value > 2 * claimed.value",
        ),
        ("a run's claim may be half too low", _RESULT, "_ROUNDING = 1e-3", "_ROUNDING = 0.5"),
        (
            "an attack is a risk from 0.6",
            _WORDING,
            "(least[name].value or 0.0) > 0.5",
            "(least[name].value or 0.0) > 0.6",
        ),
        ("an unmet assumption is passed over", _WORDING, 'if one.status == "not met"]', 'if one.status == "unmet"]'),
    ),
    *_mutants(
        "auditing/test_checks_accounting.py",
        ("a claim may be half too low", _RESULT, "_ROUNDING = 1e-3", "_ROUNDING = 0.5"),
        (
            "an upper bound in words rounded down",
            _FIGURES,
            "(at_most if up else at_least)",
            "(at_least if up else at_most)",
        ),
        (
            "in turn is as shuffled",
            "auditing/claimed_epsilon.py",
            'if sampling == "in turn":',
            'if sampling == "in order":',
        ),
    ),
    *_mutants(
        "auditing/test_claim.py",
        (
            "a claim in words rounded down",
            "auditing/claim.py",
            "epsilon = at_most(claim.epsilon, digits)",
            'epsilon = f"{claim.epsilon:.{digits}f}"',
        ),
        (
            "a small claim told much larger",
            "auditing/claim.py",
            "digits = max(digits, 3 - ",
            "digits = min(digits, 3 - ",
        ),
    ),
    *_mutants(
        "evidence/test_ledgers.py",
        (
            "a gap of one step in a ledger is passed over",
            "evidence/ledgers.py",
            "elif charge.first_step > step:",
            "elif charge.first_step > step + 1:",
        ),
        (
            "steps charged twice are passed over",
            "evidence/ledgers.py",
            "charge.attempt < attempt or charge.first_step < step:",
            "charge.attempt < attempt:",
        ),
    ),
    *_mutants(
        "evidence/test_verify.py",
        ("an edited figure is within tolerance", "evidence/checks.py", "_TOLERANCE = 1e-6", "_TOLERANCE = 1e-5"),
        (
            "an epsilon of a ledger is any",
            "evidence/ledgers.py",
            "_EPSILON_TOLERANCE = 1e-9",
            "_EPSILON_TOLERANCE = 0.5",
        ),
        (
            "what differs in a ledger is not told",
            "evidence/ledgers.py",
            "if ledger.problems:\n            checks.append(",
            "if not ledger.problems:\n            checks.append(",
        ),
        (
            "fields that no result has are passed over",
            "evidence/checks.py",
            "name in known and says_no_more(value, known[name])",
            "says_no_more(value, known.get(name, value))",
        ),
    ),
    *_mutants(
        "attribution/test_sharing.py",
        (
            "contributions are averaged",
            "attribution/sharing.py",
            'return sums if combine == "sum" else sums / sizes',
            "return sums / sizes",
        ),
        (
            "wholes are summed",
            "catalogue/available.py",
            'if entry.contribution and entry.needs != "forward" else',
            "if entry.contribution else",
        ),
    ),
    *_mutants(
        "attribution/test_similarity.py",
        (
            "ties count as discordant",
            "attribution/similarity.py",
            "- tied_other + tied_both - discordant",
            "- tied_other - discordant",
        ),
        (
            "one bit too few",
            "attribution/similarity.py",
            "range(int(ranks.max(initial=0)).bit_length())",
            "range(1, int(ranks.max(initial=0)).bit_length())",
        ),
    ),
    *_mutants(
        "attacks/test_lira.py",
        ("deviations exchanged", "attacks/lira.py", "centre_in, _deviation(sides[1], ", "centre_in, _deviation(out, "),
    ),
    *_mutants(
        "attacks/test_roc.py",
        (
            "members for non-members in DeLong's variance",
            "attacks/roc.py",
            "_weighted_variance(above_members, members) / true[-1]",
            "_weighted_variance(above_members, members) / false[-1]",
        ),
    ),
    *_mutants(
        "attacks/test_copies.py",
        (
            "copies are examples of their own",
            "attacks/roc.py",
            "return min(auc_lower_bound(one, confidence=confidence) for one in roc.curves)",
            "return max(auc_lower_bound(one, confidence=confidence) for one in roc.curves)",
        ),
        ("the surest curve decides", "attacks/tops.py", "return max(asked,", "return min(asked,"),
    ),
    *_mutants(
        "launch/test_damaged.py",
        (
            "charges may be lost",
            "launch/intact.py",
            "if mechanism.attempt > last + 1:",
            "if mechanism.attempt > last + 9:",
        ),
        ("progress is not looked at", "launch/intact.py", "if told.step > paid:", "if told.step > paid + 99:"),
        ("any job will do", "launch/intact.py", "if asked != record.digest:", "if not asked:"),
    ),
    *_mutants(
        "privacy/test_accounting.py",
        (
            "fixed batches have the whole noise",
            "privacy/accounting.py",
            "GaussianDpEvent(m.noise_multiplier / 2)",
            "GaussianDpEvent(m.noise_multiplier)",
        ),
    ),
)


def misfits(root: Path) -> list[str]:
    """Mutants that fit the code no more: what they change is not there once, or a test is gone."""
    found = []
    for mutant in MUTANTS:
        path = root / "src" / "trustml" / mutant.file
        times = path.read_text(encoding="utf-8").count(mutant.old) if path.is_file() else 0
        if times != 1:
            found.append(f"{mutant.name}: {mutant.old!r} is in {mutant.file} {times} times")
        found += [f"{mutant.name}: no tests/{test}" for test in mutant.tests if not (root / "tests" / test).is_file()]
    return found


class Copy:
    """A copy of the tree in which mistakes are made."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._changes = folder, 0
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        for name in ENVIRONMENTS:
            if (ROOT / name).exists():
                (folder / name).symlink_to((ROOT / name).resolve())

    def test(self, tests: tuple[str, ...]) -> tuple[int, str]:
        """Exit status of pytest, and the last line that it wrote."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        files = [f"tests/{test}" for test in tests]
        places = {"PYTHONPATH": self._folder / "src", "HYPOTHESIS_STORAGE_DIRECTORY": self._folder / "hypothesis"}
        done = subprocess.run(
            [*command, *files],
            cwd=self._folder,
            env={**os.environ, **{name: str(place) for name, place in places.items()}},
            capture_output=True,
            text=True,
            check=False,
        )
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return done.returncode, (failed or done.stdout.splitlines() or done.stderr.splitlines() or [""])[-1]

    def test_with(self, mutant: Mutant) -> tuple[int, str]:
        """What the mutant's tests say of its mistake, which is taken back."""
        path = self._folder / "src" / "trustml" / mutant.file
        text = path.read_text(encoding="utf-8")
        try:
            self._write(path, text.replace(mutant.old, mutant.new))
            return self.test(mutant.tests)
        finally:
            self._write(path, text)

    def _write(self, path: Path, text: str) -> None:
        """Write a file with a time of its own: bytecode of the same size and second would pass as current."""
        path.write_text(text, encoding="utf-8")
        self._changes += 1
        later = path.stat().st_mtime + 10 * self._changes
        os.utime(path, (later, later))


def main(words: list[str]) -> int:
    """Try every mutant that the words choose, and say which survive."""
    chosen = [one for one in MUTANTS if not words or any(word in f"{one.name} {one.file}" for word in words)]
    bad = misfits(ROOT)
    with tempfile.TemporaryDirectory(prefix="trustml-mutants-") as folder:
        copy = Copy(Path(folder))
        broken = set()
        for tests in dict.fromkeys(one.tests for one in chosen):
            status, line = copy.test(tests)
            if status != PASSED:
                broken.add(tests)
                bad.append(f"without any mistake tests/{' tests/'.join(tests)} fail: {line}")
        for mutant in chosen:
            if mutant.tests in broken or any(line.startswith(f"{mutant.name}: ") for line in bad):
                continue
            status, line = copy.test_with(mutant)
            said = {PASSED: "SURVIVED", FAILED: "killed"}.get(status, "no answer")
            print(f"{said:9s} {mutant.name} ({mutant.file}): {line}", flush=True)
            bad += [] if status == FAILED else [f"{mutant.name}: {said}"]
    print(f"{len(chosen)} mutants", *bad, sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
