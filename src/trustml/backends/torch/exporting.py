"""Models of PyTorch as files for deployment, and such files asked again."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from trustml.backends.contract import Deployed, FileRequest
from trustml.backends.torch.device import current_device
from trustml.backends.torch.network import build_module, from_input, target_gradients, to_input
from trustml.data.dataset import Floats, Ints
from trustml.errors import UsageError
from trustml.models import pte_files
from trustml.models.deployed_files import refuse_deployed_file
from trustml.models.exported import STATEMENT
from trustml.models.node_runtime import NodeModel, added_folder
from trustml.models.onnx_files import holds_eight_bits, read_metadata, refuse_onnx_file, shuffled_weights
from trustml.models.pt2_files import read_pt2_file

_MOST_ROWS = 256
"""Rows that a program of ExecuTorch takes at once: its memory is planned before it runs."""
_STATEMENT_METHOD = "trustml_statement"


def export_pt2(wanted: FileRequest) -> None:
    """Write a program of ``torch.export`` with a free batch size; images go in channels-first."""
    module = build_module(wanted.model).eval()
    example = to_input(np.zeros((2, *wanted.model.input_shape), np.float32))
    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    program._example_inputs = None  # they would be pickled into the file
    for node in program.graph.nodes:
        for of_this_machine in ("stack_trace", "nn_module_stack", "source_fn_stack"):
            node.meta.pop(of_this_machine, None)
    torch.export.save(program, wanted.path, extra_files={STATEMENT: wanted.statement})


def export_onnx(wanted: FileRequest) -> None:
    """Write an ONNX file with a free batch size; images go in channels-first.

    ``dynamic`` and ``int8`` are those of onnxruntime.
    """
    import onnx
    from onnxruntime import quantization

    module = build_module(wanted.model).eval()
    example = to_input(np.zeros((2, *wanted.model.input_shape), np.float32))
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(
        module, (example,), dynamo=True, dynamic_shapes=batch, input_names=["inputs"], output_names=["logits"],
        verbose=False, optimize=False,
    )  # fmt: skip
    whole, quantised = wanted.path.with_suffix(".whole"), wanted.path.with_suffix(".quantised")
    program.save(whole, external_data=False)
    if wanted.quantised == "dynamic":
        quantization.quantize_dynamic(whole, quantised)
    elif wanted.calibration is not None:
        quantization.quantize_static(whole, quantised, _Calibration(wanted.calibration))
    made = onnx.load(quantised if wanted.quantised else whole)
    whole.unlink()
    quantised.unlink(missing_ok=True)
    for node in made.graph.node:  # where the code lies that it was made from
        del node.metadata_props[:]
        node.doc_string = ""
    del made.metadata_props[:]
    made.metadata_props.add(key=STATEMENT, value=wanted.statement)
    onnx.save(made, wanted.path)


def export_executorch(wanted: FileRequest) -> None:
    """Write a program of ExecuTorch, lowered to XNNPACK; images go in channels-first, up to :data:`_MOST_ROWS` at once.

    The statement is what a second, constant method gives. ``int8`` and ``dynamic`` are those of XNNPACK's quantiser;
    the latter rounds linear layers alone.
    """
    _see_executorch()
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    module = build_module(wanted.model).eval().to(memory_format=torch.contiguous_format).cpu()
    example = _in_order(_channels_first(np.zeros((2, *wanted.model.input_shape), np.float32)))
    batch = ({0: torch.export.Dim("batch", min=1, max=_MOST_ROWS)},)
    inside = {_STATEMENT_METHOD: wanted.statement}
    with _any_batch():
        program = torch.export.export(module, (example,), dynamic_shapes=batch)
        if wanted.quantised:
            rounded = _rounded_by_xnnpack(program.module(), wanted)
            program = torch.export.export(rounded, (example,), dynamic_shapes=batch)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=inside)
        _refuse_fewer_rows(lowered.exported_program())
        wanted.path.write_bytes(lowered.to_executorch().buffer)


def _refuse_fewer_rows(program: torch.export.ExportedProgram) -> None:
    """Refuse a program whose memory would be planned for fewer rows: lowering narrows the batch of some networks."""
    from executorch.exir.sym_util import eval_upper_bound

    (given,) = program.graph_signature.user_inputs
    value = next(node.meta["val"] for node in program.graph.nodes if node.name == given)
    rows = eval_upper_bound(value.shape[0])
    if rows < _MOST_ROWS:
        raise UsageError(
            f"executorch: its lowering narrows this network to {rows} rows at once; export to onnx, or to tflite"
        )


def _rounded_by_xnnpack(module: torch.fx.GraphModule, wanted: FileRequest) -> torch.fx.GraphModule:
    """Round weights by channel; for ``int8`` also values, by those that the calibration inputs give."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    dynamic = wanted.quantised == "dynamic"
    way = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    prepared = prepare_pt2e(module, XNNPACKQuantizer().set_global(way))
    # Where values are rounded as they come, one example is seen for the weights' sake alone.
    rows = np.zeros((1, *wanted.model.input_shape), np.float32) if wanted.calibration is None else wanted.calibration
    for row in _channels_first(rows):
        prepared(_in_order(row[None]))
    return convert_pt2e(prepared)


@contextmanager
def _any_batch() -> Iterator[None]:
    """Trace without libraries which are asked for batches of 16 and more alone.

    Where they are on, the question alone narrows a free batch size to the answer that the example gives: the memory of
    the program was planned for 15 rows.
    """
    with torch.backends.mkldnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
        yield


class TorchProgram:
    """See :class:`trustml.backends.contract.Deployed`: a program of ``torch.export``."""

    gradients, rounded = True, False

    def __init__(self, path: Path, *, as_given: bool = False) -> None:
        self._to_input, self._from_input = (_as_given, _to_numpy) if as_given else (to_input, from_input)
        extra = {STATEMENT: ""}
        program = torch.export.load(io.BytesIO(read_pt2_file(path)), extra_files=extra)
        self.statement = extra[STATEMENT]
        self._module = program.module().to(current_device())

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        with torch.no_grad():
            return self._module(self._to_input(inputs)).cpu().numpy()

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of the target logit, shape (n, *x)."""
        return self._from_input(target_gradients(self._module, self._to_input(inputs), targets))

    @contextmanager
    def randomised(self, seed: int) -> Iterator[Deployed]:
        """Shuffle each parameter in place; then restore."""
        generator, parameters = np.random.default_rng(seed), list(self._module.parameters())
        before = [parameter.detach().clone() for parameter in parameters]
        try:
            with torch.no_grad():
                for parameter in parameters:
                    order = torch.from_numpy(generator.permutation(parameter.numel())).to(parameter.device)
                    parameter.copy_(parameter.reshape(-1)[order].reshape(parameter.shape))
            yield self
        finally:
            with torch.no_grad():
                for parameter, values in zip(parameters, before, strict=True):
                    parameter.copy_(values)


class OnnxFile:
    """See :class:`trustml.backends.contract.Deployed`: what onnxruntime computes, without gradients."""

    gradients = False

    def __init__(self, path: Path, *, as_given: bool = False) -> None:
        self._laid_out = np.ascontiguousarray if as_given else _channels_first
        import onnxruntime

        refuse_onnx_file(path)
        self.rounded = holds_eight_bits(path)
        self._content = path.read_bytes()
        self._session = onnxruntime.InferenceSession(self._content, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.statement = self._session.get_modelmeta().custom_metadata_map.get(STATEMENT, "")

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        return self._session.run(None, {self._input: self._laid_out(inputs)})[0]

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Raise: onnxruntime has no gradients."""
        raise NotImplementedError("onnxruntime computes no gradients")

    @contextmanager
    def randomised(self, seed: int) -> Iterator[Deployed]:
        """Give answers of a file whose weights are shuffled, each by itself."""
        import onnxruntime

        before = self._session
        content = shuffled_weights(self._content, np.random.default_rng(seed))
        try:
            self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            yield self
        finally:
            self._session = before


class OnnxInBrowser:
    """See :class:`trustml.backends.contract.Deployed`: what ONNX Runtime's build for WebAssembly computes in node."""

    gradients = False

    def __init__(self, path: Path, *, as_given: bool = False) -> None:
        self._laid_out = np.ascontiguousarray if as_given else _channels_first
        refuse_onnx_file(path)
        self.rounded, self.statement = holds_eight_bits(path), read_metadata(path, STATEMENT)
        self._model = NodeModel("onnx", path)

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        return self._model.ask(self._laid_out(inputs))

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Raise: ONNX Runtime has no gradients."""
        raise NotImplementedError("ONNX Runtime computes no gradients")


class ExecutorchProgram:
    """See :class:`trustml.backends.contract.Deployed`: what ExecuTorch computes, without gradients."""

    gradients = False

    def __init__(self, path: Path, *, as_given: bool = False) -> None:
        self._laid_out = np.ascontiguousarray if as_given else _channels_first
        _see_executorch()
        from executorch.runtime import Runtime, Verification

        refuse_deployed_file(path)  # its operators are those built in, and none reads or writes a file
        self._content = path.read_bytes()  # the program reads from these very bytes as long as it lives
        self.rounded = pte_files.holds_eight_bits(self._content)
        self._program = Runtime.get().load_program(self._content, verification=Verification.InternalConsistency)
        named = _STATEMENT_METHOD in self._program.method_names
        self.statement = str(self._program.load_method(_STATEMENT_METHOD).execute([])[0]) if named else ""
        self._method = self._program.load_method("forward")

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        rows = self._laid_out(inputs)
        parts = [rows[start : start + _MOST_ROWS] for start in range(0, len(rows), _MOST_ROWS)]
        return np.concatenate([self._method.execute([_in_order(part)])[0].numpy().copy() for part in parts])

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Raise: ExecuTorch has no gradients."""
        raise NotImplementedError("ExecuTorch computes no gradients")


class _Calibration:
    """Inputs as onnxruntime reads them."""

    def __init__(self, inputs: Floats) -> None:
        self._rows = iter(_channels_first(inputs))

    def get_next(self) -> dict[str, Floats] | None:
        """Give one example; None after the last."""
        row = next(self._rows, None)
        return None if row is None else {"inputs": row[None]}


def _see_executorch() -> None:
    """See the packages of ExecuTorch, which lie beside the environment and behind all that is in it."""
    folder = str(added_folder("executorch"))
    if folder not in sys.path:
        sys.path.append(folder)


def _as_given(inputs: Floats) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(inputs)).to(current_device())


def _to_numpy(tensor: torch.Tensor) -> Floats:
    return tensor.detach().cpu().numpy()


def _channels_first(inputs: Floats) -> Floats:
    moved = np.moveaxis(inputs, -1, 1) if inputs.ndim == 4 else inputs
    return np.ascontiguousarray(moved, np.float32)


def _in_order(inputs: Floats) -> torch.Tensor:
    """Give a tensor whose strides are those of its shape, also along axes of one entry: ExecuTorch goes by them."""
    return torch.from_numpy(np.ascontiguousarray(inputs).ravel().reshape(inputs.shape))


EXPORTERS: dict[str, Callable[[FileRequest], None]] = {
    "pt2": export_pt2,
    "onnx": export_onnx,
    "onnx-web": export_onnx,
    "executorch": export_executorch,
}
OPENERS: dict[str, Callable[..., Deployed]] = {
    "pt2": TorchProgram,
    "onnx": OnnxFile,
    "onnx-web": OnnxInBrowser,
    "executorch": ExecutorchProgram,
}
