"""Run in the tensorflow environment: all its engines on the tiny workloads; what each came to, or why not, in files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from tests.bench.workloads import cases, outcome
from trustml_bench.engines import fastest
from trustml_bench.workloads import OCCLUSION_PATCH


def shrunk(maps: np.ndarray) -> np.ndarray:
    """Take back that tf-explain enlarges its maps to the size of the images."""
    rows = maps.shape[1]
    enlarge = cv2.resize(np.eye(rows // OCCLUSION_PATCH), (rows // OCCLUSION_PATCH, rows))
    shrink = np.linalg.pinv(enlarge)
    return shrink @ maps @ shrink.T


def main() -> None:
    folder, wanted = Path(sys.argv[1]), sys.argv[2:]
    fastest._SECONDS = 0.0
    refused = {}
    for number, (engine, workload) in enumerate(cases("tensorflow")):
        if engine.full and "full" not in wanted:
            continue
        try:
            found = outcome(engine, workload)
        except NotImplementedError as error:
            refused[number] = str(error)
            continue
        if "sensitivity" in found:
            found = {"sensitivity": shrunk(found["sensitivity"])}
        np.savez(folder / f"{number}.npz", **found)
    (folder / "refused.json").write_text(json.dumps(refused))


if __name__ == "__main__":
    main()
