"""Which explanations of a run are meant, and by whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trustml.attribution.sharing import Combine
from trustml.catalogue.available import combine_of
from trustml.errors import UsageError
from trustml.frameworks.implementation import CONTROL_LIBRARY
from trustml.plan.job import ExplainJob
from trustml.record.explained import explained_model, methods_done, variants_of
from trustml.record.schema import JobRecord, MethodRecord
from trustml.record.store import RunDirectory
from trustml.scenario.methods import same_method

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PanelRequest:
    """What to show; None means all, and for `method` the only one.

    Attributes
    ----------
    method, model, backend : str, optional
    example : int
    """

    method: str | None
    example: int
    model: str | None
    backend: str | None


@dataclass(frozen=True, kw_only=True)
class Attributed:
    """What one library, or one formula of ours, gave for all examples.

    Attributes
    ----------
    library : str
        With the variant, such as ``tf-explain (completed)``.
    variant : str
    values : float32 array of shape (n, *x), or (n, *layer)
    in_logits : bool
        Whether it can share a scale with the others.
    combine : {"sum", "mean"}
        How the attributions of the values of a feature make one.
    """

    library: str
    variant: str
    values: Floats
    in_logits: bool
    combine: Combine


def methods_of(run: RunDirectory) -> list[str]:
    """Titles of the methods that explained anything in this run, the random control left out."""
    titles = [
        done.method
        for record in run.manifest().jobs
        for done in methods_done(record)
        if done.library != CONTROL_LIBRARY
    ]
    return list(dict.fromkeys(titles))


def explained_by(run: RunDirectory, wanted: PanelRequest) -> list[tuple[JobRecord, MethodRecord]]:
    """Explain jobs that did the method, as far as they are wanted; one at the least.

    Raises
    ------
    UsageError
    """
    manifest, title = run.manifest(), method_title(run, wanted.method)
    found = [
        (record, done)
        for record in manifest.jobs
        for done in methods_done(record)
        if done.method == title
        and wanted.backend in (None, record.backend)
        and wanted.model in (None, explained_model(run, record))
    ]
    if not found:
        models = sorted({explained_model(run, r) for r in manifest.jobs if r.kind == "explain"})
        raise UsageError(
            f"{manifest.run}: {title} explained no such model there; models are {', '.join(models)}, "
            f"backends {', '.join(manifest.scenario['backends'])}"
        )
    return found


def method_title(run: RunDirectory, wanted: str | None) -> str:
    """Give the title of the method that is meant; the only one where none is named.

    Raises
    ------
    UsageError
    """
    titles = methods_of(run)
    if not titles:
        raise UsageError(f"{run.path.name}: explained no model; add explanations.methods to the scenario")
    if wanted is None:
        if len(titles) == 1:
            return titles[0]
        raise UsageError(f"--method: {run.path.name} has {len(titles)}; name one of {', '.join(titles)}")
    for title in titles:
        if same_method(title, wanted):
            return title
    raise UsageError(f"--method: {run.path.name} has no {wanted!r}; choose among {', '.join(titles)}")


def combine_in(run: RunDirectory, record: JobRecord, title: str) -> Combine:
    """How the values of a feature make one, by the method of that title."""
    job = run.job(record.id)
    assert isinstance(job, ExplainJob)
    return next(combine_of(method) for method in job.methods if method.title == title)


def attributed(run: RunDirectory, record: JobRecord, done: MethodRecord) -> list[Attributed]:
    """Every variant of one method's attributions by one job."""
    found = variants_of(run, record, done.method)
    names = {
        "native": done.library,
        "completed": f"{done.library} (completed)",
        "common": f"common ({record.backend})",
    }
    return [
        Attributed(
            library=names[variant],
            variant=variant,
            values=array,
            in_logits=variant != "native" or "completed" not in found,
            combine=combine_in(run, record, done.method),
        )
        for variant, array in found.items()
    ]
