"""A model in another environment: its outputs and gradients through a worker process that stays while it is asked."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.backends.contract import LiveModel
from trustml.data.dataset import Floats, Ints
from trustml.errors import TrustmlError, UsageError
from trustml.frameworks.table import names_module
from trustml.launch.environments import find_environment
from trustml.launch.module_process import how_it_ended
from trustml.launch.process import clean_environment
from trustml.models.deployed_files import refuse_deployed_file
from trustml.plan.switches import switch_variables
from trustml.processes import module_command
from trustml.record.exports import digest_of
from trustml.record.files import encode_arrays, read_arrays
from trustml.scenario.spec import BackendName, Execution

_LOOK_SECONDS = 0.02


class FrameworkWorker:
    """A model in a backend's own environment; use it as a context, which ends the process and its whole group.

    Parameters
    ----------
    backend : str
    what : str
        ``module:attribute``, or a file or folder of a model.
    timeout : float
        Seconds for one answer, the start of the framework not counted.
    start_timeout : float
        Seconds for the start and the loading of the model.

    Raises
    ------
    EnvironmentMissingError
        If the environment is not installed.
    UsageError
        If the model cannot be loaded there.
    """

    def __init__(
        self, backend: BackendName, what: str, *, timeout: float = 300.0, start_timeout: float = 180.0
    ) -> None:
        self.file, self.file_digest = "", ""
        if not names_module(what):
            refuse_deployed_file(Path(what))  # here at once, and again by the worker that loads it
            self.file, self.file_digest = Path(what).name, digest_of(Path(what))
        environment = find_environment(backend)
        python = environment.require()
        self._timeout, self._count, self._seed = timeout, 0, -1
        self._folder = tempfile.TemporaryDirectory(prefix="trustml-audit-")
        self._path = Path(self._folder.name)
        command = module_command(
            python,
            "trustml.worker.model_adapters",
            backend,
            what,
            str(Path.cwd()),
            str(self._path),
            offline=bool(self.file),
        )
        with (self._path / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                command.arguments,
                pass_fds=command.inherited,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment() | switch_variables(Execution()) | environment.variables,
                start_new_session=True,
            )
        try:
            ready = self._await("ready.npz", start_timeout)
        except BaseException:
            self.close()
            raise
        self.gradients, self.shuffles = bool(ready["gradients"]), bool(ready["shuffles"])
        network = " without network" if ready["offline"] else ""
        self.kind = f"{backend} model {what.rsplit('/', 1)[-1]}, in its own environment{network}"

    def __enter__(self) -> FrameworkWorker:
        """Give the worker itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()

    @property
    def process_id(self) -> int:
        """Process id, which is also the id of its group."""
        return self._process.pid

    @property
    def folder(self) -> Path:
        """Where requests and answers are exchanged."""
        return self._path

    def close(self) -> None:
        """End the process and all that it started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self._process.wait()
        self._folder.cleanup()

    def outputs(self, inputs: npt.NDArray[Any]) -> Floats:
        """See :class:`trustml.backends.contract.LiveModel`."""
        return np.asarray(self._ask({"inputs": inputs}), np.float32)

    def input_gradients(self, inputs: Floats, columns: Ints) -> Floats:
        """See :class:`trustml.backends.contract.LiveModel`."""
        return np.asarray(self._ask({"inputs": inputs, "columns": columns}), np.float32)

    def digest(self) -> str:
        """See :class:`trustml.backends.contract.LiveModel`."""
        return self._ask({"digest": np.array(True)}).tobytes().hex()

    @contextmanager
    def randomised(self, seed: int) -> Iterator[LiveModel]:
        """See :class:`trustml.backends.contract.LiveModel`."""
        self._seed = seed
        try:
            yield self
        finally:
            self._seed = -1

    def library_attributions(
        self, inputs: Floats, columns: Ints, *, baseline: Floats, n_steps: int, rows: int = 256
    ) -> dict[str, Floats]:
        """None across the border of processes."""
        return {}

    def _ask(self, arrays: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        self._count += 1
        content = {**arrays, "seed": np.array(self._seed)}
        part = self._path / "request.part"
        part.write_bytes(encode_arrays(content))
        part.rename(self._path / f"request-{self._count}.npz")  # never seen half written; a crash may lose it
        found = self._await(f"answer-{self._count}.npz", self._timeout)
        if "problem" in found:
            raise TrustmlError(f"model: {found['problem']}")
        return found["outputs"]

    def _await(self, name: str, timeout: float) -> dict[str, npt.NDArray[Any]]:
        end, path, problem = time.monotonic() + timeout, self._path / name, self._path / "problem.txt"
        while time.monotonic() < end:
            if problem.is_file():
                raise UsageError(f"model: {problem.read_text(encoding='utf-8', errors='replace').strip()}")
            if path.is_file():
                found = read_arrays(path)
                path.unlink()
                return found
            code = self._process.poll()
            if code is not None:
                damaged = f"; {self.file} may be damaged: name another" if self.file and code < 0 else ""
                raise TrustmlError(f"model: its worker {how_it_ended(code, self._path / 'log.txt')}{damaged}")
            time.sleep(_LOOK_SECONDS)
        raise TrustmlError(f"model: its worker gave no answer in {timeout:g} s")
