"""What every command prints, word for word: `tests/golden/edgectl.txt`, paths masked.

The board and its cable are simulated, so times and rates are the same each time. After a change on
purpose: `UPDATE_GOLDEN=1 pytest tests/cable/test_transcripts.py`, and look at the difference.
"""

import os
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from firmware_tools import monitor_commands
from tests.protocol.packs import making

GOLDEN = Path(__file__).parents[1] / "golden" / "edgectl.txt"

COMMANDS = """
status
push DIR/demo.pack
push --key DIR/key.pem DIR/demo.pack
push --key DIR/key.pem DIR/demo.pack --confirm
confirm --key DIR/key.pem
rollback --key DIR/key.pem
confirm --key DIR/key.pem --id abababababababababababababababababababababababababababababababab
push DIR/damaged.pack
monitor --for-s 2 --csv DIR/board.csv --log DIR/board.log
label --list
label --key DIR/key.pem 1001=dog 5=cat
label --key DIR/key.pem --answers DIR/answers.csv
label 1001:dog
undo --key DIR/key.pem
undo --key DIR/key.pem --steps 99
undo --key DIR/key.pem --steps 0
pull --key DIR/key.pem -o DIR/state.edge
report DIR/demo.pack -o DIR/board.html
""".strip().splitlines()


def test_every_command_prints_what_it_printed(edgectl, world, tmp_path, monkeypatch):
    pack = making.model(version="1.1.0", extra={"LICENCES": bytes(range(256)) * 100})
    (tmp_path / "demo.pack").write_bytes(pack)
    (tmp_path / "damaged.pack").write_bytes(pack[:2000])
    pem = making.KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "answers.csv").write_text("sample,label\n1002,cat\n")
    world.board.key, world.board.is_authorised = making.KEY.public_key(), False
    monkeypatch.setattr(monitor_commands.time, "time", lambda: 1_800_000_000.0)
    monkeypatch.setenv("COLUMNS", "80")
    parts = []
    for line in COMMANDS:
        world.board.is_authorised = False
        code, out, err = edgectl(*line.replace("DIR", str(tmp_path)).split())
        errors = "".join(f"! {each}\n" for each in err.splitlines())
        text = f"$ edgectl {line}\n{out}{errors}[{int(code)}]\n"
        parts.append(text.replace(str(tmp_path), "DIR"))
    transcript = "\n".join(parts)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(transcript)
    assert transcript == GOLDEN.read_text()
