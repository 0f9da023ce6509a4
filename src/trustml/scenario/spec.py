"""A scenario: data, model, training regimes, explainers and backends, as one frozen value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec

from trustml.frameworks.table import SHIPPED_NAMES
from trustml.models.layers import Architecture
from trustml.models.tasks import DEFAULT_TASK, Quantity, Task
from trustml.ranges import AT_LEAST_ONE, Count, CountOrNone, MeanRuns, NotNegative, Positive
from trustml.scenario.attacks import Attacks
from trustml.scenario.baselines import Baseline, Disclosed, Rows, rows_shown
from trustml.scenario.groups import Groups
from trustml.scenario.methods import IntegratedGradients, Method, background_of, baseline_of
from trustml.scenario.places import Local, Place, PlacedKind, Resources
from trustml.scenario.regimes import Regime
from trustml.scenario.sources import DataSource
from trustml.scenario.sweep import Swept, SweptValue

BackendName: TypeAlias = Annotated[str, msgspec.Meta(examples=list(SHIPPED_NAMES))]
"""A name of :mod:`trustml.frameworks.table`; a JSON schema offers those that come with trustml."""
GradSampleMode: TypeAlias = Literal["auto", "hooks", "functorch", "ew", "ghost", "book_keeping"]
BACKEND_NAMES: tuple[BackendName, ...] = SHIPPED_NAMES
"""Those that come with trustml, and are asked where a scenario names none."""


class Probes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is tried with every explanation, to judge it. A random control is judged beside the methods.

    Parameters
    ----------
    faithfulness : bool
        Deletion, insertion, sufficiency, comprehensiveness, infidelity, and ROAD for images: predictions alone.
    robustness : bool
        Max-sensitivity and local Lipschitz estimate: every method explains perturbed inputs again.
    randomisation : bool
        Sanity checks: every method explains the model again with randomised weights, layer by layer.
    examples : int
        The first of the explained examples on which robustness and randomisation are tried.
    n_perturbations : int
        Perturbed inputs an example, for robustness, infidelity and the smoothed randomisation test.
    radius : float
        Half-width of the box of perturbed inputs for robustness, in units of the input.
    baseline : Baseline
        What removed features are replaced by.
    patch : int
        Pixels of a square patch that is removed at once, for images; steps of a window, for sequences.
    """

    faithfulness: bool = True
    robustness: bool = False
    randomisation: bool = False
    examples: Count = 16
    n_perturbations: Count = 10
    radius: Positive = 0.02
    baseline: Baseline = 0.0
    patch: Count = 1


class Explanations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is explained, how, and by whom.

    Parameters
    ----------
    methods : tuple of Method
    examples : int
        Number of held-out examples, the first of the test split.
    rows : tuple of int
        Numbers of chosen held-out examples, from 0, instead of the first ones.
    scope : {"own", "reference", "all"}
        ``"own"``: every model by the library of its own backend. ``"reference"``: that, and the reference
        model by every library. ``"all"``: every model by every library.
    target : {"true", "predicted"} or int
        Class whose logit is explained: the true one, the one the explained model predicts, or a given one. With
        several labels a given one, or the one that the model finds likeliest, of those that hold (``"true"``) or of
        all. A model of one output has that one.
    quantity : {"logit", "probability", "loss"}
        What of that class or label is explained: the output as it is, the probability that it stands for, or the loss
        of an example that has that label, without class weights. Regression has the output alone, and several labels
        have no loss of one of them.
    probes : Probes
    timing : bool
        Whether every method is called a second time, to tell its time without compiling. Without it explain jobs
        reuse what others compiled, which makes runs of many models several times faster in JAX.
    discloses : tuple of {"held-out rows", "training rows"}
        In a run with a private regime, whose rows may serve as baselines and backgrounds, from which they can be read
        by whoever has the attributions: none, unless named here. ``"held-out rows"`` are then listed as disclosed;
        with ``"training rows"`` no epsilon holds for what is released, and the statement says so.
    groups : tuple of tuples of str, GroupMap or Superpixels
        Features that are switched together by methods that replace features (ablation, permutation, Shapley values,
        KernelSHAP, LIME) and removed together by the tests of faithfulness: every feature's name once, a map of
        whole numbers for images and series, or segments of images. Squares of pixels and windows of steps are a
        method's `patch`.
    """

    methods: tuple[Method, ...] = (IntegratedGradients(),)
    examples: Count = 64
    scope: Literal["own", "reference", "all"] = "reference"
    target: Literal["true", "predicted"] | int = "true"
    quantity: Quantity = "logit"
    probes: Probes = Probes()
    timing: bool = True
    discloses: tuple[Disclosed, ...] = ()
    groups: Groups = ()
    rows: tuple[CountOrNone, ...] = ()

    def chosen(self, heldout: int) -> tuple[int, ...]:
        """Numbers of the examples that are explained, of so many held-out ones."""
        return self.rows or tuple(range(min(self.examples, heldout)))


def rows_of_explanations(methods: Sequence[Method], probes: Probes) -> dict[Rows, tuple[str, ...]]:
    """Give the titles of the methods that show each kind of rows; ``probes`` stands for the probes."""
    uses = [(method.title, use(method)) for method in methods for use in (baseline_of, background_of)]
    uses.append(("probes", probes.baseline))
    return {
        kind: tuple(dict.fromkeys(title for title, rows in uses if rows_shown(rows) == kind))
        for kind in ("public", "held-out", "training")
    }


class Execution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes the speed but not the question.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
    threads : int
        CPU threads of a worker; 0 means all cores.
    parallel_jobs : int
        Workers at a time. More than one disturbs the timings, and the record says so.
    timeout : float
        Seconds one job may take.
    memory_limit : float
        GiB one job, with its children, may hold; 0 means no limit.
    micro_batch_size : int
        Examples that private training takes through the network at once; 0 leaves it to the backend. It
        changes memory and speed, never privacy.
    grad_sample_mode : {"auto", "hooks", "functorch", "ew", "ghost", "book_keeping"}
        How PyTorch comes to the clipped sum: by Opacus's modes, or by ours (``"book_keeping"``) with Opacus's
        optimizer. ``"auto"`` measures those that are right for the model. ``"ghost"`` is refused, because a clipped
        gradient may be longer than the clipping norm; old records may name it.
    checkpoint_seconds : float
        Time between two checkpoints of a training; 0 writes one after every step.
    allocator : {"tuned", "default"}
        Whether workers keep memory that glibc would give back to the system after every step and ask for again.
    compilation_cache : {"off", "run", "user"}
        Who reuses JAX programs that were compiled before. ``"run"``: jobs of one run whose first call is no figure
        of the record. ``"user"``: all jobs of all runs of this user; times of first calls then say so.
    explanation_rows : int
        Rows that explanations take through a network at once: copies of inputs, points of paths, samples. 0 means as
        many as a quarter of a GiB holds of the network's values and their gradients, 512 at most. JAX goes by its
        cache, with eight rows at the least, or by fewer that are asked for.
    devices : int
        Devices of a node over which a private training is dealt out: each clips its part of a batch, the sums are
        added up, and noise comes once. 0 takes what the backend finds by itself: JAX all devices, PyTorch one. On a
        processor they are parts of it (JAX) or processes (PyTorch).
    warm_workers : bool
        Whether workers whose times are no figure of the record are forked from a process that has imported their
        framework, which spares seconds of each: explanations with ``timing=False`` of plain models that nobody attacks,
        on this machine (Linux). Their numbers are the same; the record says ``warm`` of them.
    place : Place
        Where jobs run: on this machine, by Slurm, in a Ray cluster, or by commands.
    resources : dict
        Kind of job (``train``, ``explain``, ``shadow``, ``canary``, ``game``) to what it asks the place for.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: CountOrNone = 0
    parallel_jobs: Count = 1
    timeout: Positive = 3600.0
    memory_limit: NotNegative = 0.0
    micro_batch_size: CountOrNone = 0
    grad_sample_mode: GradSampleMode = "auto"
    checkpoint_seconds: NotNegative = 30.0
    allocator: Literal["tuned", "default"] = "tuned"
    compilation_cache: Literal["off", "run", "user"] = "run"
    explanation_rows: CountOrNone = 0
    devices: CountOrNone = 0
    warm_workers: bool = True
    place: Place = Local()
    resources: dict[PlacedKind, Resources] = {}


class Tuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Says that the scenario is one of several runs of which only the best is released.

    Parameters
    ----------
    mean_runs : float
        Mean of the Poisson distribution from which the number of runs was drawn before the first one, 1 to 1000.
    tried : dict
        Field of the regime to the values of which each run drew one, where :func:`trustml.tune` drew them.
    """

    mean_runs: MeanRuns
    tried: dict[str, tuple[SweptValue, ...]] = {}


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question put to every framework.

    Parameters
    ----------
    name : str
        Letters, digits, ``-`` and ``_``; run identifiers begin with it.
    data : DataSource
    model : Architecture
        In a file also the name of a file of ``trustml import``; `start` is that file then, unless it says otherwise.
    task : Task
        What the model is asked: its loss, its outputs, and what is measured of it.
    training : tuple of Regime
    explanations : Explanations
    attacks : Attacks
    backends : tuple of str
        Some of ``torch``, ``jax``, ``tensorflow``, or one that a package adds; the first is the reference.
    seeds : tuple of int
        Every regime is trained once per seed; initial weights and public batches follow from it.
    execution : Execution
    tuning : Tuning, optional
        Where hyperparameters are chosen by comparing private runs; the statement then says what that costs.
    slices : tuple of str
        Columns of the data by whose values accuracy on held-out examples is told apart, such as ``sex``: its
        interval in each group, and how far groups are apart before and after privacy. Each is named in ``data.keys``
        too. Groups of held-out examples are then disclosed.
    description : str
    chosen_from_data : tuple of str
        Fields of this scenario whose values somebody read from the data that is to be protected, by hand or by
        ``trustml init``: ``data.drop``, ``training``. No epsilon covers such a choice, and every statement says so.
    start : str
        File of ``trustml import`` whose weights every training starts from, or a model of an earlier run as
        ``RUN:JOB``, such as ``runs/features-20261130-1200-abcd:train.torch.Plain.s0``; without it they are drawn from
        the seed. Where an earlier private training used rows of this data, both are charged for; else no epsilon covers
        what the weights tell of the data that they were made from, and every statement says so.
    sweep : tuple of Swept
        Which regimes differ in what alone, so that they are shown as a curve; overrides with several values make it.
        Who chooses among private ones by what the run measures releases all of them, and every statement says so.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    data: DataSource
    model: Architecture
    task: Task = DEFAULT_TASK
    training: Annotated[tuple[Regime, ...], AT_LEAST_ONE]
    explanations: Explanations = Explanations()
    attacks: Attacks = Attacks()
    backends: Annotated[tuple[BackendName, ...], AT_LEAST_ONE] = BACKEND_NAMES
    seeds: Annotated[tuple[CountOrNone, ...], AT_LEAST_ONE] = (0,)
    execution: Execution = Execution()
    tuning: Tuning | None = None
    slices: tuple[str, ...] = ()
    description: str = ""
    chosen_from_data: tuple[str, ...] = ()
    start: str = ""
    sweep: tuple[Swept, ...] = ()
