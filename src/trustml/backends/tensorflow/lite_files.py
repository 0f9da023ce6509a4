"""What a TensorFlow Lite file may hold, and the metadata it carries."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema

from trustml.errors import UsageError

_FIX = "run it where you trust it, and audit it as module:attribute"


def refuse_lite_file(content: bytes, path: Path) -> None:
    """Refuse a file with operators that TensorFlow Lite does not have built in: those of TensorFlow may do anything.

    Raises
    ------
    UsageError
    """
    if content[4:8] != b"TFL3":
        raise UsageError(f"{path}: is no TensorFlow Lite file; name another")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        custom = [code.customCode.decode() for code in model.operatorCodes if code.customCode]
        outside = any(buffer.offset for buffer in model.buffers)
    except Exception as error:  # the reader of flatbuffers runs into damage in any way
        raise UsageError(f"{path}: is a damaged TensorFlow Lite file ({type(error).__name__}); name another") from None
    if custom:
        raise UsageError(f"{path}: calls {custom[0][:80]!r}, which is not built into TensorFlow Lite; {_FIX}")
    if outside:
        raise UsageError(f"{path}: keeps numbers behind its end; {_FIX}")


def with_metadata(content: bytes, name: str, text: str) -> bytes:
    """Give a file with one more entry of metadata."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    entry, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = list(text.encode())
    entry.name, entry.buffer = name, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(content) + len(text) + 1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def read_metadata(content: bytes, name: str) -> str:
    """Give an entry of metadata; nothing where there is none."""
    model = schema.Model.GetRootAs(content, 0)
    for number in range(model.MetadataLength()):
        entry = model.Metadata(number)
        if entry.Name() == name.encode():
            return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode()
    return ""
