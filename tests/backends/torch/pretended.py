"""A GPU pretended on the processor: its tensors are the processor's, with a label that says where they would be.

Under :class:`PretendedGPU` a tensor that is made for ``cuda``, or moved there, is computed on the processor and
labelled, and so is all that comes of it. What CUDA would refuse is refused: operations between labelled and other
tensors (except with single numbers and for indices), ``numpy()`` of labelled ones, and a generator of the wrong device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

_MAY_MIX = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}
_INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")


class WrongDeviceError(RuntimeError):
    """What CUDA would have refused."""


class Labels:
    """Which storages would be on the GPU."""

    def __init__(self) -> None:
        self._known: dict[int, StorageWeakRef] = {}  # holding the reference keeps the address from being used again
        self.generators: list[torch.Generator] = []
        self.count = 0
        self.paused = False

    def add(self, tensor: Tensor) -> Tensor:
        reference = StorageWeakRef(tensor.untyped_storage())
        self._known[reference.cdata] = reference
        self.count += 1
        return tensor

    def has(self, tensor: Tensor) -> bool:
        while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            tensor = torch._C._functorch.get_unwrapped(tensor)
        return tensor.untyped_storage()._cdata in self._known


class _Spread(TorchDispatchMode):
    """Labels the results of operations on labelled tensors, and refuses mixtures; in backward passes too."""

    def __init__(self, labels: Labels) -> None:
        super().__init__()
        self._labels = labels

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._labels.paused:
            return function(*args, **kwargs)
        given = args[:1] if function._schema.name.removeprefix("aten::") in _INDEXING else (args, kwargs)
        tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
        there = [tensor for tensor in tensors if self._labels.has(tensor)]
        here = [tensor for tensor in tensors if tensor.ndim and not self._labels.has(tensor)]
        if there and here and function not in _MAY_MIX:
            raise WrongDeviceError(f"{function}: tensors on cuda and on cpu, of shapes {[t.shape for t in tensors]}")
        found = function(*args, **kwargs)
        if there and function is not torch.ops.aten.copy_.default:
            tree_map_only(Tensor, self._labels.add, found)
        return found


class PretendedGPU(TorchFunctionMode):
    """See the module; ``labels.count`` says how many tensors were there."""

    def __init__(self) -> None:
        super().__init__()
        self.labels = Labels()
        self._spread = _Spread(self.labels)

    def __enter__(self) -> PretendedGPU:
        self._spread.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._spread.__exit__(*error)

    def with_hooks(self, run_backward: Callable) -> Callable:
        """Wrap autograd's engine, so that hooks find this mode, which is off while it handles ``backward``."""

        def run(*args: Any, **kwargs: Any) -> Any:
            TorchFunctionMode.__enter__(self)
            try:
                return run_backward(*args, **kwargs)
            finally:
                TorchFunctionMode.__exit__(self, None, None, None)

        return run

    def generator_class(self) -> type[torch.Generator]:
        """Stand in for ``torch.Generator``."""
        labels = self.labels

        class Generator(torch.Generator):
            def __new__(cls, device: Any = "cpu") -> torch.Generator:
                made = super().__new__(cls)
                if torch.device(device).type == "cuda":
                    labels.generators.append(made)
                return made

        return Generator

    def __torch_function__(self, function: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        owner = args[0] if args and isinstance(args[0], Tensor) else None
        there = owner is not None and self.labels.has(owner)
        if name == "__get__" and there:
            attribute = getattr(function.__self__, "__name__", "")
            if attribute == "device":
                return torch.device("cuda", 0)
            if attribute == "is_cuda":
                return True
        if name in ("numpy", "__array__") and there:
            raise WrongDeviceError("numpy() of a tensor on cuda")
        if name in ("cpu", "cuda") and owner is not None:
            return self._moved(owner, to_gpu=name == "cuda")
        if name == "to" and owner is not None:
            return self._to(owner, args[1:], kwargs)
        generator = kwargs.get("generator")
        wanted = _device(kwargs.pop("device", None))
        if generator is not None:
            on_gpu = wanted == "cuda" or there
            if any(generator is known for known in self.labels.generators) != on_gpu:
                raise WrongDeviceError(f"{name}: a generator of another device")
        found = function(*args, **kwargs)
        return tree_map_only(Tensor, self.labels.add, found) if wanted == "cuda" else found

    def _to(self, tensor: Tensor, args: Any, kwargs: dict[str, Any]) -> Tensor:
        devices = [argument for argument in (*args, kwargs.pop("device", None)) if _device(argument)]
        others = [argument for argument in args if isinstance(argument, torch.dtype)]
        kwargs.pop("non_blocking", None)
        if not devices:
            return tensor.to(*args, **kwargs)
        moved = self._moved(tensor, to_gpu=_device(devices[0]) == "cuda")
        return moved.to(*others, **kwargs) if others or kwargs else moved

    def _moved(self, tensor: Tensor, *, to_gpu: bool) -> Tensor:
        if self.labels.has(tensor) == to_gpu:
            return tensor
        self.labels.paused = True
        try:
            copied = tensor.clone()
        finally:
            self.labels.paused = False
        return self.labels.add(copied) if to_gpu else copied


def _device(given: Any) -> str:
    """Type of a device, or nothing where it is none."""
    if isinstance(given, torch.device):
        return given.type
    return given.split(":")[0] if isinstance(given, str) and given.split(":")[0] in ("cpu", "cuda") else ""
