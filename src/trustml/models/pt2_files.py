"""``.pt2`` files of strangers: what may be in one, decided before PyTorch is given any of it.

``torch.export.load`` unpickles weights, constants and sample inputs where the file says so, evaluates sizes as Python
expressions (a size that reads ``__import__('os').system(...)`` is run while the file is loaded), and writes names of
nodes into Python code that it then executes. So only this is let through: tensors as plain bytes, one graph of
operators of ``aten`` that compute, names that are names, and sizes that are symbols and whole numbers. What is loaded
is a copy without traces of the code that it came from.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trustml.errors import UsageError
from trustml.models.keras_files import kind_of

_LARGEST = 8 * 2**30
_LARGEST_TEXT = 64 * 2**20
_FIX = "load it in a module of your own, where you trust it, and name module:attribute"
_CONFIGS = re.compile(r"data/(weights|constants)/model_\1_config\.json")
_TENSORS = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_EXTRA = re.compile(r"extra/[\w.-]{1,80}")
_TEXTS = frozenset({"archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id"})
_GRAPH, _SAMPLES, _EMPTY = "models/model.json", "data/sample_inputs/model.pt", "data/.keep"

_NAME = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./]{0,299}")
_OPERATOR = re.compile(r"torch\.ops\.aten\.([A-Za-z_][A-Za-z0-9_]{0,60})\.[A-Za-z0-9_]{1,60}")
_SIZES = re.compile(r"_operator\.(add|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|sub)|torch\.sym_(max|min)")
_SYMBOL = re.compile(r"Symbol\('[su][0-9]{1,6}'(?:, (?:positive|integer|nonnegative)=True){0,3}\)")
_SHORT = re.compile(r"[su]?[0-9]{1,12}")
_TOKEN = re.compile(rf"{_SYMBOL.pattern}|[su]?[0-9]+|[A-Za-z_]+|\S")
_WORDS = frozenset({"Add", "Mul", "Integer", "Max", "Min", "FloorDiv", "Mod", *"+-*(),"})
_LONGEST_SIZE = 500
_SPEC_TYPES = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", None})
_OPERATORS = frozenset(
    """__and__ __or__ _adaptive_avg_pool2d _assert_scalar _assert_tensor_metadata _softmax _to_copy _unsafe_view abs
    acos adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d add addcdiv addcmul addmm
    alias all amax amin any arange argmax argmin asin atan atan2 avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm
    bitwise_and bitwise_not bitwise_or bmm broadcast_to cat ceil celu chunk clamp clamp_max clamp_min clone
    constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution
    copy cos cosh cumprod cumsum detach detach_ div dot dropout einsum elu elu_ embedding eq erf exp exp2 expand
    expand_as expm1 eye flatten flip floor floor_divide frac full full_like gather ge gelu glu group_norm gru gt
    hardshrink hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_ index index_select instance_norm
    isinf isnan layer_norm le leaky_relu leaky_relu_ lerp lift_fresh_copy linalg_vector_norm linear log log10 log1p
    log2 log_sigmoid log_softmax logaddexp logical_and logical_not logical_or logsumexp lstm lt masked_fill matmul
    max max_pool1d max_pool2d max_pool3d maximum mean min minimum mish mm movedim mul nan_to_num narrow
    native_batch_norm native_group_norm native_layer_norm ne neg new_ones new_zeros norm numpy_T one_hot ones
    ones_like outer pad permute pixel_shuffle pixel_unshuffle pow prelu prod reciprocal relu relu6 relu_ remainder
    repeat repeat_interleave reshape rms_norm roll round rsqrt rsub scalar_tensor scaled_dot_product_attention
    select selu sigmoid sigmoid_ sign silu silu_ sin sinh slice softmax softplus softshrink sort split
    split_with_sizes sqrt square squeeze stack std std_mean sub sum swapaxes sym_size t tan tanh tanh_ tensor_split
    threshold tile to topk transpose tril triu true_divide trunc type_as unbind unflatten unfold unsqueeze
    upsample_bilinear2d upsample_nearest2d var var_mean view view_as where zeros zeros_like""".split()
)


def read_pt2_file(path: Path) -> bytes:
    """Read a ``.pt2`` file, refuse one that could do anything but compute, and give a copy that is safe to load.

    Raises
    ------
    UsageError
        One line: the file, what it is, and what to do.
    """
    if not path.is_file():
        raise UsageError(f"{path}: {'is a folder, no file' if path.is_dir() else 'no such file'}; name a .pt2 file")
    if path.stat().st_size > _LARGEST:
        raise UsageError(f"{path}: has more than {_LARGEST >> 30} GiB; {_FIX}")
    content = path.read_bytes()
    if not content.startswith(b"PK\x03\x04"):
        raise UsageError(f"{path}: is no .pt2 file but {kind_of(content[:16])}; name a file of that kind")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _copied(archive)
    except _RefusedError as error:
        raise UsageError(f"{path}: {error}; {_FIX}") from None
    except _DAMAGED as error:
        first = (str(error).splitlines() or [""])[0][:100]
        raise UsageError(f"{path}: is no readable .pt2 file ({type(error).__name__}: {first}); name another") from None


_DAMAGED = (
    *(zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error),
    *(KeyError, TypeError, AttributeError, IndexError, RecursionError),
)


class _RefusedError(Exception):
    """Why a file is not loaded."""


def _copied(archive: zipfile.ZipFile) -> bytes:
    members = {name: info for info in archive.infolist() if (name := info.filename)}
    if len(members) != len(archive.infolist()):
        raise _RefusedError("names a file in it twice")
    top = next(iter(members), "").partition("/")[0]
    if f"{top}/{_GRAPH}" not in members:
        raise _RefusedError("holds no program of torch.export")
    copied = io.BytesIO()
    with zipfile.ZipFile(copied, "w", zipfile.ZIP_STORED) as copy:
        for name, info in members.items():
            inner = name.removeprefix(f"{top}/")
            if info.flag_bits & 1 or info.file_size > _LARGEST or info.compress_type != zipfile.ZIP_STORED:
                raise _RefusedError(f"holds {name[:80]!r} encrypted, packed or too large")
            copy.writestr(zipfile.ZipInfo(name), _checked(inner, archive, info))
    return copied.getvalue()


def _checked(inner: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Content of one file of the archive as it may be loaded."""
    if inner == _SAMPLES and info.file_size:
        # Examples that it was traced with, pickled. What computes does not need them.
        return b""
    content = archive.read(info)
    if inner == _GRAPH:
        return json.dumps(_graph(_decoded(content, inner))).encode()
    if _CONFIGS.fullmatch(inner):
        for payload in _decoded(content, inner)["config"].values():
            if payload.get("use_pickle") is not False:
                raise _RefusedError("keeps tensors as Python pickles, and unpickling runs code")
            if not _TENSORS.fullmatch(f"{inner.rpartition('/')[0]}/{payload.get('path_name')}"):
                raise _RefusedError(f"keeps {str(payload.get('path_name'))[:80]!r}, which is no tensor")
    elif not (
        _TENSORS.fullmatch(inner)
        or _EXTRA.fullmatch(inner)
        or (inner in _TEXTS and info.file_size < 1000)
        or inner in (_SAMPLES, _EMPTY)
    ):
        raise _RefusedError(f"holds {inner[:80]!r}, which is no part of a program that only computes")
    return content


def _decoded(content: bytes, name: str) -> Any:
    if len(content) > _LARGEST_TEXT:
        raise _RefusedError(f"{name} in it has {len(content)} bytes")
    return json.loads(content)


def _graph(program: Any) -> Any:
    """Give a program without what its nodes tell of the code they came from, once all that is in it is known."""
    module = program["graph_module"]
    for graph_of in _dictionaries(program):
        if "metadata" in graph_of and isinstance(graph_of["metadata"], dict):
            graph_of["metadata"] = {}
        if (size := graph_of.get("expr_str")) is not None and not _is_size(size):
            raise _RefusedError(f"computes a size by {str(size)[:80]!r}")
        if "as_graph" in graph_of or "as_custom_obj" in graph_of or "as_operator" in graph_of:
            raise _RefusedError("holds a graph within a graph, or an object")
    for node in module["graph"]["nodes"]:
        _check_target(str(node["target"]))
    module["treespec_namedtuple_fields"] = {}
    program["guards_code"] = []
    for call in module["module_call_graph"]:
        if (signature := call.get("signature")) is not None:
            for spec in (signature["in_spec"], signature["out_spec"]):
                _check_spec(spec)
    for text in _texts(program):
        if not _NAME.fullmatch(text):
            raise _RefusedError(f"names something {text[:80]!r}")
    return program


def _is_size(text: Any) -> bool:
    """Whether a text is arithmetic of symbols and whole numbers, every token of it: it is evaluated as Python."""
    if not isinstance(text, str) or len(text) > _LONGEST_SIZE or "**" in text.replace(" ", ""):
        return False
    return all(token in _WORDS or _SYMBOL.fullmatch(token) or _SHORT.fullmatch(token) for token in _TOKEN.findall(text))


def _check_target(target: str) -> None:
    found = _OPERATOR.fullmatch(target)
    if not (found and found.group(1) in _OPERATORS) and not _SIZES.fullmatch(target):
        raise _RefusedError(f"calls {target[:80]!r}, which is no operator that is known to compute only")


def _check_spec(text: str) -> None:
    for found in _dictionaries(json.loads(text)):
        if found.get("type") not in _SPEC_TYPES:
            raise _RefusedError(f"takes or gives a {str(found.get('type'))[:80]!r}")


def _dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object below a value, without recursion: its depth is the stranger's."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


_WRITTEN = frozenset({"in_spec", "out_spec", "expr_str", "target", "torch_version"})
_FREE = frozenset({"", "default"})
_NUMBERS = frozenset({"as_float", "as_floats"})
_WRITTEN_NUMBERS = frozenset({"Infinity", "-Infinity", "NaN"})


def _texts(value: Any) -> Iterator[str]:
    """Every text below a value, keys of objects too, but for those that are looked at by themselves."""
    for found in _dictionaries(value):
        for key, inner in found.items():
            yield key
            if key in _WRITTEN:
                continue
            for text in inner if isinstance(inner, list) else [inner]:
                if key in _NUMBERS and text in _WRITTEN_NUMBERS:
                    continue
                if isinstance(text, str) and text not in _FREE:
                    yield text
