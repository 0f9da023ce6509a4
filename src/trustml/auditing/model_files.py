"""Files of models that are named to an audit and not loaded, because loading them runs what is in them."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import msgspec

from trustml.errors import UsageError
from trustml.models.deployed_files import ENDINGS, kind_by_content
from trustml.models.keras_files import CONFIG, METADATA, kind_of
from trustml.record.files import UNREADABLE, plain_bytes
from trustml.record.store import BUNDLE_INDEX

_TRUSTED = "load it in a module of your own, where you trust it, and name module:attribute"
_NAMED = "`trustml audit` opens it where its name ends in {}"
_EXPORTED = f"{_NAMED.format('.pt2')}; elsewhere give torch.export.load(file).module(), where you trust it"
_IN_ZIP = (
    ("constants.pkl", "a TorchScript program (loading it runs its code)", _TRUSTED),
    ("code/__torch__.py", "a TorchScript program (loading it runs its code)", _TRUSTED),
    ("data.pkl", "a PyTorch file (a Python pickle: loading it can run code)", _TRUSTED),
    ("models/model.json", "a program of torch.export", _EXPORTED),
    ("serialized_exported_program.json", "a program of torch.export", _EXPORTED),
    ("schema.json", "a skops file", _TRUSTED),
    (BUNDLE_INDEX, "an evidence bundle", "check it with `trustml verify`"),
    (CONFIG, "a Keras model under another name", "rename it to end in .keras"),
    (METADATA, "a Keras model under another name", "rename it to end in .keras"),
)
_ENDINGS = {
    ".onnx": ("an ONNX model", _NAMED.format(".onnx")),
    ".pb": ("a TensorFlow graph (graphs can read and write files)", _TRUSTED),
    ".py": ("a Python module", _TRUSTED),
}
_UNKNOWN = f"{_NAMED.format(' or '.join(ENDINGS))}, if it is such a model; else {_TRUSTED}"
_READ_NAMES = 10_000


def refuse_model_file(path: Path) -> None:
    """Refuse what lies at `path`, and say what it is and what to do; only its first bytes are looked at.

    Raises
    ------
    UsageError
        If there is a file, or a folder that is a model.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if stat.S_ISREG(mode):
        kind, fix = _kind_of_file(path)
    elif stat.S_ISDIR(mode) and any((path / name).exists() for name in ("saved_model.pb", "saved_model.pbtxt")):
        kind, fix = "a SavedModel of TensorFlow (its graphs can read and write files, and call Python)", _TRUSTED
    elif stat.S_ISDIR(mode) and (name := _hugging_face(path)):
        kind = f"a model of Hugging Face ({name})"
        fix = (
            "write a module with `import transformers` and `model = transformers.AutoModelForSequenceClassification."
            "from_pretrained(folder)`, and name module:model"
        )
    elif stat.S_ISDIR(mode):
        return
    else:
        kind, fix = "neither a file nor a folder", "name a model"
    raise UsageError(f"{path}: is {kind}, which is not loaded like this; {fix}")


def _hugging_face(folder: Path) -> str:
    """Name the architecture of a folder of Hugging Face's, printable and short; empty for any other folder."""
    try:
        config = msgspec.json.decode(plain_bytes(folder / "config.json"))
    except UNREADABLE:
        return ""
    if not isinstance(config, dict) or not ("architectures" in config or "model_type" in config):
        return ""
    named = config.get("architectures") or [config.get("model_type")]
    return str(named[0] if isinstance(named, list) and named else named)[:80]


def _kind_of_file(path: Path) -> tuple[str, str]:
    try:
        with path.open("rb") as stream:
            begin = stream.read(16)
    except OSError as error:
        return f"a file that cannot be read ({error.strerror})", "name another"
    if path.suffix == ".keras":
        return "a Keras model", "load it where you trust it, by `keras.saving.load_model(file)`, and give the model"
    if begin.startswith(b"PK\x03\x04"):
        names = _names(path)
        for ending, kind, fix in _IN_ZIP:
            if any(name == ending or name.endswith(f"/{ending}") for name in names):
                return kind, fix
    if len(begin) > 8 and begin[8:9] == b"{" and begin[7] == 0:
        return "a file of safetensors (weights without their model)", _TRUSTED
    kind, ending = kind_by_content(begin)
    if kind:
        return f"a {kind} model", _NAMED.format(ending)
    kind = kind_of(begin)
    if kind == kind_of(b"\x01"):
        return _ENDINGS.get(path.suffix.lower(), (kind, _UNKNOWN))
    return kind, _TRUSTED


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()[:_READ_NAMES]
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError):
        return []
