"""Names of accelerators, and what inference libraries call them; imports nothing.

Packs and hosts speak of these without any library. What is there: `inputs.encoders.accelerators`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CPU: Final = "cpu"
# onnxruntime's execution providers. TensorRT and CUDA come with a build of onnxruntime of their
# own (on Jetson with JetPack's); XNNPACK, ACL and CoreML depend on how it was built.
PROVIDERS: Final[Mapping[str, str]] = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "acl": "ACLExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
# Shared libraries of LiteRT's delegates, as their makers install them. XNNPACK is built in and on.
DELEGATES: Final[Mapping[str, str]] = {
    "edgetpu": "libedgetpu.so.1",
    "gpu": "libtensorflowlite_gpu_delegate.so",
    "armnn": "libarmnnDelegate.so",
    "hexagon": "libhexagon_delegate.so",
    "vx": "libvx_delegate.so",
}
NAMES: Final = (CPU, *sorted({*PROVIDERS, *DELEGATES}))


def suits(name: str, suffix: str) -> bool:
    """Whether a model of this format could ever run on it.

    >>> suits("edgetpu", ".tflite"), suits("edgetpu", ".onnx"), suits("xnnpack", ".tflite")
    (True, False, True)
    """
    return name in (CPU, "xnnpack") or name in (PROVIDERS if suffix == ".onnx" else DELEGATES)
