import csv
import itertools
import math

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_rwkv_seg.errors import OutputError
from napari_rwkv_seg.evaluation import EvaluationSettings, LabelPair, Spacing, compare, write_scores
from napari_rwkv_seg.evaluation.differences import COLORS, MEANINGS, difference_map
from napari_rwkv_seg.evaluation.tables import class_means, score_title, shown

# Machado, Oliveira and Fernandes, IEEE TVCG 15, 1291 (2009), severity 1, on linear RGB.
DICHROMACIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip


def scores(name: str, found: list, true: list, unit: str = "µm"):
    spacing = Spacing((0.5, 0.5), unit)
    pair = LabelPair(name, np.array([found]), np.array([true]), spacing)
    return compare(pair, EvaluationSettings(class_names={1: "=cell"}))


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@sum", "\tx", 'a,b\n"c"', "Zellkörper µ"])
def test_a_name_comes_back_from_the_file_and_is_never_a_formula(tmp_path, name):
    write_scores(tmp_path / "scores.csv", scores(name, [1, 0], [1, 1]))
    text = (tmp_path / "scores.csv").read_bytes().decode("utf-8")
    [row] = csv.DictReader(text.splitlines(keepends=True))
    assert row["pair"].lstrip("'") == name
    assert not row["pair"].startswith(("=", "+", "-", "@", "\t"))
    assert row["name"] == "'=cell"


def test_numbers_are_numbers_and_what_is_not_defined_is_nan(tmp_path):
    write_scores(tmp_path / "scores.csv", scores("a", [1, 0, 0], [0, 0, 0]))
    [row] = csv.DictReader((tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines())
    assert (row["dice"], row["hd95"], row["pixels_found"], row["unit"]) == ("0", "nan", "1", "µm")


def test_a_table_that_cannot_be_written_is_a_sentence_and_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match="Cannot write"):
        write_scores(tmp_path / "no" / "scores.csv", scores("a", [1], [1]))
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_text_is_a_sentence(tmp_path):
    with pytest.raises(OutputError, match="rename"):
        write_scores(tmp_path / "scores.csv", scores("a\udcff", [1], [1]))


def test_means_leave_out_what_is_not_defined_and_say_of_how_many_they_are():
    rows = [*scores("a", [1, 1], [1, 1]), *scores("b", [0, 0], [1, 1]), *scores("c", [0], [0])]
    [means] = class_means(rows)
    assert (means.mean["dice"], means.defined["dice"]) == (0.5, 2)
    assert means.deviation["dice"] == pytest.approx(math.sqrt(0.5))
    assert (means.mean["hd95"], means.defined["hd95"]) == (0.0, 1)
    assert math.isnan(means.deviation["hd95"])
    assert means.counts["objects_true"] == 2


def test_distances_in_different_units_have_no_mean():
    [means] = class_means([*scores("a", [1], [1]), *scores("b", [1], [1], "mm")])
    assert math.isnan(means.mean["hd95"])
    assert means.unit == ""


def test_titles_say_unit_and_tolerance():
    assert score_title("hd95", unit="mm") == "HD95 (mm)"
    assert score_title("surface_dice", 1.5, "mm") == "Surface Dice (1.5 mm)"
    assert score_title("surface_dice") == "Surface Dice"
    assert (shown(0.12345), shown(math.nan)) == ("0.123", "–")


def test_differences_tell_missed_added_agreed_and_another_class():
    found, true = np.array([[0, 1, 1, 0, 2]]), np.array([[0, 1, 0, 1, 1]])
    assert difference_map(found, true).tolist() == [[0, 1, 3, 2, 4]]
    assert difference_map(found, true, "objects").tolist() == [[0, 1, 3, 2, 1]]
    assert len(MEANINGS) == len(COLORS) + 1
    with pytest.raises(ValueError, match="shape"):
        difference_map(found, true[:, 1:])


@pytest.mark.parametrize("kind", DICHROMACIES)
def test_the_colours_of_differences_are_told_apart_with_any_colour_vision(kind):
    seen = [_seen(color, DICHROMACIES[kind]) for color in COLORS.values()]
    distances = [float(deltaE_ciede2000(*pair)) for pair in itertools.combinations(seen, 2)]
    assert min(distances) > 15  # 2 can just be seen side by side


def _seen(color: str, matrix: np.ndarray) -> np.ndarray:
    """Return what remains of a colour, in Lab."""
    value = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    left = np.clip(matrix @ linear, 0, 1)
    return rgb2lab(np.where(left <= 0.0031308, left * 12.92, 1.055 * left ** (1 / 2.4) - 0.055))
