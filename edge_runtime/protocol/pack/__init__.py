"""Model packs: signed files that carry an encoder, what it starts with, and what it needs.

Importing this package loads neither NumPy nor an inference library; `opening` does.
"""

from edge_runtime.protocol.pack.container import Version, key_hash
from edge_runtime.protocol.pack.errors import PackError
from edge_runtime.protocol.pack.manifest import Manifest
from edge_runtime.protocol.pack.verify import BoardFacts, ModelPack, check_board, read_pack

__all__ = [
    "BoardFacts",
    "Manifest",
    "ModelPack",
    "PackError",
    "Version",
    "check_board",
    "key_hash",
    "read_pack",
]
