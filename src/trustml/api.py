"""The Python API: run a scenario, load a run, get its table and its arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from trustml.errors import RecordError, TrustmlError, UsageError
from trustml.record.explained import finished, read_attributions, read_probes
from trustml.record.schema import Manifest
from trustml.record.store import RunDirectory, find_run
from trustml.scenario.spec import BackendName, Scenario

if TYPE_CHECKING:
    import pandas as pd

    from trustml.deployment.trained import TrainedModel
    from trustml.models.exported import Quantised
    from trustml.privacy.statement import PrivacyStatement
    from trustml.record.exports import Calibration, ExportRecord
    from trustml.record.notes import Notes
    from trustml.report.run_figures import RunFigures
    from trustml.report.score_changes import Answer

DEFAULT_ROOT = Path("runs")


class Run:
    """A run directory, read.

    Parameters
    ----------
    directory : RunDirectory

    Examples
    --------
    >>> run = trustml.load("latest")                                 # doctest: +SKIP
    >>> run.measures().query("measure == 'accuracy'")                # doctest: +SKIP
    >>> run.attributions("train.torch.Plain.s0", backend="jax")      # doctest: +SKIP
    """

    def __init__(self, directory: RunDirectory) -> None:
        if not isinstance(directory, RunDirectory):
            raise UsageError(f"directory: expected a RunDirectory, got {directory!r}; trustml.load takes a path")
        self._directory = directory

    @property
    def path(self) -> Path:
        """Directory of the run."""
        return self._directory.path

    @property
    def directory(self) -> RunDirectory:
        """Files of the run."""
        return self._directory

    @property
    def id(self) -> str:
        """Identifier of the run."""
        return self.manifest.run

    @property
    def manifest(self) -> Manifest:
        """The record: scenario, versions, hardware, how every job ended; also where the runner is gone."""
        manifest = self._directory.manifest()
        if self._directory.shown_status(manifest.status) == manifest.status:
            return manifest
        reason = "the run's own process is gone; `trustml run --resume` goes on"
        jobs = tuple(
            replace(job, status="interrupted", reason=reason) if job.status == "running" else job
            for job in manifest.jobs
        )
        return replace(manifest, status="interrupted", jobs=jobs)

    @property
    def status(self) -> str:
        """As :class:`trustml.record.schema.Manifest` says; ``interrupted`` also where the runner is gone."""
        return self._directory.shown_status(self._directory.head().status)

    def measures(self) -> pd.DataFrame:
        """Read the tidy table; the columns are those of :class:`trustml.measures.row.Row`."""
        from trustml.compare.table import read_measures

        return read_measures(self._directory)

    def privacy(self) -> list[PrivacyStatement]:
        """Read the privacy statement of each private model."""
        from trustml.compare.table import read_statements

        return read_statements(self._directory)

    def notes(self) -> Notes:
        """Tags and notes that people wrote of the run afterwards."""
        from trustml.record.notes import read_notes

        return read_notes(self._directory)

    def note(self, text: str = "", *, tags: Sequence[str] = (), remove_tags: Sequence[str] = ()) -> Notes:
        """Add a note or tags, in ``private/`` beside the record, and give all there are.

        Raises
        ------
        UsageError
            If a text or a tag may not be written so.
        """
        from trustml.record.notes import write_note

        return write_note(self._directory, text=text, add=tags, remove=remove_tags)

    def summary(self) -> tuple[Answer, ...]:
        """What the run answers, in three to five sentences, each with the measure it is made from."""
        from trustml.report.summary import summary

        return summary(self.manifest, self.measures(), self.privacy())

    def overview(self) -> pd.DataFrame:
        """What each regime costs in each framework, one row each, as the dashboard shows it: cells are texts.

        Numbers are those of :meth:`measures`.
        """
        from trustml.report.tables import overview_frame

        return overview_frame(self.manifest, self.measures()).map(str)

    @property
    def figures(self) -> RunFigures:
        """Charts of the run, such as ``run.figures.pareto()``; they need altair.

        Raises
        ------
        UsageError
            If altair is not installed.
        """
        from trustml.report.run_figures import RunFigures

        return RunFigures(self._directory)

    def __repr__(self) -> str:
        try:
            manifest = self.manifest
        except TrustmlError as error:
            return f"<Run {self.path.name}: cannot be read ({error})>"
        done = sum(record.status == "ok" for record in manifest.jobs)
        return f"<Run {manifest.run}: {manifest.status}, {done} of {len(manifest.jobs)} jobs ended well>"

    def _repr_html_(self) -> str:
        """For notebooks: what the run answers, in short."""
        from markupsafe import escape

        from trustml.report.notebook import run_html

        try:
            try:
                measured = (self.measures(), self.privacy())
            except RecordError:  # not measured yet; a manifest that cannot be read is told below
                return run_html(self.path, self.manifest, None, ())
            return run_html(self.path, self.manifest, *measured)
        except TrustmlError as error:
            return str(escape(f"{self.path.name}: {error}"))

    def attributions(
        self, model: str, *, backend: str, method: str | None = None, variant: str = "native"
    ) -> npt.NDArray[np.float32]:
        """Attributions of one model by one method of one backend's library.

        Parameters
        ----------
        model : str
            Train job, such as ``train.torch.Plain.s0``.
        backend : str
            Whose library explained it.
        method : str, optional
            Title of the method, such as ``IntegratedGradients`` or ``integrated_gradients``; needed where there
            are several.
        variant : str
            ``native`` as the library returns it, ``completed`` to the definition where that differs, or
            ``common`` for trustml's one formula over that framework's gradients (integrated gradients).

        Returns
        -------
        float32 array of shape (n, *x), or (n, *layer) for methods of a layer; in logits

        Raises
        ------
        UsageError
            If the run has no such explanation.
        """
        return read_attributions(self._directory, model, backend=backend, method=method, variant=variant)

    def probes(self, model: str, *, backend: str) -> dict[str, npt.NDArray[np.generic]]:
        """Read what was tried with the explanations of one model; arrays by ``<method>.<variant>.<quantity>``."""
        return read_probes(self._directory, model, backend=backend)

    def weights(self, model: str) -> dict[str, npt.NDArray[np.float32]]:
        """Trained weights of one model, canonical (:mod:`trustml.models.weights`)."""
        from trustml.models.weights import read_weights

        return read_weights(self._directory.file(f"jobs/{finished(self.manifest, model).id}/weights.safetensors"))

    def model(self, model: str, *, backend: BackendName | None = None, trust_code: bool = False) -> TrainedModel:
        """Build a trained model in this process, to be used, deployed or audited.

        Parameters
        ----------
        model : str
            Train job, such as ``train.torch.DPSGD.s0``.
        backend : str, optional
            Framework to build it in, whichever trained it; that one if left out.
        trust_code : bool
            Whether code that the run names is run here, where the model is a network of somebody's own
            (:func:`trustml.Native`).

        Raises
        ------
        UsageError
            If there is no such model.
        EnvironmentMissingError
            If the framework is not installed beside this interpreter.
        """
        from trustml.deployment.trained import trained_model

        return trained_model(self._directory, model, backend=backend, trust_code=trust_code)

    def export(
        self, model: str, *, to: str, quantised: Quantised = "", calibration: Calibration | Path = ""
    ) -> ExportRecord:
        """Write a trained model for deployment, and ask the file what the model that was audited was asked.

        Files lie in ``exports/`` of the run; :meth:`measures` then has the rows that say how far it agrees.

        Parameters
        ----------
        model : str
            Train job, of whichever framework.
        to : str
            ``pt2``, ``onnx``, ``onnx-web``, ``executorch``, ``stablehlo``, ``keras``, ``savedmodel``, ``tflite`` or
            ``tfjs``.
        quantised : {"", "dynamic", "int8"}
            8-bit whole numbers: nowhere, for weights, for weights and values.
        calibration : {"", "made", "explained"} or Path
            Whose values ``int8`` rounds by: random inputs, the examples that the run explains and so discloses, or
            ``inputs`` of a ``.npz`` of public ones.

        Raises
        ------
        UsageError
            If there is no such model or target, or the target has no such form of it.
        EnvironmentMissingError
            If what writes or runs it is not installed.
        """
        from trustml.deployment.export import export_model

        return export_model(self._directory, model, target=to, quantised=quantised, calibration=calibration)

    def predictions(self, model: str) -> dict[str, npt.NDArray[np.generic]]:
        """Outputs of one model on all held-out examples (``logits``), and their ``labels``."""
        record = finished(self.manifest, model)
        if record.kind != "train":
            raise UsageError(f"{model}: is no training; name one, such as train.torch.Plain.s0")
        found = self._directory.arrays(f"jobs/{record.id}/predictions.npz")
        return {"logits": found["test_logits"], "labels": self.heldout()["test_labels"]}

    def heldout(self) -> dict[str, npt.NDArray[np.generic]]:
        """Explained inputs (``inputs``), their labels (``targets``) and all held-out ``test_labels``."""
        from trustml.record.store import HELDOUT

        return self._directory.arrays(HELDOUT)


def run(
    scenario: str | Path | Scenario,
    *,
    out: str | Path = DEFAULT_ROOT,
    overrides: Sequence[str] = (),
    listener: Callable[[dict[str, Any]], None] | None = None,
    progress: bool | None = None,
    reuse: bool = False,
) -> Run:
    """Run a scenario to its end and measure it.

    Parameters
    ----------
    scenario : path, name of a ready scenario, or Scenario
    out : path
        Folder in which the run directory is made.
    overrides : sequence of str
        ``field.path=value``; several values of a regime's field, ``training.1.epsilon=1,3,8``, make a sweep.
    listener : callable, optional
        Gets every event as it happens.
    progress : bool, optional
        Whether progress is shown; where there is no listener, it is in a notebook and on a terminal.
    reuse : bool
        Whether plain jobs are taken over from runs of `out` in which the same was done, by the same code on the same
        machine, and offered to later ones. Their times are of there. Private models are always trained anew.

    Returns
    -------
    Run
        Whatever its status; a failed job does not raise.

    Raises
    ------
    UsageError
        If the scenario cannot work; nothing has run then.
    """
    from trustml.launch.prepare import prepare_run
    from trustml.scenario.read import overridden, read_scenario
    from trustml.scenario.ready import find_scenario

    if isinstance(scenario, Scenario):
        wanted = overridden(scenario, overrides)
    else:
        wanted = read_scenario(find_scenario(str(scenario)), overrides=overrides)
    directory = prepare_run(wanted, root=Path(out), overrides=overrides)
    with directory.lock() as lock:
        return _execute(directory, listener, progress, lock=lock, trust_code=True, reuse=reuse)


def resume(
    name: str | Path,
    *,
    root: str | Path = DEFAULT_ROOT,
    overrides: Sequence[str] = (),
    allow_overrun: bool = False,
    trust_code: bool = False,
    listener: Callable[[dict[str, Any]], None] | None = None,
    progress: bool | None = None,
    reuse: bool = False,
) -> Run:
    """Go on with a run: do only what is missing.

    Parameters
    ----------
    name : path or str
        As for :func:`load`.
    root : path
    overrides : sequence of str
        Other limits for what is missing: ``execution.timeout=7200``, ``execution.memory_limit`` or
        ``execution.parallel_jobs``.
    allow_overrun : bool
        Train a private model again although its budget is spent, and report the larger epsilon.
    trust_code : bool
        Whether code that the run names is run, where its model is a network of somebody's own.
    listener : callable, optional
    progress : bool, optional
    reuse : bool
        As for :func:`run`.
    """
    from trustml.launch.resume import prepare_resume

    directory = find_run(name, root=Path(root))
    with directory.lock() as lock:
        prepare_resume(directory, overrides=overrides, allow_overrun=allow_overrun, trust_code=trust_code)
        return _execute(directory, listener, progress, lock=lock, trust_code=trust_code, reuse=reuse)


def load(name: str | Path, *, root: str | Path = DEFAULT_ROOT) -> Run:
    """Load a run by path, by identifier below `root`, by its unambiguous beginning, or as ``latest``.

    Raises
    ------
    RunNotFoundError
    """
    return Run(find_run(name, root=Path(root)))


def _execute(
    directory: RunDirectory,
    listener: Callable[[dict[str, Any]], None] | None,
    progress: bool | None,
    *,
    lock: int,
    trust_code: bool,
    reuse: bool,
) -> Run:
    from trustml.compare.rows import write_measures
    from trustml.launch.schedule import JobScheduler
    from trustml.record.running import executing
    from trustml.report.progress import shown_progress

    with shown_progress(False if progress is None and listener is not None else progress) as show:

        def tell(event: dict[str, Any]) -> None:
            show(event)
            if listener is not None:
                listener(event)

        with executing(directory):
            scheduler = JobScheduler(directory, listener=tell, lock=lock, trust_code=trust_code, reuse=reuse)
            manifest = scheduler.execute()
            write_measures(directory)
            done = {"event": "done", "run": manifest.run, "path": str(directory.path), "status": manifest.status}
            directory.append_event(done)
        tell(done)
    return Run(directory)
