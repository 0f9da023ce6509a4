"""The page of importing, from its tables.

``python -m trustml.importing.page`` prints it.
"""

from __future__ import annotations

from trustml.importing.operators import OPERATORS
from trustml.importing.refusals import REFUSALS

_HEAD = """# Importing a model

Made by `python -m trustml.importing.page` from `importing/refusals.py` and `importing/operators.py`; a test says
that it is current.

```python
found = trustml.import_model(module, example=inputs)  # a torch.nn.Module and inputs as it takes them
found.architecture  # a graph of layers that every backend builds
found.weights  # canonical, to look at or to go on with
found.logits(images)  # arrays (n, rows, columns, channels); sequences (n, steps, channels); token ids; vectors
print(found.report)  # what was folded, written out, left out or replaced, and how equal the logits are
found.save("mine.safetensors")
```

`trustml import my_module:model --shape 3,32,32 -o mine.safetensors` does the same and writes the file, and a
scenario in TOML has it by `model = "mine.safetensors"`. The file is safetensors with the architecture in its
header: reading it runs nothing.

* **It proves itself.** The module is traced by `torch.export` in evaluation mode, carried over call by call, and
  held against itself on the given inputs and on random ones (of the spread of the example and of ten times that;
  token ids of the whole vocabulary) in batches of other sizes than it was traced with. Logits must be equal within
  1e-5 times the largest, or 1; otherwise it is refused. Inside the torch backend that is; `trustml` tests say that
  all backends compute the same of one architecture.
* **BatchNorm** is folded into the weights before it, or written out as a convolution of each channel by itself. It
  mixes examples while it trains, so for private training it is replaced on request: `norms=GroupNorm(groups=8)`, or
  by name, `norms={"layer1.0.bn1": GroupNorm(groups=8)}`. Such a model computes something else until it is trained,
  and says so.
* **What is written out** (GELU by tanh, ReLU6, hard swish, numbers for channels) computes the same, but its
  constants are weights of their own, which training moves. One weight that is used twice becomes two, but for an
  Embedding whose table gives the logits, too.
* Dropout does nothing to a trained model and is left out. A softmax at the end is left out: what is imported gives
  logits.
* No pickle is read, ever: the module is an object of yours, in a process of yours.

## What is refused

An error is one line, and names the node: what it is, why it cannot be carried, and what works.

"""
_CARRIED = """
## Operators that are carried

Of `torch.export`, by their names there; what takes no input is computed by PyTorch as it is.

"""


def importing_page() -> str:
    """Markdown of the page."""
    rows = [f"| {one.construct} | {one.why} | {one.instead} |" for one in REFUSALS.values()]
    table = "\n".join(["| construct | it ... | instead |", "|---|---|---|", *rows])
    names = ", ".join(f"`{name}`" for name in sorted(OPERATORS) if not name.startswith("_") and name != "identity")
    return f"{_HEAD}{table}\n{_CARRIED}{names}\n"


if __name__ == "__main__":
    print(importing_page(), end="")
