"""What private, explained and federated training cost on an accelerator: :mod:`trustml_bench.gpu` says how.

``python benchmarks/gpu.py`` on a machine with a GPU and PyTorch or JAX (or both), and with what trustml's worker
imports: numpy, msgspec, safetensors, psutil. Opacus, Captum, jax-privacy and pfl are measured where they are, and
their absence is recorded with its reason. ``--second`` adds ResNet-18 with GroupNorm and a small Transformer encoder.

``--device cpu --small`` is a test of this script: its figures are no results, and are written only where ``--output``
says.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parent / "src")]
    try:
        from trustml_bench.gpu import main
    except ImportError as error:
        print(f"gpu.py: {error}; run `pip install numpy msgspec safetensors psutil`", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(HERE / "results" / "gpu.json"))
