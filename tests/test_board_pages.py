"""Pages for boards: what they quote as messages is what the code says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = "".join(
    path.read_text()
    for package in ("edge_runtime", "firmware_tools")
    for path in sorted((ROOT / package).rglob("*.py"))
)
# String literals that go on in the next line are one text.
JOINED = re.sub(r'"\s*\n\s*f?"', "", SOURCE)


def messages(page):
    text = (ROOT / "docs" / page).read_text().partition("## When something is wrong")[2]
    assert text
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


@pytest.mark.parametrize("page", ["raspberry-pi.md", "jetson.md"])
def test_every_message_in_the_table_is_one_of_ours(page):
    found = messages(page)
    assert len(found) >= 3
    for message in found:
        # What stands for something else: an ellipsis, a quoted name, a signal.
        for part in re.split(r"…|'[^']*'|SIGILL|CPU…|cannot be used: |\(|\)", message):
            if len(part.strip()) > 6:
                assert part.strip(" :.") in JOINED, (message, part)
