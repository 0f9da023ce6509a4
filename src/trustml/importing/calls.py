"""Programs written call by call, for networks that are known by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trustml.importing.program import Array, Call, Constant, Program, Ref

_BATCH = 5
_INPUT = "inputs"


class Writer:
    """Writes calls one after the other, and knows which tensors they used.

    Parameters
    ----------
    tensors : mapping of str to ndarray
    input_shape : tuple of int
        Of one input, as the network takes it; of one axis they are token ids.
    """

    def __init__(self, tensors: Mapping[str, Array], *, input_shape: tuple[int, ...]) -> None:
        self._tensors, self._shape, self._calls = tensors, input_shape, list[Call]()
        self._used: set[str] = set()
        self.vocabulary = 0

    input = Ref(_INPUT)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self._shape

    def tensor(self, name: str) -> Constant:
        """Take a tensor of the file.

        Raises
        ------
        KeyError
            If it is not there.
        """
        self._used.add(name)
        return Constant(self._tensors[name], name)

    def has(self, name: str) -> bool:
        """Whether the file holds a tensor."""
        return name in self._tensors

    def left(self) -> list[str]:
        """Tensors that no call uses."""
        return sorted(set(self._tensors) - self._used)

    def call(self, operator: str, arguments: Mapping[str, Any], place: str = "") -> Ref:
        """Write a call."""
        name = f"{operator}_{len(self._calls)}"
        self._calls.append(Call(name=name, operator=operator, arguments=arguments, place=place))
        return Ref(name)

    def linear(self, value: Ref, name: str, *, bias: bool = True) -> Ref:
        """Products with a weight (out, in)."""
        weight, offset = self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias") if bias else None
        return self.call("linear", {"input": value, "weight": weight, "bias": offset})

    def products(self, value: Ref, name: str) -> Ref:
        """Products with a weight (in, out), as GPT-2 keeps them."""
        weight, bias = self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")
        return self.call("linear", {"input": value, "weight": Constant(weight.array.T, weight.origin), "bias": bias})

    def layer_norm(self, value: Ref, name: str, epsilon: float) -> Ref:
        """Norm over the last axis."""
        weight, bias = self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")
        given = {"normalized_shape": [weight.array.size], "weight": weight, "bias": bias, "eps": epsilon}
        return self.call("layer_norm", {"input": value, **given})

    def tokens(self, name: str) -> Ref:
        """Rows of a table for the ids."""
        table = self.tensor(f"{name}.weight")
        self.vocabulary = len(table.array)
        return self.call("embedding", {"weight": table, "indices": self.input})

    def convolution(self, value: Ref, name: str, *, stride: int, padding: int, groups: int = 1) -> Ref:
        """Convolution of images."""
        bias = self.tensor(f"{name}.bias") if self.has(f"{name}.bias") else None
        given = {"weight": self.tensor(f"{name}.weight"), "bias": bias, "dilation": [1, 1], "groups": groups}
        return self.call("conv2d", {"input": value, **given, "stride": [stride] * 2, "padding": [padding] * 2})

    def batch_norm(self, value: Ref, name: str) -> Ref:
        """Norm by running statistics."""
        parts = ("weight", "bias", "running_mean", "running_var")
        given = {part: self.tensor(f"{name}.{part}") for part in parts}
        return self.call("batch_norm", {"input": value, **given, "training": False, "eps": 1e-5})

    def each(self, operator: str, value: Ref, place: str) -> Ref:
        """Write an activation."""
        given = {"approximate": "tanh"} if operator == "gelu_tanh" else {}
        return self.call(operator.removesuffix("_tanh"), {"self": value, **given}, place)

    def add(self, first: Ref, second: Ref | Constant, place: str = "") -> Ref:
        """Write a sum."""
        return self.call("add", {"self": first, "other": second, "alpha": 1}, place)

    def attention(
        self, parts: tuple[Ref, Ref, Ref], heads: int, place: str, *, causal: bool = False, mask: Ref | None = None
    ) -> Ref:
        """Attention of several heads over queries, keys and values (examples, steps, channels)."""
        split = [self.call("unflatten", {"self": part, "dim": 2, "sizes": [heads, -1]}) for part in parts]
        turned = [self.call("transpose", {"self": part, "dim0": 1, "dim1": 2}) for part in split]
        given = dict(zip(("query", "key", "value"), turned, strict=True))
        for _ in range(2 if mask else 0):  # (examples, steps) becomes (examples, 1, 1, steps)
            mask = self.call("unsqueeze", {"self": mask, "dim": 1}, place)
        rest = {"attn_mask": mask, "is_causal": causal, "scale": None, "enable_gqa": False}
        found = self.call("scaled_dot_product_attention", {**given, **rest}, place)
        back = self.call("transpose", {"self": found, "dim0": 1, "dim1": 2})
        return self.call("flatten", {"self": back, "start_dim": 2, "end_dim": 3})

    def program(self, output: str) -> Program:
        """All calls, with the name of the last."""
        return Program(
            calls=tuple(self._calls), input=_INPUT, input_shape=(_BATCH, *self._shape), output=output, batch=_BATCH
        )

    def example(self) -> Array:
        """Some inputs."""
        generator = np.random.default_rng(0)
        if self.vocabulary:
            return generator.integers(0, self.vocabulary, (2, *self._shape))
        return generator.normal(size=(2, *self._shape)).astype(np.float32)
