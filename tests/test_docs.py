"""What the documents say about files and forms is so."""

import re
import tomllib
from pathlib import Path

import pytest

from napari_rwkv_seg.zoo import ModelCard

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("models/*/*.md")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_of_a_document_leads_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (path.parent / target).exists()] == []


def test_the_card_that_the_documentation_shows_is_a_valid_card() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    card = ModelCard.model_validate(tomllib.loads(example))
    assert card.classes[1].name == "cell"


def test_the_documentation_of_the_card_names_every_entry() -> None:
    text = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    assert {name for name in ModelCard.model_fields if name not in text} == set()


def test_every_promise_names_tests_that_are_there() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_/]+(?:\.py|/))`", text.partition("| promise |")[2])
    assert named
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []


def test_the_changelog_knows_what_is_not_released_yet_or_this_version() -> None:
    from napari_rwkv_seg import __version__

    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## Unreleased" in text or f"## {__version__}" in text
