"""The page of importing, from its tables.

``python -m trustml.importing.page docs/results/importing.json`` prints it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trustml.importing.jax_primitives import PRIMITIVES
from trustml.importing.keras_layers import LAYERS
from trustml.importing.nnx_layers import NNX_LAYERS
from trustml.importing.onnx_nodes import NODES
from trustml.importing.operators import OPERATORS
from trustml.importing.refusals import REFUSALS

_HEAD = """# Importing a model

Made by `python -m trustml.importing.page` from `importing/refusals.py` and `importing/operators.py`; a test says
that it is current.

```python
found = trustml.import_model(module, example=inputs)  # of torch or Flax NNX, and inputs as it takes them
found.architecture  # a graph of layers that every backend builds
found.weights  # canonical, to look at or to go on with
found.logits(images)  # arrays (n, rows, columns, channels); sequences (n, steps, channels); token ids; vectors
print(found.report)  # what was folded, written out, left out or replaced, and how equal the logits are
found.save("mine.safetensors")
```

`trustml import my_module:model --shape 3,32,32 -o mine.safetensors` does the same and writes the file, and a
scenario in TOML has it by `model = "mine.safetensors"`. The file is safetensors with the architecture in its
header: reading it runs nothing.

* **It proves itself.** The module is traced in evaluation mode, by `torch.export` or to JAX's primitives, carried
  over call by call, and held against itself on the given inputs and on random ones (of the spread of the example and
  of ten times that; token ids of the whole vocabulary, those of padding among them) in batches of 1, 7 and 33. Logits
  must be equal within 1e-5 times the largest of the same output (most outputs' where that is larger, and 1 at least),
  and on 7 inputs far out (100 and 10,000 times the spread, and of one large number) within 1e-4 and what rounding of
  the input does to the original there, unless that overflows; otherwise it is refused. Inside the backend that traced
  it that is; `trustml` tests say that all backends compute the same of one architecture.
* **JAX**: a module of Flax NNX, or `trustml.JaxModel(function, params)` of any function of arrays, such as Flax's
  `module.apply`, Haiku's `transformed.apply` or one written by hand. What is read is what it computes, whatever made
  it: softmax, GELU, softplus and means are known by their primitives. Norms, attention and tables of NNX are known by
  their layers, and one that is written by hand is refused, at the square root in it. Layers have the names of the
  weights that they multiply.
* **BatchNorm** is folded into the weights before it, or written out as a convolution of each channel by itself. It
  mixes examples while it trains, so for private training it is replaced on request: `norms=GroupNorm(groups=8)`, or
  by name, `norms={"layer1.0.bn1": GroupNorm(groups=8)}`. Such a model computes something else until it is trained,
  and says so.
* **What is written out** (GELU by tanh, ReLU6, hard swish, numbers for channels) computes the same, but its
  constants are weights of their own, which training moves. One weight that is used twice becomes two, but for an
  Embedding whose table gives the logits, too.
* Dropout does nothing to a trained model and is left out. A softmax or sigmoid at the end is left out: what is
  imported gives logits, and those before it are compared (of Keras, whose probabilities alone are seen, their
  logarithms).
* A module of other numbers than float32 is held against a float32 copy of it, which the report says, as it says how
  many weights do not train in the module (`requires_grad=False`): here all do.
* **Files**: `trustml.import_model("folder")` reads a folder of Hugging Face's (BERT, DistilBERT, GPT-2, ViT, ResNet)
  and ResNets of torchvision's, both in safetensors, ONNX (with `onnx`) and `.keras` of Keras 2 and 3 (with `h5py`).
  Weights and a description are all that is read: no code of the file runs and nothing is downloaded. The original is
  asked where the library that wrote it is installed (transformers, Keras 3; ONNX by its reference evaluator). Where it
  is not, the report says that the import was not held against it.
* **Training** a scenario whose model is such a file starts from its weights (`start`, which `start = ""` turns off;
  `start = "other.safetensors"` is for a model with the same weights by name and shape). Every privacy statement lists
  them as not covered: what they were made from is not accounted for, and if rows of the data were among it, no epsilon
  holds for those. Shadow models would start from elsewhere, and are refused beside it.
* No pickle is read, ever: a module is an object of yours, in a process of yours.

## What is refused

An error is one line, and names the node: what it is, why it cannot be carried, and what works.

"""
_CARRIED = """
## Operators that are carried

Of `torch.export`, by their names there; what takes no input is computed by PyTorch as it is.

"""
_PROVED = """
## Models that were tried

By `tests/importing/real_models.py`, of libraries as they are installed, small sizes, random weights and moved running
statistics; `TRUSTML_IMPORT_PYTHON` names an interpreter that has them, and a long test tries all of them again.

| model | from | nodes | weights | largest difference of the logits |
|---|---|---|---|---|
"""


def importing_page(tried: Sequence[dict[str, Any]]) -> str:
    """Markdown of the page.

    Parameters
    ----------
    tried : sequence of dict
        Rows of ``docs/results/importing.json``.
    """
    rows = [f"| {one.construct} | {one.why} | {one.instead} |" for one in REFUSALS.values()]
    table = "\n".join(["| construct | it ... | instead |", "|---|---|---|", *rows])
    operators = [name for name in sorted(OPERATORS) if not name.startswith("_") and name != "identity"]
    named = "\n\n".join(
        f"{what}{', '.join(f'`{name}`' for name in names)}"
        for what, names in (
            ("", operators),
            ("Of ONNX: ", sorted(NODES)),
            ("Of Keras: ", sorted(LAYERS)),
            ("Primitives of JAX: ", sorted(PRIMITIVES)),
            ("Layers of Flax NNX, beside all that are made of these: ", sorted(NNX_LAYERS)),
        )
    )
    proved = "\n".join(map(_row, tried))
    return f"{_HEAD}{table}\n{_CARRIED}{named}\n{_PROVED}{proved}\n"


def _row(one: dict[str, Any]) -> str:
    begin = f"| {one['name']} | {one['source']} |"
    if "refused" in one:
        return f"{begin} | | refused: {one['refused'].removeprefix('model: ').partition(';')[0]} |"
    difference = f"{one['largest_difference']:.1e} of {one['largest_logit']:.2g}"
    return f"{begin} {one['nodes']} | {one['weights']:,} | {difference} |"


if __name__ == "__main__":
    print(importing_page(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")
