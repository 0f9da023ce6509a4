"""``.keras`` files of strangers: what may be in one, decided before any of it is loaded.

Keras's ``safe_mode`` refuses lambdas and nothing else. The configuration names any module, which is then imported, and
anything in it, which is then called; weights in ``.npz`` are unpickled; an HDF5 file under this name is read by another
loader, which runs the Python code it holds; layers of vocabularies read files that they are named, and a layer of a
TensorFlow function calls whatever TensorFlow exports. So only this is let through: a ZIP archive of three files, whose
configuration is made of layers, initialisers and the like that compute.
"""

from __future__ import annotations

import io
import json
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trustml.errors import UsageError
from trustml.models.exported import STATEMENT

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
LARGEST = 8 * 2**30
_LARGEST_TEXT = 64 * 2**20
_FIX = "load it in a module of your own, where you trust it, and name module:attribute"

_POOLS = [f"{kind}Pool{end}{n}D" for kind in ("Max", "Average", "Avg") for end in ("", "ing") for n in (1, 2, 3)]
_POOLS += [f"Global{name}" for name in _POOLS]
_SHAPED = [
    f"{name}{n}D"
    for name in ("Conv", "Convolution", "ConvLSTM", "Cropping", "SpatialDropout", "UpSampling", "ZeroPadding")
    for n in (1, 2, 3)
]
_SHAPED += [f"{name}{n}DTranspose" for name in ("Conv", "Convolution") for n in (1, 2, 3)]
_SHAPED += [
    f"{name}{n}D"
    for name in ("DepthwiseConv", "LocallyConnected", "SeparableConv", "SeparableConvolution")
    for n in (1, 2)
]
_LAYERS = frozenset(
    """Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average BatchNormalization
    Bidirectional CategoryEncoding CenterCrop Concatenate Dense Discretization Dot Dropout ELU EinsumDense Embedding
    Flatten GRU GRUCell GaussianDropout GaussianNoise GroupNormalization Hashing Identity InputLayer LSTM LSTMCell
    LayerNormalization LeakyReLU Masking Maximum Minimum MultiHeadAttention Multiply Normalization PReLU Permute RNN
    RandomBrightness RandomContrast RandomCrop RandomFlip RandomHeight RandomRotation RandomTranslation RandomWidth
    RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SimpleRNN SimpleRNNCell Softmax SpectralNormalization
    StackedRNNCells Subtract ThresholdedReLU TimeDistributed UnitNormalization""".split()
) | frozenset([*_POOLS, *_SHAPED])
_MODELS = frozenset({"Functional", "Model", "Sequential"})
_FUNCTION_LAYERS = frozenset({"TFOpLambda", "SlicingOpLambda"})
_CLASSES: dict[str, frozenset[str]] = {
    "keras": _MODELS | {"DTypePolicy"},
    "keras.models": _MODELS,
    "keras.src.engine.functional": frozenset({"Functional"}),
    "keras.src.models.functional": frozenset({"Functional"}),
    "keras.src.layers.core.tf_op_layer": _FUNCTION_LAYERS,
    "keras.layers": _LAYERS,
    "keras.initializers": frozenset(
        """Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal
        RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros""".split()
    ),
    "keras.regularizers": frozenset({"L1", "L1L2", "L2", "OrthogonalRegularizer"}),
    "keras.constraints": frozenset({"MaxNorm", "MinMaxNorm", "NonNeg", "RadialConstraint", "UnitNorm"}),
    "keras.mixed_precision": frozenset({"Policy"}),
}
_VALUES = frozenset({"__tensor__", "__numpy__", "__bytes__", "__keras_tensor__"})
_ACTIVATIONS = frozenset(
    """elu exponential gelu hard_sigmoid leaky_relu linear mish relu selu sigmoid silu softmax softplus softsign swish
    tanh""".split()
)
_FUNCTIONS = frozenset(
    """abs add_n argsort boolean_mask broadcast_to cast clip_by_value concat convert_to_tensor einsum ensure_shape
    expand_dims eye fill gather gather_nd identity maximum minimum norm one_hot ones ones_like pad range rank repeat
    reshape reverse roll shape size slice sort split squeeze stack stop_gradient strided_slice tensordot tile transpose
    unstack where zeros zeros_like""".split()
)
_FUNCTION_FAMILIES = ("math.", "nn.", "linalg.", "__operators__.", "image.resize")


def read_keras_file(path: Path, *, any_version: bool = False) -> bytes:
    """Read a ``.keras`` file, and refuse one that could do anything but compute, or, unless told else, one of Keras 3.

    What is refused has not been loaded, and no framework has been imported. The weights are looked into by the worker
    that loads them (HDF5 needs its library).

    Raises
    ------
    UsageError
        One line: the file, what it is, and what to do.
    """
    if not path.is_file():
        raise UsageError(f"{path}: {'is a folder, no file' if path.is_dir() else 'no such file'}; name a .keras file")
    if path.stat().st_size > LARGEST:
        raise UsageError(f"{path}: has more than {LARGEST >> 30} GiB; {_FIX}")
    content = path.read_bytes()
    if problem := why_not_keras(content, any_version=any_version):
        raise UsageError(f"{path}: {problem}; {_FIX}")
    return content


def why_not_keras(content: bytes, *, any_version: bool = False) -> str:
    """Tell why a file must not be given to Keras; empty where it may."""
    if not content.startswith(b"PK\x03\x04"):
        return f"is no .keras file but {kind_of(content[:16])}, which is not loaded under this name"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if problem := _why_not_members(archive.infolist()):
                return problem
            metadata, config = (json.loads(archive.read(name)) for name in (METADATA, CONFIG))
            archive.open(WEIGHTS).close()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error) as error:
        first = (str(error).splitlines() or [""])[0][:100]
        return f"is a damaged .keras file ({type(error).__name__}: {first})"
    version = metadata.get("keras_version", "") if isinstance(metadata, dict) else ""
    if not any_version and isinstance(version, str) and version[:1].isdigit() and not version.startswith("2."):
        return (
            f"was written by Keras {version[:20]}, and the tensorflow environment has Keras 2: where Keras 3 is, write "
            "a module with `import keras` and `model = keras.saving.load_model(file)`"
        )
    if not isinstance(config, dict) or "class_name" not in config:
        return f"its {CONFIG} describes no model"
    # What it was compiled with is not loaded: it may name a loss of its owner's.
    return next(_problems({name: value for name, value in config.items() if name != "compile_config"}), "")


def kind_of(begin: bytes) -> str:
    """Name a file by its first bytes."""
    if not begin:
        return "an empty file"
    for magic, kind in _MAGIC:
        if begin.startswith(magic):
            return kind
    return "a file of another kind"


_MAGIC = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (its layers can hold Python code)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x80", "a Python pickle (loading it runs code)"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"PAR1", "a Parquet table"),
    (b"\x7fELF", "a program"),
    (b"#!", "a script"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"{", "a text of JSON"),
)


def _why_not_members(members: list[zipfile.ZipInfo]) -> str:
    names = [member.orig_filename for member in members]
    if WEIGHTS.replace(".h5", ".npz") in names:
        return "keeps its weights as .npz, which Keras unpickles, and unpickling runs code"
    if sorted(set(names) - {STATEMENT}) != sorted((CONFIG, METADATA, WEIGHTS)) or len(set(names)) < len(names):
        odd = sorted(set(names) - {CONFIG, METADATA, WEIGHTS, STATEMENT})
        if odd:
            return f"holds {odd[0][:80]!r}, which is no part of a model that only computes"
        return f"must hold {CONFIG}, {METADATA} and {WEIGHTS}, each once"
    for member in members:
        if member.flag_bits & 1 or stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            return f"{member.filename} in it is encrypted, or is a link"
        if member.file_size > (LARGEST if member.filename == WEIGHTS else _LARGEST_TEXT):
            return f"{member.filename} in it unpacks to {member.file_size} bytes"
    return ""


def _problems(value: Any) -> Iterator[str]:
    """Every object of a configuration that does more than compute, without recursion: its depth is the stranger's."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            waiting += found.values()
            if "class_name" in found or "spec_name" in found:
                if problem := _why_not_object(found):
                    yield problem
        elif isinstance(found, list):
            waiting += found


def _why_not_object(found: dict[str, Any]) -> str:
    name, module, registered = found.get("class_name"), found.get("module"), found.get("registered_name")
    shown = ".".join(str(part)[:80] for part in (module, name) if part is not None)
    if not isinstance(name, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
        return f"its {CONFIG} names something by {str(name)[:80]!r}"
    if name in _VALUES:
        return ""
    if name == "function":
        config = found.get("config")
        known = module == "builtins" and isinstance(config, str) and config in _ACTIVATIONS
        return "" if known else f"calls the function {module}.{str(config)[:80]}, which is no activation of Keras"
    allowed = _CLASSES.get(module, frozenset()) if module is not None else frozenset().union(*_CLASSES.values())
    if name not in allowed or registered not in (None, name):
        return f"holds {shown!r}, which is no layer that only computes"
    if name in _FUNCTION_LAYERS:
        config = found.get("config")
        function = config.get("function") if isinstance(config, dict) else None
        if not isinstance(function, str) or not _computes(function):
            return f"calls the TensorFlow function {str(function)[:80]!r}, which may do more than compute"
    return ""


def _computes(function: str) -> bool:
    function = function.removeprefix("compat.v1.")
    return function in _FUNCTIONS or function.startswith(_FUNCTION_FAMILIES)
