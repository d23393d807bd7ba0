"""The TFLite flatbuffer schema, as ai-edge-litert ships it: load, unpack, pack.

Schema and flatbuffers are imported on first use, so that the other tools run without them.
"""

from __future__ import annotations

import importlib
from typing import Any

from edge_runtime.errors import BackendError, EncoderError

IDENTIFIER = b"TFL3"  # bytes 4..8 of every TFLite file


def load_schema() -> Any:
    """Import the generated schema classes.

    Raises
    ------
    BackendError
        If ai-edge-litert (older tflite-runtime has no schema) or flatbuffers is not installed.
    """
    try:
        importlib.import_module("flatbuffers")
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise BackendError(
            "writing TFLite needs the schema of ai-edge-litert, and flatbuffers: "
            f"pip install ai-edge-litert flatbuffers ({error})"
        ) from error


def unpack_model(data: bytes) -> Any:
    """Turn a file into a tree of mutable schema objects.

    Raises
    ------
    EncoderError
        If the bytes are no TFLite model, or damaged so that the tree cannot be built.
    """
    schema = load_schema()
    if data[4:8] != IDENTIFIER:
        raise EncoderError(f"not a TFLite model: bytes 4..8 are {data[4:8]!r}, expected b'TFL3'")
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter
    try:
        # flatbuffers for Python follows any offset; LiteRT's loader verifies them all, and bounds
        # the number and depth of tables, so that a small hostile file cannot become a huge tree.
        interpreter(model_content=data)
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise EncoderError(f"the TFLite model is damaged or truncated: {error}") from error


def pack_model(model: Any) -> bytes:
    """Return the bytes of a ``.tflite`` file."""
    import flatbuffers

    builder = flatbuffers.Builder(2**16)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())
