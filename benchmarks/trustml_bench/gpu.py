"""What private, explained and federated training cost on an accelerator, and how far that is from its ceilings.

The engines are those of `trustml bench`, on a device. Measured first: float32 matrix products (TF32 off; TF32 and
bfloat16 beside it) and memory bandwidth. Then every kind of work for every engine at every size, the frameworks in
processes of their own, one for each network and kind, sizes ascending. A unit of work is timed from a synchronised
device to a synchronised device: the first call apart, then the median of at least seven with quartiles. *Of the
product ceiling* is the work's useful operations (those of the same work without privacy: forward passes times three for
training, times two for input gradients) a second, divided by the measured rate; *of the bandwidth ceiling* the same
with the bytes that an unfused program moves, so that more than 1 says that caches or fusion saved some; *of the
roofline* the larger of the two times over the measured time.

Engines called ``trustml`` start from numpy arrays on the host, as its workers do; others find their data on the device.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trustml.processes import module_command
from trustml.record.provenance import package_versions
from trustml_bench.arithmetic import count
from trustml_bench.catalogue import ENGINES
from trustml_bench.engine import DEVICE, Engine, Unit, device
from trustml_bench.engines.shadow_models import EPOCHS
from trustml_bench.process import PACKAGE
from trustml_bench.serve import find_maker, high_water
from trustml_bench.workloads import IG_STEPS, Workload, WorkloadKind

PACKAGES = ("torch", "opacus", "captum", "jax", "jaxlib", "jax-cuda12-plugin", "jax-privacy", "numpy", "pfl")
ONE_AFTER_ANOTHER = ("torch_shadows:eager", "torch_shadows:with_loader")
"""Engines for processors: they leave a device idle for minutes."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything."""

    batches: tuple[int, ...] = (1024, 4096, 16384, 65536)
    second_batches: tuple[int, ...] = (64, 256, 1024)
    images: tuple[int, ...] = (1024, 4096)
    clients: tuple[int, ...] = (100, 1000)
    examples: int = 64
    batch_size: int = 32
    models: tuple[int, ...] = (64, 256)
    shadow_examples: int = 1024
    networks: tuple[str, ...] = ("mlp", "cnn", "shadow_mlp")
    second: tuple[str, ...] = ("resnet18", "transformer")
    side: int = 8192
    stream: int = 2**28
    repeats: int = 7
    seconds: float = 2.0


SMALL = Scale(
    batches=(32,), second_batches=(4,), images=(2,), clients=(2,), examples=8, batch_size=4, models=(2,),
    shadow_examples=16, networks=("small_mlp", "small_cnn", "shadow_mlp"), second=("small_resnet", "small_transformer"),
    side=256, stream=2**20, repeats=3, seconds=0.0,
)  # fmt: skip


def parts(scale: Scale, *, second: bool) -> Iterator[tuple[str, WorkloadKind]]:
    """Networks and kinds of work."""
    dense, convolutions, shadow = scale.networks
    for network in (dense, convolutions, *(scale.second if second else ())):
        yield network, "plain_step"
        yield network, "private_step"
        if not network.endswith("transformer"):  # words have no gradient
            yield network, "integrated_gradients"
        if network not in scale.second:
            yield network, "round"
    yield shadow, "shadows"


def workloads(network: str, kind: WorkloadKind, scale: Scale) -> list[Workload]:
    """Sizes of a part, ascending."""
    second = network in scale.second
    match kind:
        case "round":
            return [
                Workload(kind=kind, network=network, size=size, examples=scale.examples, batch_size=scale.batch_size)
                for size in scale.clients
            ]
        case "shadows":
            given = {"examples": scale.shadow_examples, "batch_size": scale.batch_size}
            return [Workload(kind=kind, network=network, size=size, **given) for size in scale.models]
        case "integrated_gradients":
            sizes = scale.second_batches if second else scale.images
        case _:
            sizes = scale.second_batches if second else scale.batches
    return [Workload(kind=kind, network=network, size=size) for size in sizes]


def engines(framework: str, kind: WorkloadKind) -> list[Engine]:
    """Engines of a framework that a device is for."""
    return [
        engine
        for engine in ENGINES
        if engine.environment == framework
        and kind in engine.kinds
        and engine.maker not in ONE_AFTER_ANOTHER
        and (device() == "cuda" or not engine.full)
    ]


def useful_work(workload: Workload) -> tuple[float, float]:
    """Operations, and bytes that an unfused program moves, of the work without privacy."""
    of = count(workload.network)
    # Training: each output is written, read forwards and backwards, its gradient written and read; weights are read
    # twice, their gradient written and read, they are read and written. Input gradients lack the weights' part.
    passes, forth, of_weights = (2, 4, 2) if workload.kind == "integrated_gradients" else (3, 5, 6)
    match workload.kind:
        case "integrated_gradients":
            rows, steps = workload.size * IG_STEPS, IG_STEPS
        case "round":
            rows = workload.size * workload.examples
            steps = rows // workload.batch_size
        case "shadows":
            rows = workload.size * workload.examples * EPOCHS
            steps = rows // workload.batch_size
        case _:
            rows, steps = workload.size, 1
    moved = rows * (of.inputs + forth * of.values) + steps * of_weights * of.weights
    return float(passes * rows * of.operations), 4.0 * moved


def measure(unit: Unit, wait: Callable[[], None], *, repeats: int, seconds: float) -> dict[str, Any]:
    """First call, and then median and quartiles of calls, each from a synchronised device to a synchronised device."""

    def timed() -> float:
        wait()
        start = time.perf_counter()
        unit()
        wait()
        return time.perf_counter() - start

    first, _ = timed(), timed()  # one call more to warm up
    found: list[float] = []
    begin = time.perf_counter()
    while len(found) < repeats or (time.perf_counter() - begin < seconds and len(found) < 100):
        found.append(timed())
    low, middle, high = np.percentile(found, [25, 50, 75]).tolist()
    return {"first_s": first, "median_s": middle, "low_s": low, "high_s": high, "repeats": len(found)}


def ceilings(tool: Any, scale: Scale) -> dict[str, float]:
    """Operations a second of products, and bytes a second read and written; the best of the repeats."""
    found: dict[str, float] = {}
    for precision in ("float32", "tf32", "bfloat16") if device() == "cuda" else ("float32",):
        taken = measure(tool.product(scale.side, precision), tool.wait, repeats=scale.repeats, seconds=scale.seconds)
        found[f"{precision}_operations_per_s"] = 2 * scale.side**3 / taken["low_s"]
    taken = measure(tool.stream(scale.stream), tool.wait, repeats=scale.repeats, seconds=scale.seconds)
    found["bytes_per_s"] = 8 * scale.stream / taken["low_s"]
    return found


def rows_of(
    tool: Any, framework: str, part: tuple[str, WorkloadKind], scale: Scale, tops: dict[str, float]
) -> Iterator[dict[str, Any]]:
    """Measure all engines of a framework on one part, sizes ascending."""
    for workload in workloads(*part, scale):
        operations, moved = useful_work(workload)
        floor = max(operations / tops["float32_operations_per_s"], moved / tops["bytes_per_s"])
        for engine in engines(framework, workload.kind):
            row: dict[str, Any] = {"network": workload.network, "kind": workload.kind, "size": workload.size}
            row |= {"engine": engine.name, "framework": framework}
            tool.reset_peak()
            try:
                unit = find_maker(engine.maker)(workload)
                row |= measure(unit, tool.wait, repeats=scale.repeats, seconds=scale.seconds)
            except (NotImplementedError, ImportError) as error:
                yield row | {"absent": str(error).splitlines()[0][:300]}
                continue
            except Exception as error:  # memory most of all; the others go on
                yield row | {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
                continue
            seconds = row["median_s"]
            yield row | {
                "peak_bytes": tool.peak() or high_water(),
                "of_product_ceiling": operations / seconds / tops["float32_operations_per_s"],
                "of_bandwidth_ceiling": moved / seconds / tops["bytes_per_s"],
                "of_roofline": floor / seconds,
            }


def child(args: argparse.Namespace) -> int:
    """Measure one framework: its ceilings, or some parts with ceilings measured before."""
    warnings.filterwarnings("ignore")
    output = Path(args.output)
    try:
        tool = importlib.import_module(f"trustml_bench.engines.{args.child}_device")
        name = tool.open_device()
    except (NotImplementedError, ImportError) as error:
        output.write_text(json.dumps({"absent": str(error)}))
        return 0
    scale = SMALL if args.small else Scale()
    tops = json.loads(args.ceilings) if args.ceilings else ceilings(tool, scale)
    content: dict[str, Any] = {"device": name, "ceilings": tops, "rows": []}
    for part in filter(None, args.parts.split(",")):
        network, _, kind = part.partition(":")
        for row in rows_of(tool, args.child, (network, msgspec.convert(kind, WorkloadKind)), scale, tops):
            content["rows"].append(row)
            print(line_of(row), flush=True)
    output.write_text(json.dumps(content))
    return 0


def line_of(row: dict[str, Any]) -> str:
    """One row as text."""
    start = f"{row['kind']:21} {row['network']:17} {row['size']:>6}  {row['engine']:24}"
    if "median_s" not in row:
        return f"{start} {'absent: ' + row['absent'] if 'absent' in row else 'failed: ' + row['failed']}"
    return (
        f"{start} {1e3 * row['median_s']:10.3f} ms [{1e3 * row['low_s']:.3f}, {1e3 * row['high_s']:.3f}]  "
        f"{100 * row['of_roofline']:5.1f} % of the roofline  {row['peak_bytes'] / 2**20:8.0f} MiB"
    )


def start_child(
    args: argparse.Namespace, framework: str, wanted: Sequence[tuple[str, str]], tops: dict[str, float]
) -> dict[str, Any]:
    """Measure in a process of its own and read what it found."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "found.json"
        asked = ["--child", framework, "--device", args.device, "--output", str(output)]
        asked += ["--parts", ",".join(":".join(part) for part in wanted), *(["--small"] if args.small else [])]
        asked += ["--ceilings", json.dumps(tops)] if tops else []
        command = module_command(Path(sys.executable), "trustml_bench.gpu", *asked, beside=(PACKAGE,))
        variables = {DEVICE: args.device, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}
        if args.small:  # which is about this script, and not about the speed of what is compiled
            variables["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        try:
            done = subprocess.run(
                command.arguments,
                pass_fds=command.inherited,
                env=os.environ | variables,
                stdin=subprocess.DEVNULL,
                timeout=args.timeout,
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"took more than {args.timeout} s"}
        if done.returncode or not output.exists():
            return {"failed": f"ended with code {done.returncode}"}
        found: dict[str, Any] = json.loads(output.read_text())
        return found


def main(results: Path) -> int:
    """Measure all that is there; a GPU's figures go to `results` where nothing else is said."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to test this script")
    parser.add_argument("--second", action="store_true", help="also ResNet-18 with GroupNorm and a small Transformer")
    parser.add_argument("--apart", action="store_true", help="with --small: processes of their own, as without it")
    parser.add_argument("--framework", choices=["torch", "jax"], action="append", help="only this; may be repeated")
    parser.add_argument("--output", help="JSON file; benchmarks/results/gpu.json for a GPU, none for a processor")
    parser.add_argument("--timeout", type=float, default=1200.0, help="seconds for one network and kind of work")
    for hidden in ("--child", "--parts", "--ceilings"):
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args)
    on_cpu = args.device == "cpu"
    if on_cpu:
        print("On a processor this is a test of the script. Its figures are no results.", flush=True)
    content = _measured(args)
    if not content["ceilings"]:
        print(f"nothing could be measured on {args.device}", file=sys.stderr)
        return 2
    output = args.output or ("" if on_cpu or args.small else str(results))
    if output:
        Path(output).write_text(json.dumps(content, indent=1) + "\n")
        print(f"written: {output}")
    return 0


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    scale = SMALL if args.small else Scale()
    wanted, apart = list(parts(scale, second=args.second or args.small)), args.apart or not args.small
    content: dict[str, Any] = {
        "results": args.device != "cpu" and not args.small,
        "device": "",
        "host": platform.processor() or platform.machine(),
        "versions": {"python": platform.python_version()} | package_versions(PACKAGES),
        "settings": {"small": args.small, "precision": "float32, TF32 off"},
        "ceilings": {},
        "rows": [],
        "absent": {},
    }
    for framework in args.framework or ("torch", "jax"):
        found = start_child(args, framework, () if apart else wanted, {})
        if "ceilings" not in found:
            content["absent"][framework] = found.get("absent") or found["failed"]
            print(f"{framework}: {content['absent'][framework]}", flush=True)
            continue
        content["device"] = found["device"]
        content["ceilings"][framework] = found["ceilings"]
        content["rows"] += found["rows"]
        for part in wanted if apart else ():
            more = start_child(args, framework, (part,), found["ceilings"])
            content["rows"] += more.get("rows", [])
            if "failed" in more:
                content["absent"][f"{framework} {':'.join(part)}"] = more["failed"]
    return content


if __name__ == "__main__":
    sys.exit(main(Path("gpu.json")))
