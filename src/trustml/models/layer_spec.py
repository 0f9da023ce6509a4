"""What the structs of all layers share, and the one that is a whole network of somebody's own code."""

from __future__ import annotations

import msgspec


class LayerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all layers share: the field ``kind`` names them in files."""


class NativeModule(LayerSpec, frozen=True, kw_only=True, tag="Native"):
    """A whole network of somebody's own code, which one backend alone can build.

    Its callable is called without arguments and returns a network as users of the framework have it: a
    ``torch.nn.Module``, a Keras model, a Flax NNX module, or a pair ``(init, apply)`` of ``init(key, inputs)`` and
    ``apply(params, inputs)``. Running the scenario runs that code. Who reads, verifies or audits the run does not, and
    who goes on with it or exports from it has to say ``--trust-code``.

    Parameters
    ----------
    backend : str
        The one that trains and explains it; jobs of others are left out.
    module : str
        As in ``"my_model:make"``: a module, and what in it is called.
    folder : str
        Where the module lies, and what it imports beside it.
    weights : str
        File of safetensors with the network's own names, from which every training starts.
    code : str
        SHA-256 of the module's file, found when the run was prepared: it must stay that.
    parameters : tuple of (str, shape)
        Names and shapes of the weights, found when the run was prepared.
    outputs : tuple of int
        Shape of the outputs of one example, found when the run was prepared.
    """

    backend: str
    module: str
    folder: str = "."
    weights: str = ""
    code: str = ""
    parameters: tuple[tuple[str, tuple[int, ...]], ...] = ()
    outputs: tuple[int, ...] = ()
