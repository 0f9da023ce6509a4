"""What the graph of a SavedModel may hold: operators that compute, and the reading of its own variables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2

from trustml.errors import UsageError
from trustml.record.files import plain_bytes

_FIX = "load it in a module of your own, where you trust it, and name module:attribute"
_LARGEST = 2 * 2**30
_COMPUTE = frozenset(
    """Add AddN AddV2 All Any ArgMax ArgMin AvgPool BatchMatMulV2 BiasAdd BroadcastTo Cast Ceil ConcatV2 Const Conv2D
    Conv2DBackpropInput Cos Cumsum DepthwiseConv2dNative Div DivNoNan Einsum Elu EnsureShape Equal Erf Exp
    ExpandDims Fill Floor FloorDiv FloorMod FusedBatchNormV3 GatherNd GatherV2 Greater GreaterEqual Identity
    IdentityN If LeakyRelu Less LessEqual Log Log1p LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool Maximum Mean
    Min Minimum MirrorPad Mul Neg NoOp NotEqual OneHot Pack Pad PadV2 PartitionedCall Placeholder Pow Prod Range
    Rank ReadVariableOp RealDiv Reciprocal Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor ResourceGather
    ReverseV2 Rsqrt Select SelectV2 Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Split SplitV Sqrt Square
    SquaredDifference Squeeze StatefulPartitionedCall StatelessIf StatelessWhile StopGradient StridedSlice Sub Sum
    Tanh TensorListFromTensor TensorListGetItem TensorListReserve TensorListSetItem TensorListStack Tile Transpose
    Unpack VarHandleOp VarIsInitializedOp Where While ZerosLike""".split()
)
# What restores the variables of a SavedModel, and is not called when it is asked; not in functions that are.
_RESTORE = frozenset(
    """AssignVariableOp DisableCopyOnRead MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename StaticRegexFullMatch
    StringJoin Select Assert""".split()
)


def copied_graph(folder: Path, goal: Path) -> Path:
    """Copy the plain files of a SavedModel; links are not followed.

    Raises
    ------
    UsageError
        If there is anything else in it.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise UsageError(f"{path}: is a link, or no file; {_FIX}")
        if path.is_file():
            copied = goal / path.relative_to(folder)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(plain_bytes(path))
    return goal


def refuse_graph(folder: Path, *, shown: Path) -> None:
    """Refuse a SavedModel whose graph does more than compute; a refusal names it as it is `shown`.

    Raises
    ------
    UsageError
    """
    path = folder / "saved_model.pb"
    if (folder / "saved_model.pbtxt").exists():
        raise UsageError(f"{shown}: holds a saved_model.pbtxt, which is not read; {_FIX}")
    if not path.is_file() or path.stat().st_size > _LARGEST:
        raise UsageError(f"{shown}: holds no saved_model.pb of at most {_LARGEST >> 30} GiB; name another folder")
    found = saved_model_pb2.SavedModel()
    try:
        found.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UsageError(f"{shown}: is damaged ({error}); name another folder") from None
    graphs = len(found.meta_graphs)
    if graphs != 1:
        raise UsageError(f"{shown}: holds {graphs} graphs, not one; it may be damaged, name another folder")
    for operator in _operators(found):
        raise UsageError(f"{shown}: calls the operator {operator[:80]!r}, which may do more than compute; {_FIX}")


def _operators(found: saved_model_pb2.SavedModel) -> Iterator[str]:
    """Operators that are not known to compute only, and calls of functions that restore variables."""
    for graph in found.meta_graphs:
        functions = {one.signature.name: one for one in graph.graph_def.library.function}
        restoring = {name for name, one in functions.items() if {node.op for node in one.node_def} & _RESTORE}
        known = _COMPUTE | _RESTORE | functions.keys()
        yield from (node.op for one in functions.values() for node in one.node_def if node.op not in known)
        if not graph.object_graph_def.nodes:  # of TensorFlow 1: its main graph would be run
            yield "of a graph without objects"
        yield from (node.op for node in graph.graph_def.node if node.op not in known)
        # Where variables are saved and restored alone: called by no other function, and none of an object's.
        saver = graph.saver_def
        own = {saver.save_tensor_name.partition(":")[0], saver.restore_op_name}
        outside = [node for node in graph.graph_def.node if node.name not in own]
        inside = [node for name, one in functions.items() if name not in restoring for node in one.node_def]
        called = {name for node in [*outside, *inside] for name in _called_by(node)}
        called |= set(graph.object_graph_def.concrete_functions)
        called |= {one.gradient_func for one in graph.graph_def.library.gradient}
        yield from (f"(in {name})" for name in sorted(restoring & called))


def _called_by(node: node_def_pb2.NodeDef) -> Iterator[str]:
    """Functions that a node names, wherever in its attributes, and its own operator, which may be one."""
    yield node.op
    for value in node.attr.values():
        yield value.func.name
        yield from (one.name for one in value.list.func)
