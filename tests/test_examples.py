"""Every example runs and tells the story it promises; every one is short."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((PROJECT / "examples").glob("[0-9]*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_at_most_eighty_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 80


def test_first_steps_recover_from_a_turned_scanner() -> None:
    assert importlib.import_module("examples.01_first_steps").main() > 0.8


def test_a_class_is_added_and_the_old_ones_are_kept() -> None:
    before, after, fresh = importlib.import_module("examples.03_add_a_class").main()
    assert after > before - 0.03
    assert fresh > 0.6


@pytest.mark.slow
def test_a_foggy_camera_is_noticed_and_learned() -> None:
    archives = importlib.import_module("examples.datasets.archives")
    try:
        archives.fetch(archives.LITE0_WEIGHTS)
        archives.fetch(archives.MNIST_5K)
    except archives.ArchiveUnavailableError as error:
        pytest.skip(f"NO DATA: {error}")
    kinds = importlib.import_module("examples.02_encoder_stream").main(200, 60, 120)
    assert "drift" in kinds
    assert "grown" in kinds or "adapted" in kinds


def fetched(*names: str) -> None:
    """Skip, loudly, where data cannot be had."""
    archives = importlib.import_module("examples.datasets.archives")
    try:
        for name in names:
            found = getattr(archives, name)
            for archive in found if isinstance(found, tuple) else (found,):
                archives.fetch(archive)
    except archives.ArchiveUnavailableError as error:
        pytest.skip(f"NO DATA: {error}")


@pytest.mark.slow
def test_a_phone_put_back_the_other_way_round_is_learned() -> None:
    fetched("HAPT")
    before, after, kinds = importlib.import_module("examples.04_motion_sensor").main()
    assert before > 0.85
    assert after > 0.7
    assert "drift" in kinds
    assert "grown" in kinds or "adapted" in kinds


@pytest.mark.slow
def test_another_orchestra_is_learned() -> None:
    pytest.importorskip("ai_edge_litert", reason="NO BACKEND: pip install ai-edge-litert")
    pytest.importorskip("soundfile", reason="NO BACKEND: pip install soundfile")
    fetched("SPEECH", "SOUND_FONTS")
    before, after, kinds = importlib.import_module("examples.05_microphone").main()
    assert before > 0.75
    assert after > 0.6
    assert "drift" in kinds
    assert "grown" in kinds or "adapted" in kinds


@pytest.mark.slow
def test_the_demo_takes_a_board_over_the_cable(tmp_path: Path) -> None:
    fetched("LITE0_WEIGHTS", "MNIST_5K")
    cable = importlib.import_module("examples.demo.cable")
    first_images, first_labels, stages = cable.build(0)
    cable.run_cable(tmp_path / "c", first_images, first_labels, stages, print, baud=3_000_000)
    page = (tmp_path / "c" / "board.html").read_text()
    assert "<td>drift</td>" in page
    assert "<td>grown</td>" in page


def test_the_code_in_the_readme_compiles_and_uses_the_public_names() -> None:
    text = (PROJECT / "README.md").read_text()
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block, "the README has lost its twenty lines"
    compiled = compile(block[1], "README.md", "exec")
    names = {node.id for node in ast.walk(ast.parse(block[1])) if isinstance(node, ast.Name)}
    assert {"EdgeRuntime", "open_encoder"} <= names
    assert compiled


def test_links_in_the_documents_lead_somewhere() -> None:
    pages = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *(PROJECT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_word_bundle_belongs_to_hdc() -> None:
    for package in ("edge_runtime", "adaptors", "firmware_tools"):
        for path in (PROJECT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                name = getattr(node, "name", getattr(node, "id", getattr(node, "attr", "")))
                assert "bundle" not in str(name).lower(), f"{path.name}: {name}"
