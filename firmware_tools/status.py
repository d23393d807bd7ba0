"""What a board says of itself, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from edge_runtime.protocol.wire.edge_messages import StatusAnswer, StatusRequest
from edge_runtime.protocol.wire.messages import ImageEntry
from firmware_tools.errors import RefusedError
from firmware_tools.link import Link
from firmware_tools.push import image_state
from firmware_tools.tables import cell_text, format_table

FIRST: Final = (
    "board", "name", "release", "state", "phase", "confirm_within_s", "worker", "trouble", "stream",
    "slot", "number", "version", "outcome", "generation", "generations", "unsaved", "classes",
    "current_slot", "counters", "judged", "right", "n_labels", "n_classes", "accuracy",
    "n_held_out", "exemplars", "evicted_labels", "suspected_labels", "bytes", "budget_bytes",
    "provisioned", "authorised", "agent_bytes", "worker_bytes", "temperature_c",
)  # fmt: skip


@dataclass(frozen=True)
class BoardStatus:
    """The runtime's own map, the agent's, and the images."""

    runtime: Mapping[str, Any]
    agent: Mapping[str, Any]
    images: tuple[ImageEntry, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; digests in hexadecimal."""
        images = [{k: v for k, v in asdict(each).items() if v is not None} for each in self.images]
        plain: dict[str, Any] = jsonable(
            {"runtime": self.runtime, "agent": self.agent, "images": images}
        )
        return plain


def ask_status(link: Link) -> BoardStatus:
    """The board's status; images are left out where there is no store of them."""
    answer = link.ask(StatusRequest(), StatusAnswer)
    try:
        images = image_state(link)
    except RefusedError:
        images = ()
    return BoardStatus(answer.runtime, answer.agent, images)


def jsonable(value: Any) -> Any:
    """CBOR's values as JSON's: bytes become hexadecimal, what is not finite None."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(each) for each in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def format_status(status: BoardStatus) -> str:
    """Facts, slots, images and the last attempts of an update, as aligned text."""
    facts = [*_facts("", _ordered(status.runtime)), *_facts("agent ", _ordered(status.agent))]
    width = max((len(name) for name, _ in facts), default=0)
    parts = ["\n".join(f"{name:{width}}  {value}" for name, value in facts)]
    parts += [_table(status.runtime, "slots"), _table(status.agent, "attempts")]
    parts.append(format_table([image_row(each) for each in status.images]))
    return "\n\n".join(part for part in parts if part)


def _ordered(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a person looks for first comes first; on the wire, short names do."""
    return {name: values[name] for name in (*FIRST, *values) if name in values}


def _table(values: Mapping[str, Any], name: str) -> str:
    rows = values.get(name)
    return (
        format_table([_ordered(r) for r in rows if isinstance(r, Mapping)])
        if isinstance(rows, list)
        else ""
    )


def image_row(entry: ImageEntry) -> dict[str, Any]:
    """One image as a row of a table."""
    flags = ("active", "confirmed", "pending", "permanent", "bootable")
    return {
        "image": str(entry.image or 0),
        "slot": str(entry.slot),
        "version": entry.version,
        "hash": (entry.hash or b"").hex()[:12],
        "flags": ", ".join(flag for flag in flags if getattr(entry, flag)),
    }


def _facts(prefix: str, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of a map, maps within it flattened; lists of maps are tables elsewhere."""
    rows = []
    for name, value in values.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _facts(f"{label} ", value)
        elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            continue
        elif isinstance(value, list):
            rows.append((cell_text(label), cell_text(", ".join(map(str, value)) or "none")))
        else:
            shown = f"{value:,}" if type(value) is int else value
            rows.append((cell_text(label), cell_text(shown)))
    return rows
