import tomllib

import pytest
from pydantic import ValidationError

from napari_rwkv_seg.errors import ModelError, OutputError
from napari_rwkv_seg.zoo.card import (
    CARD_FILE,
    ClassCard,
    ModelCard,
    Normalization,
    plain_text,
    read_card,
    write_card,
)

FACTS = {
    "name": "nuclei",
    "title": "Nuclei",
    "purpose": "Find nuclei",
    "architecture": "med_urwkv",
    "variant": "T",
    "classes": [
        {"name": "background", "color": "#000000"},
        {"name": "nucleus", "color": "#FF8000"},
    ],
    "license": "CC0-1.0",
    "training_data": "dsb2018",
}


def card(**changes):
    return ModelCard.model_validate(FACTS | changes)


def test_a_card_comes_back_as_it_was_written(tmp_path):
    written = card(
        config={"encoder": "adapter", "depth": 3, "bias": True, "rate": 0.5},
        normalization=Normalization(mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 3.0]),
        pixel_size_um=0.65,
        parent="vrwkv_t",
        test_scores={"Dice": 0.9, "F1 at IoU 0.5": 0.8},
        weights_sha256="ab" * 32,
    )

    write_card(tmp_path, written)

    assert read_card(tmp_path) == written
    assert type(read_card(tmp_path).config["bias"]) is bool


def test_a_card_is_toml_that_people_can_read(tmp_path):
    write_card(tmp_path, card())

    table = tomllib.loads((tmp_path / CARD_FILE).read_text())
    assert table["classes"][1] == {"name": "nucleus", "color": "#FF8000"}
    assert "parent" not in table


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("tile_size", 1_000_000),
        ("tile_size", 0),
        ("classes", [{"name": "only", "color": "#000000"}]),
        ("classes", [{"name": f"{n}", "color": "#000000"} for n in range(10_000)]),
        ("normalization.std", {"std": [0.0]}),
        ("normalization.std", {"std": [-1.0]}),
        ("normalization.std", {"std": [float("nan")]}),
        ("normalization.std", {"std": [1.0, 1.0]}),
        ("normalization.mean", {"mean": [float("inf")]}),
        ("normalization.mean", {"mean": []}),
        ("normalization.low", {"low": 60.0, "high": 40.0}),
        ("normalization.high", {"high": 101.0}),
        ("normalization.scale", {"kind": "fixed", "scale": 0.0}),
        ("normalization.kind", {"kind": "magic"}),
        ("input_channels", 0),
        ("input_channels", 65),
        ("pixel_size_um", -0.5),
        ("pixel_size_um", float("nan")),
        ("objects.threshold", {"threshold": 1.5}),
        ("objects.split_distance", {"split_distance": 0}),
        ("test_scores", {"Dice": float("nan")}),
        ("weights_sha256", "abc"),
        ("format_version", 2),
        ("config", {"classes": 3}),
        ("config", {"not a name": 3}),
        ("config", {"nested": {"a": 1}}),
        ("name", "../../etc"),
        ("name", ""),
        ("surprise", 1),
    ],
    ids=lambda value: f"M21-{value}"[:40],
)
def test_an_entry_out_of_range_is_refused_by_name(place, value):
    field = place.split(".")[0]

    with pytest.raises(ValidationError) as caught:
        card(**{field: value})
    assert place.split(".")[-1] in str(caught.value)


@pytest.mark.parametrize("field", ["name", "title", "architecture", "classes", "license"])
def test_a_missing_entry_is_named(tmp_path, field):
    write_card(tmp_path, card())
    path = tmp_path / CARD_FILE
    path.write_text(path.read_text().replace(f"{field} =", f"un{field} =").replace("[[c", "[[unc"))

    with pytest.raises(ModelError, match=r"model\.toml.*(Field required|not permitted)"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\nb\tc", "a b c"),
        ("right\u202eleft", "rightleft"),
        ("nul\0", "nul"),
        ("x" * 10_000, "x" * 79 + "…"),
        ("<b>bold</b> %s {0}", "<b>bold</b> %s {0}"),
        ("   ", "class 1"),
    ],
    ids=lambda value: f"M20-{value!r}"[:30],
)
def test_a_class_name_becomes_plain_text(name, shown):
    classes = [{"name": "background", "color": "#000000"}, {"name": name, "color": "#000000"}]

    assert card(classes=classes).classes[1].name == shown


def test_equal_class_names_are_told_apart():  # M20
    classes = [{"name": "cell", "color": "#000000"} for _ in range(3)]

    assert [item.name for item in card(classes=classes).classes] == ["cell", "cell 2", "cell 3"]


def test_equal_class_names_of_cards_are_told_apart():  # M20
    classes = [ClassCard(name="cell", color="#000000") for _ in range(2)]

    assert [item.name for item in card(classes=classes).classes] == ["cell", "cell 2"]


@pytest.mark.parametrize("color", ["red", "#12345", "#12345g", "url(x)"])
def test_a_colour_that_is_none_is_refused(color):
    with pytest.raises(ValidationError):
        ClassCard(name="cell", color=color)


@pytest.mark.parametrize(
    "digest", [" " + "AB" * 32 + "\n", "ab" * 32], ids=["M13-case and space", "M13-plain"]
)
def test_case_and_space_of_a_digest_do_not_matter(digest):
    assert card(weights_sha256=digest).weights_sha256 == "ab" * 32


def test_texts_lose_control_characters_and_are_cut():
    assert plain_text("a\x07b\r\n c", 100) == "ab c"
    assert len(plain_text("y" * 5000)) == 2000


@pytest.mark.parametrize(
    "content",
    [b"", b"name = ", b"\xff\xfe\0", b"<!DOCTYPE html>", b"a = " + b"[" * 50_000, b"x = 1"],
    ids=["empty", "half", "no utf-8", "html", "deep", "other"],
)
def test_a_file_that_is_no_card_is_refused_by_name(tmp_path, content):
    (tmp_path / CARD_FILE).write_bytes(content)

    with pytest.raises(ModelError, match=r"model\.toml"):
        read_card(tmp_path)


def test_an_oversized_card_is_not_read(tmp_path):
    (tmp_path / CARD_FILE).write_bytes(b"#" * 2_000_000)

    with pytest.raises(ModelError, match="larger than"):
        read_card(tmp_path)


def test_a_folder_without_a_card_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="not a usable model"):
        read_card(tmp_path)


def test_a_card_that_cannot_be_written_is_an_output_error(tmp_path):
    with pytest.raises(OutputError):
        write_card(tmp_path / "nowhere", card())
