"""Tries out explanations, right where the model is: what was tried is recorded, and judged later by measures.

Perturbations, randomised weights and orders of removal come from the core (:mod:`trustml.attribution`) and are the
same for every method and backend; only predictions and explanations come from the framework.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.attribution import infidelity, randomisation, removal, road, sensitivity
from trustml.attribution.asking import Doubles
from trustml.attribution.sharing import share_out
from trustml.attribution.similarity import spearman, spearman_of_magnitudes
from trustml.attribution.upsample import upsample
from trustml.backends.contract import Backend, ExplainRequest, Network
from trustml.catalogue.available import combine_of, is_contribution, is_signed, returns_layer, returns_map
from trustml.data.dataset import Floats, Ints
from trustml.data.streams import Stream, public_generator
from trustml.models.tasks import Classes
from trustml.models.weights import Weights, initial_weights
from trustml.plan.job import VARIANTS, ExplainJob
from trustml.record.array_names import array_name, arrays_below
from trustml.scenario.methods import Method, RandomControl
from trustml.worker.job_context import JobContext
from trustml.worker.predicting import predict
from trustml.worker.token_space import tables_looked_up

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]

_REMOVALS = 50
_REMOVED_SHARE = 0.2
_SMOOTHING = 0.1


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What all methods of a job are tried on.

    Attributes
    ----------
    backend : Backend
    network : Network
    inputs, baseline : float32 arrays of shape (n, *x)
    targets : int64 array of shape (n,)
        Outputs whose probability is looked at.
    outcome : Network
        Whose outputs are explained: that one, or one that gives probabilities or losses.
    columns : int64 array of shape (n,)
        Outputs of it that are explained.
    features : int64 array of shape (*x)
    few : int
        The first examples, on which the costly tests are made.
    """

    backend: Backend
    network: Network
    inputs: Floats
    baseline: Floats
    targets: Ints
    outcome: Network
    columns: Ints
    features: Ints
    few: int

    def predict(self, inputs: Floats) -> Floats:
        """Logits of the explained model."""
        return predict(self.network, inputs)


def probe(
    job: ExplainJob,
    backend: Backend,
    networks: tuple[Network, Network],
    requests: dict[str, ExplainRequest],
    arrays: Arrays,
    prepared: Arrays,
    *,
    at: JobContext,
) -> Arrays:
    """Try every explanation of the job; arrays by ``<method>.<variant>.<quantity>``.

    The first of both networks gives outputs of the model, the second what is explained of them.
    """
    probes = job.probes
    if not requests or not (probes.faithfulness or probes.robustness or probes.randomisation):
        return {}
    inputs = next(iter(requests.values())).inputs
    trial = Trial(
        backend=backend,
        network=networks[0],
        outcome=networks[1],
        columns=arrays.get("columns", arrays["targets"]).astype(np.int64),
        inputs=inputs,
        baseline=prepared["baseline"].astype(np.float32),
        targets=arrays["targets"].astype(np.int64),
        features=prepared["features"].astype(np.int64),
        few=min(probes.examples, len(inputs)),
    )
    shared = _Shared(job, trial)
    found: Arrays = {}
    for title, request in requests.items():
        if not judged(request.method):
            continue
        at.progress.stage(f"judging: {title}")
        for variant, attributions in arrays_below(arrays, title).items():
            if variant not in VARIANTS:
                continue
            by_input = by_pixel(request.method, attributions, inputs.shape)
            tried: Arrays = {}
            if probes.faithfulness:
                tried |= shared.faithfulness(request, by_input)
            if variant == "native" and probes.robustness:
                tried |= shared.robustness(request)
            if variant == "native" and probes.randomisation:
                tried |= shared.randomisation(request)
            found |= {array_name(title, variant, name): _as_stored(a) for name, a in tried.items()}
    return found


def _as_stored(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numbers as float32, and names of nodes as they are, but for those that are the node's place."""
    named = array.dtype.kind == "U" and not all(name.isdigit() for name in array)
    return array if named else array.astype(np.float32)


def judged(method: Method) -> bool:
    """Whether attributions can be laid over the input."""
    return returns_map(method) or not returns_layer(method)


def by_pixel(method: Method, attributions: Floats, shape: tuple[int, ...]) -> Floats:
    """Attributions in the shape of the inputs."""
    if not returns_map(method):
        return attributions
    height, width, channels = shape[1:]
    return upsample(attributions, shape=(height, width, channels))


class _Shared:
    """Perturbations and randomised weights, drawn once for all methods of a job."""

    def __init__(self, job: ExplainJob, trial: Trial) -> None:
        self._job, self._trial = job, trial
        self._probes = job.probes
        self._generator = public_generator(0, Stream.PROBES)
        inputs, few = trial.inputs, trial.few
        if job.probes.faithfulness:
            removed = infidelity.random_features(
                trial.features,
                share=_REMOVED_SHARE,
                examples=len(inputs),
                samples=_REMOVALS,
                generator=self._generator,
            )
            self._steps = infidelity.removal_steps(inputs, baseline=trial.baseline, removed=removed)
            self._changes = infidelity.logit_changes(
                lambda rows: predict(trial.outcome, rows), inputs=inputs, targets=trial.columns, steps=self._steps
            )
            # ROAD asks whether the answer is still the class: of one output, or of labels, there is no such question.
            asked = inputs.ndim == 4 and isinstance(job.task, Classes)
            self._noise = road.imputation_noise(inputs, generator=self._generator) if asked else None
        if job.probes.robustness:
            self._around = sensitivity.neighbours(
                inputs[:few],
                radius=job.probes.radius,
                samples=job.probes.n_perturbations,
                generator=self._generator,
            )
        if job.probes.randomisation:
            self._fresh = initial_weights(job.model, job.input_shape, generator=self._generator)
            self._smoothing = randomisation.smoothing_noise(
                inputs[:few],
                magnitude=_SMOOTHING,
                samples=job.probes.n_perturbations,
                generator=self._generator,
            )
            self._again = initial_weights(job.model, job.input_shape, generator=self._generator)

    def faithfulness(self, request: ExplainRequest, attributions: Floats) -> Arrays:
        """Curves, probabilities and infidelity from predictions alone."""
        t = self._trial
        against = self._job.quantity == "loss" and is_signed(request.method)  # what raises the loss is against
        ranked: dict[str, Any] = {
            "inputs": t.inputs,
            "targets": t.targets,
            "attributions": -attributions if against else attributions,
            "baseline": t.baseline,
            "features": t.features,
            "combine": combine_of(request.method),
            "task": request.model.task,
        }
        deleted = removal.deletion(t.predict, **ranked)
        inserted = removal.insertion(t.predict, **ranked)
        erased = removal.erase(t.predict, **ranked)
        tried: Arrays = {
            "fractions": deleted.fractions,
            "deletion": deleted.probabilities,
            "insertion": inserted.probabilities,
            "comprehensiveness": removal.comprehensiveness(erased),
            "sufficiency": removal.sufficiency(erased),
        }
        if is_signed(request.method):  # magnitudes foretell no change
            tried["infidelity"] = self._infidelity(request, attributions)
        if self._noise is not None:
            tried["road_morf"] = self._road(ranked["attributions"], "most_relevant_first", self._noise)
            tried["road_lerf"] = self._road(ranked["attributions"], "least_relevant_first", self._noise)
        return tried

    def robustness(self, request: ExplainRequest) -> Arrays:
        """Explanations of inputs nearby, against one made with the same number of rows: so with the same noise."""
        few = self._trial.few
        found = sensitivity.distances(
            lambda inputs: self._explain(request, request.model.weights, inputs),
            inputs=request.inputs[:few],
            around=self._around,
        )
        return {
            "max_sensitivity": sensitivity.max_sensitivity(found),
            "local_lipschitz": sensitivity.local_lipschitz(found),
        }

    def randomisation(self, request: ExplainRequest) -> Arrays:
        """Explanations of the same network with randomised weights."""
        few = self._trial.few
        # Tables are left out whose tokens were looked up before: the explanation does not depend on them any more.
        looked_up = {name: request.model.weights[name] for name in tables_looked_up(request.model)}
        inputs, weights = request.inputs[:few], _without(request.model.weights, looked_up)
        fresh, other = (_without(drawn, looked_up) for drawn in (self._fresh, self._again))

        def explain(weights: Weights, inputs: Floats) -> Floats:
            return self._explain(request, {name: (weights | looked_up)[name] for name in request.model.weights}, inputs)

        own = explain(weights, inputs)
        tried: Arrays = {}
        for order in ("cascading", "independent"):
            stages = randomisation.randomised_stages(weights, fresh=fresh, order=order)
            tested = randomisation.randomisation_test(
                explain, inputs=inputs, original=own, stages=stages, similarities=_SIMILARITIES
            )
            tried |= {f"mprt_{order}.{name}": array for name, array in tested.items()}
            tried["mprt_layers"] = np.array([stage.layer for stage in stages])
        smooth = randomisation.smoothed(explain, noise=self._smoothing)
        last = randomisation.randomised_stages(weights, fresh=fresh, order="cascading")[-1:]
        tested = randomisation.randomisation_test(
            smooth, inputs=inputs, original=smooth(weights, inputs), stages=last, similarities=_SIMILARITIES
        )
        tried |= {f"smprt.{name}": array for name, array in tested.items()}
        entropies = randomisation.efficient_test(explain, inputs=inputs, original=own, fresh=fresh)
        tried["emprt"] = randomisation.relative_rise(entropies)
        # One draw of weights is all examples': how far another would differ, an interval over them cannot tell.
        again = explain(other, inputs)
        tried |= {f"mprt_again.{name}": alike(own, again) for name, alike in _SIMILARITIES.items()}
        entropies = randomisation.efficient_test(lambda *_: again, inputs=inputs, original=own, fresh=other)
        tried["emprt_again"] = randomisation.relative_rise(entropies)
        return tried

    def _infidelity(self, request: ExplainRequest, attributions: Floats) -> Doubles:
        trial, method = self._trial, request.method
        if hasattr(method, "patch"):
            attributions = share_out(attributions, features=request.features, span=request.inputs - request.baseline)
        span = trial.inputs - trial.baseline if is_contribution(method) else None
        foretold = infidelity.products(attributions, steps=self._steps, span=span)
        return infidelity.unexplained_share(foretold, self._changes)

    def _road(self, attributions: Floats, order: road.Order, noise: Floats) -> npt.NDArray[np.bool_]:
        t = self._trial
        found = road.road(
            t.predict, inputs=t.inputs, labels=t.targets, attributions=attributions, order=order, noise=noise
        )
        return found.correct

    def _explain(self, request: ExplainRequest, weights: Weights, inputs: Floats) -> Floats:
        """Attributions of the first examples, or of inputs near them, in the shape of the inputs."""
        if isinstance(request.method, RandomControl):
            return _unrelated(inputs, weights)
        few = self._trial.few
        asked = replace(
            request,
            model=replace(request.model, weights=weights),
            inputs=inputs,
            targets=request.targets[:few],
            baseline=request.baseline[:few],
        )
        found = self._trial.backend.explain(asked)["native"]
        return by_pixel(request.method, found, inputs.shape)


def _without(weights: Weights, names: Iterable[str]) -> Weights:
    return {name: array for name, array in weights.items() if name not in set(names)}


_SIMILARITIES = {"signed": spearman, "magnitude": spearman_of_magnitudes}


def _unrelated(inputs: Floats, weights: Weights) -> Floats:
    """Random numbers that are others for every other input or model."""
    seed = zlib.crc32(np.ascontiguousarray(inputs).tobytes())
    for array in weights.values():
        seed = zlib.crc32(np.ascontiguousarray(array).tobytes(), seed)
    return np.random.default_rng(seed).standard_normal(inputs.shape, dtype=np.float32)
