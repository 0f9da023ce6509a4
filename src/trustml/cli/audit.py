"""``trustml audit``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

import click

from trustml.cli.audit_options import batch_size_of, claim_of, claim_options, endpoint_of, endpoint_options
from trustml.cli.main import FAILED, INTERRUPTED, OK, USAGE
from trustml.cli.output import console, data_stream, file_option, json_option, root_option
from trustml.errors import printable

if TYPE_CHECKING:
    from trustml.auditing.claim import Claim
    from trustml.auditing.result import Severity
    from trustml.audits import Audit
    from trustml.measures.deployed import HeldAgainst
    from trustml.record.store import RunDirectory

_STYLES = {"violation": "bold red", "risk": "red", "note": "yellow", "pass": "green", "not checked": "dim"}
_Tell: TypeAlias = Callable[[str, int, int], None]
_path = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Arguments that serve every kind of model."""

    train: Path | None
    holdout: Path | None
    of: str | None
    checks: tuple[str, ...]
    references: int | None
    outputs: Literal["auto", "probabilities", "logits", "values"]
    confidence: float
    seed: int
    explain_memory: int
    explain_seconds: float


@click.command("audit", short_help="Audit a model, an endpoint or a run: what it leaks, and what of its claims holds.")
@click.argument("target")
@click.option("--train", type=_path, help="Examples it was trained on: .npz with `inputs` and `labels`, or .csv.")
@click.option("--holdout", type=_path, help="Examples of the same source that it was not trained on.")
@claim_options
@endpoint_options
@click.option("--of", "of", metavar="RUN:JOB", help="Model of a run that a FILE is said to be; it is held against it.")
@click.option("--checks", multiple=True, metavar="NAME", help="Only these checks; repeated, or with commas between.")
@click.option("--references", type=click.IntRange(0, 10_000), help="Reference models, for scikit-learn estimators.")
@click.option(
    "--outputs", type=click.Choice(["auto", "probabilities", "logits", "values"]), default="auto", show_default=True
)
@click.option("--confidence", type=float, default=0.99, show_default=True, help="Of bounds and intervals.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything that is drawn.")
@click.option(
    "--explain-memory",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="MiB for explaining, about.",
)
@click.option("--explain-seconds", type=float, default=600.0, show_default=True, help="Time for explanations.")
@click.option("--report", type=_path, help="Write the report, one HTML file.")
@click.option("--model-card", type=_path, help="Write a model card in Markdown.")
@click.option("--ml-bom", type=_path, help="Write a bill of materials, CycloneDX in JSON.")
@click.option("--fail-on", type=click.Choice(["violation", "risk", "note"]), help="Exit 1 for such findings or graver.")
@root_option
@json_option
@file_option
@click.pass_context
def command(
    context: click.Context,
    target: str,
    train: Path | None,
    holdout: Path | None,
    of: str | None,
    checks: tuple[str, ...],
    references: int | None,
    outputs: Literal["auto", "probabilities", "logits", "values"],
    confidence: float,
    seed: int,
    explain_memory: int,
    explain_seconds: float,
    report: Path | None,
    model_card: Path | None,
    ml_bom: Path | None,
    fail_on: Severity | None,
    root: Path,
    as_json: bool,
    file: Path | None,
) -> int:
    """Audit TARGET and print what was found.

    TARGET is a run (path, identifier, `latest`), which gets audit.json and audit.html; MODULE:ATTRIBUTE, found from
    this folder; the same with tensorflow= before it, in the tensorflow environment; a FILE .pt2, .onnx, .pte,
    .stablehlo, .keras or .tflite or the folder of a SavedModel or of TensorFlow.js, opened in a process of its
    framework; an http(s) address; or `claim`, for the figures of a claim without any model.

    Exit code 1 where --fail-on is met; 2 where the input cannot work, or the model did not answer: what was found
    without it is printed all the same. With --json: the audit by its published schema.
    """
    asked = _Asked(
        train=train,
        holdout=holdout,
        of=of,
        checks=tuple(name.strip() for part in checks for name in part.split(",")),
        references=references,
        outputs=outputs,
        confidence=confidence,
        seed=seed,
        explain_memory=explain_memory << 20,
        explain_seconds=explain_seconds,
    )
    with _progress(sys.stderr) as tell:
        audit = _audited(context, target, asked, root=root, tell=tell)
    for path, write in ((report, audit.report), (model_card, audit.model_card), (ml_bom, audit.ml_bom)):
        if path is not None:
            write(path)
            click.echo(f"wrote {path}", err=True)
    with data_stream(file) as stream:
        if as_json:
            stream.write(audit.to_json())
        else:
            _print(audit, stream)
    for finding in audit.findings:
        if finding.id == "data.predictions" and finding.severity == "not checked":
            click.echo(f"Error: {printable(finding.reason)}", err=True)
            return USAGE
    if "interrupted" in audit.record.settings:
        return INTERRUPTED
    return FAILED if fail_on is not None and audit.fails_on(fail_on) else OK


def _audited(context: click.Context, target: str, asked: _Asked, *, root: Path, tell: _Tell) -> Audit:
    from trustml import api, audits
    from trustml.auditing.request import refuse_unknown_checks
    from trustml.errors import UsageError

    claim, train = claim_of(context), _examples(asked.train)
    holdout = _examples(asked.holdout, beside=asked.train)
    held = None
    if asked.checks:
        refuse_unknown_checks(asked.checks)  # before a file is asked, which takes long
    if asked.of:
        run, job = _model_of(asked.of, root=root)
        held = _held_against(target, run, job)
        claim = claim or _claim_of_model(run, held)
        if train is None and holdout is None:
            train, holdout = _examples_of_run(run, held)
    if target == "claim" and claim is None:
        raise click.UsageError("name the claim: --claim-epsilon, --claim-delta, --noise-multiplier and so on")
    with ExitStack() as stack:
        model = None if target == "claim" else _model(context, target, root=root, stack=stack)
        if isinstance(model, api.Run) and (claim or train or holdout):
            raise UsageError(
                f"{target}: is a run, which knows its data and claims; leave out --train, --holdout and the claim"
            )
        audit = audits.audit(
            model,
            train=train,
            holdout=holdout,
            claim=claim,
            checks=asked.checks or (("accounting",) if train is None else None),
            against=held,
            references=asked.references,
            outputs=asked.outputs,
            confidence=asked.confidence,
            seed=asked.seed,
            name=model.shown if isinstance(model, audits.Endpoint) else target,  # an address may hold a secret
            explain_memory=asked.explain_memory,
            explain_seconds=asked.explain_seconds,
            batch_size=batch_size_of(context),
            listener=tell,
        )
        if isinstance(model, api.Run):
            _keep(audit, model.path)
        return audit


def _model_of(of: str, *, root: Path) -> tuple[RunDirectory, str]:
    """Read RUN:JOB."""
    from trustml.errors import UsageError
    from trustml.record.store import find_run

    run, _, job = of.rpartition(":")
    if not run:
        raise UsageError(f"--of: {of!r} is not RUN:JOB; write for example latest:train.torch.DPSGD.s0")
    return find_run(run, root=root), job


def _held_against(target: str, run: RunDirectory, job: str) -> HeldAgainst:
    """Hold a file against the model of a run."""
    from trustml.deployment.against import hold_against
    from trustml.errors import UsageError
    from trustml.frameworks.table import file_backend, names_module
    from trustml.models.deployed_files import ENDINGS

    if names_module(target) or not file_backend(target):
        raise UsageError(
            f"{target}: is no exported file by its name, and --of holds only such against the model of a run; name one "
            f"of {', '.join(ENDINGS)}, or the folder of a SavedModel or of TensorFlow.js"
        )
    return hold_against(Path(target), run, job, tell=lambda line: click.echo(line, err=True))


def _claim_of_model(run: RunDirectory, held: HeldAgainst) -> Claim | None:
    """What the run claims of the model: rounding and moving it are post-processing, so it must hold of the file."""
    from trustml.auditing.run_audit import claim_of_model

    statement = held.expected.privacy
    return None if statement is None else claim_of_model(run, run.manifest(), statement)


def _examples_of_run(run: RunDirectory, held: HeldAgainst) -> tuple[Any, Any]:
    """Examples of the run, where whoever asks holds its data."""
    from trustml.deployment.against import examples_of

    return examples_of(run, layout=held.expected.layout) or (None, None)


def _keep(audit: Audit, folder: Path) -> None:
    """Leave the audit of a run in its directory, where `trustml bundle` finds it.

    A run may come from anywhere, and what lies there under these names may be links: they are replaced, not followed.
    """
    from trustml.record.files import write_atomic
    from trustml.record.store import AUDIT, AUDIT_REPORT
    from trustml.report.audit.html import audit_html

    try:
        write_atomic(folder / AUDIT, audit.to_json().encode())
        write_atomic(folder / AUDIT_REPORT, audit_html(audit.record).encode())
    except OSError as error:
        why = f"{folder} cannot be written to ({error.strerror})"
        click.echo(f"not written: {why}; --report and --json -o keep the audit elsewhere", err=True)
        return
    click.echo(f"written: {folder / AUDIT} and {AUDIT_REPORT}", err=True)


def _model(context: click.Context, target: str, *, root: Path, stack: ExitStack) -> Any:
    """Model that TARGET names, or a run."""
    if target.startswith(("http://", "https://")):
        return endpoint_of(context, target)
    from trustml import api
    from trustml.auditing.model_files import refuse_model_file
    from trustml.errors import UsageError
    from trustml.frameworks.table import file_backend, names_module

    backend, what = _elsewhere(target)
    if backend or names_module(target):
        if backend and file_backend(what) != backend and not names_module(what):
            refuse_model_file(Path(what))
            raise UsageError(f"{what}: is neither module:attribute nor a model file of {backend}; name one of them")
        return loaded_by_name(target, stack=stack)
    refuse_model_file(Path(target))
    return api.load(target, root=root)


def loaded_by_name(target: str, *, stack: ExitStack) -> Any:
    """Load ``module:attribute``, here or in a backend's own environment, or a file of a model.

    Raises
    ------
    UsageError
        If it is none of them, or cannot be loaded.
    """
    from trustml.errors import UsageError
    from trustml.frameworks.table import file_backend, names_module

    backend, what = _elsewhere(target)
    if backend and (file_backend(what) == backend or names_module(what)):
        from trustml.auditing.framework_worker import FrameworkWorker

        return stack.enter_context(FrameworkWorker(backend, what))
    if names_module(target):
        return _loaded(target)
    raise UsageError(f"{target}: names no module:attribute and no model file; audit the model itself")


def _elsewhere(target: str) -> tuple[str, str]:
    """Give the backend in whose own environment TARGET must be loaded, if any, and the target without its name."""
    from trustml.frameworks.shipped import SHIPPED
    from trustml.frameworks.table import file_backend

    for entry in SHIPPED:
        what = target.removeprefix(f"{entry.name}=")
        if (entry.lock and what != target) or (what == target and file_backend(target) == entry.name):
            return entry.name, what
    return "", target


def _loaded(target: str) -> Any:
    """Load ``module:attribute``; a function without parameters makes the model."""
    from trustml.errors import UsageError

    module, _, attribute = target.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
        if inspect.isfunction(found) and not inspect.signature(found).parameters:
            found = found()
    except Exception as error:  # whatever somebody's module does
        lines = str(error).strip().splitlines() or ["no message"]
        raise UsageError(f"{target}: cannot be loaded ({type(error).__name__}: {lines[0]})") from None
    finally:
        sys.path.remove(str(Path.cwd()))
    return found


def _examples(path: Path | None, *, beside: Path | None = None) -> tuple[Any, Any] | None:
    from trustml.auditing.tables import examples_of_csv
    from trustml.errors import DataError
    from trustml.record.files import read_arrays

    if path is None:
        return None
    if not path.is_file():
        raise DataError(f"{path}: no such file; write it by numpy.savez(path, inputs=..., labels=...)")
    if path.suffix.lower() == ".csv":
        tables = beside is not None and beside.suffix.lower() == ".csv"
        return examples_of_csv(path, beside=beside if tables else None)
    arrays = read_arrays(path)
    labels = arrays.pop("labels", None)
    if labels is not None and "input_ids" in arrays and "inputs" not in arrays:
        return arrays, labels  # with its attention mask, and whatever else a tokenizer gave
    if labels is None or "inputs" not in arrays:
        raise DataError(f"{path}: holds {', '.join(sorted(arrays)) or 'nothing'}; it needs `inputs` and `labels`")
    if masks := [name for name in arrays if "mask" in name]:
        raise DataError(f"{path}: holds {masks[0]} beside inputs; call the inputs input_ids, and both are given")
    if others := sorted(set(arrays) - {"inputs"}):
        raise DataError(
            f"{path}: holds {', '.join(others)} beside inputs, of which a model would be given nothing; leave out what "
            "is no input, or call the inputs input_ids, and all are given by their names"
        )
    return arrays["inputs"], labels


def _print(audit: Audit, stream: IO[str]) -> None:
    from rich.text import Text

    from trustml.report.documents import titled_table

    out = console(stream)
    table = titled_table(audit.record.title, "severity", "finding", "conclusion")
    table.columns[0].no_wrap = True
    for finding in audit.findings:
        about = f" [{finding.subject}]" if len(audit.record.models) > 1 and finding.subject not in finding.title else ""
        table.add_row(Text(finding.severity, style=_STYLES[finding.severity]), finding.id, finding.title + about)
    out.print(table)
    verdict = "passed" if audit.passed else "not passed"
    out.print(f"{verdict}; worst finding: {audit.worst}", soft_wrap=True)


@contextmanager
def _progress(stream: IO[str]) -> Iterator[_Tell]:
    """Show what is being done: a bar for each part on a terminal, a line elsewhere."""
    if not stream.isatty():
        seen: set[str] = set()

        def line(what: str, done: int, of: int) -> None:
            if what not in seen:
                seen.add(what)
                print(f"{what} ...", file=stream, flush=True)

        yield line
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from trustml.cli.terminal import PlainConsole

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=PlainConsole(stream)) as progress:
        tasks: dict[str, Any] = {}

        def bar(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=of)
            progress.update(tasks[what], completed=done, total=of)

        yield bar
