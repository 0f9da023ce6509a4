"""What the graph of a SavedModel may hold: operators that compute, and the reading of its own variables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from trustml.errors import UsageError

_FIX = "load it in a module of your own, where you trust it, and name module:attribute"
_LARGEST = 2 * 2**30
_COMPUTE = frozenset(
    """Add AddN AddV2 All Any ArgMax ArgMin AvgPool BatchMatMulV2 BiasAdd BroadcastTo Cast Ceil ConcatV2 Const Conv2D
    Conv2DBackpropInput Cos Cumsum DepthwiseConv2dNative Div DivNoNan Einsum Elu Equal Erf Exp ExpandDims Fill Floor
    FloorDiv FloorMod FusedBatchNormV3 GatherNd GatherV2 Greater GreaterEqual Identity IdentityN If LeakyRelu Less
    LessEqual Log Log1p LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool Maximum Mean Min Minimum MirrorPad Mul Neg
    NoOp NotEqual OneHot Pack Pad PadV2 PartitionedCall Placeholder Pow Prod Range Rank ReadVariableOp RealDiv
    Reciprocal Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor ResourceGather ReverseV2 Rsqrt Select SelectV2
    Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Split SplitV Sqrt Square SquaredDifference Squeeze
    StatefulPartitionedCall StatelessIf StatelessWhile StopGradient StridedSlice Sub Sum Tanh TensorListFromTensor
    TensorListGetItem TensorListReserve TensorListSetItem TensorListStack Tile Transpose Unpack VarHandleOp
    VarIsInitializedOp Where While ZerosLike""".split()
)
# What restores the variables of a SavedModel, and is not called when it is asked; not in functions that are.
_RESTORE = frozenset(
    """AssignVariableOp DisableCopyOnRead MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename StaticRegexFullMatch
    StringJoin Select Assert""".split()
)
_SAVER = "__inference__traced_"


def refuse_graph(folder: Path) -> None:
    """Refuse a SavedModel whose graph does more than compute.

    Raises
    ------
    UsageError
    """
    path = folder / "saved_model.pb"
    if not path.is_file() or path.stat().st_size > _LARGEST:
        raise UsageError(f"{folder}: holds no saved_model.pb of at most {_LARGEST >> 30} GiB; name another folder")
    found = saved_model_pb2.SavedModel()
    try:
        found.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UsageError(f"{path}: is damaged ({error}); name another folder") from None
    for operator in _operators(found):
        raise UsageError(f"{folder}: calls the operator {operator[:80]!r}, which may do more than compute; {_FIX}")


def _operators(found: saved_model_pb2.SavedModel) -> Iterator[str]:
    """Operators that are not known to compute only."""
    for graph in found.meta_graphs:
        if graph.object_graph_def.concrete_functions and len(found.meta_graphs) > 1:
            yield "of a second graph"
        yield from (node.op for node in graph.graph_def.node if node.op not in _COMPUTE | _RESTORE)
        for function in graph.graph_def.library.function:
            known = _COMPUTE | _RESTORE if function.signature.name.startswith(_SAVER) else _COMPUTE
            yield from (node.op for node in function.node_def if node.op not in known)
