"""Pairs: what a user may write about planes, and what is counted when."""

import numpy as np
import pytest

from napari_rwkv_seg.controllers.finetune_choices import (
    FinetuneChoices,
    guess_meaning,
    new_classes,
    slug,
    suggested_name,
    with_changed_class,
    with_class,
)
from napari_rwkv_seg.controllers.finetune_files import folder_rows
from napari_rwkv_seg.controllers.finetune_pairs import (
    Checked,
    PairFacts,
    PairRow,
    count,
)
from napari_rwkv_seg.controllers.finetune_rows import PairRows, count_rows
from napari_rwkv_seg.errors import ImageError, SettingsError, TrainingDataError

from .finetuning import ArrayPair, make_entry

CLASSES = make_entry().card.classes


def test_classes_are_counted_by_name():
    facts = count(ArrayPair().planes(Checked(), copied=False), "classes", CLASSES)

    assert facts.pixels == (("background", 10_900), ("cell", 1_900))
    assert facts.checked == facts.total == 12_800
    assert facts.problem == ""


def test_a_pair_that_cannot_be_read_has_a_problem():
    def read():
        raise ImageError("The file is torn.")
        yield

    assert count(read, "classes", CLASSES).problem == "The file is torn."


def test_a_damaged_chunk_is_a_problem_of_its_pair_and_the_others_are_counted():
    class Torn(ArrayPair):
        def planes(self, checked, *, copied):
            return lambda: fail()

        def as_written(self):
            return fail

    def fail():
        raise RuntimeError("error during blosc decompression: -1")

    rows = PairRows()
    rows.add([PairRow(Torn("torn")), PairRow(ArrayPair())])
    (_, torn), (_, sound) = count_rows(rows.pending(), "classes", CLASSES)

    assert "blosc" in torn.problem
    assert "leave the pair out" in torn.problem
    assert not torn.as_written
    assert sound.problem == ""
    assert sound.checked == 12_800


def test_what_was_counted_of_a_row_that_has_changed_meanwhile_is_dropped():
    rows = PairRows()
    rows.add([PairRow(ArrayPair())])
    waiting = rows.pending()
    ((row, facts),) = list(count_rows(waiting, "classes", CLASSES))

    rows.check("cells", Checked("these planes", "1"))
    rows.take(row, facts)

    assert rows.get("cells").facts is None


def test_pairs_of_layers_come_and_go_and_others_stay():
    rows = PairRows()
    rows.offer([PairRow(ArrayPair("a")), PairRow(ArrayPair("b"))])
    rows.add([PairRow(ArrayPair("file"))])
    rows.use("b", False)

    rows.offer([PairRow(ArrayPair("b"))])

    assert [row.source.key for row in rows] == ["b", "file"]
    assert not rows.get("b").used


def labels_of(image, name, part=None):
    """Return a row of labels of an image."""
    source = ArrayPair(f"{image} + {name}")
    source.covers = (image, part)
    return PairRow(source)


def counted(rows, **as_written):
    """Count rows by name, and say which hold what a model wrote."""
    for name, written in as_written.items():
        row = next(row for row in rows if row.source.key.endswith(name))
        rows.take(row, PairFacts(highest=1, as_written=written))


def used(rows):
    """Return the names of the labels that are ticked."""
    return sorted(row.source.key.partition(" + ")[2] for row in rows.used)


def test_of_several_labels_of_an_image_the_topmost_that_somebody_has_corrected_are_used():
    rows = PairRows()
    rows.offer([labels_of("cells", name) for name in ("new", "mine", "older")])
    assert used(rows) == ["new"]

    counted(rows, new=True, mine=False, older=False)

    assert used(rows) == ["mine"]


def test_a_result_that_comes_later_does_not_join_or_replace_labels_that_were_corrected():
    rows = PairRows()
    rows.offer([labels_of("cells", "mine")])
    counted(rows, mine=False)

    rows.offer([labels_of("cells", "new"), labels_of("cells", "mine")])
    assert used(rows) == ["mine"]

    counted(rows, new=True)
    assert used(rows) == ["mine"]


def test_an_empty_layer_does_not_take_the_place_of_labels():
    rows = PairRows()
    rows.offer([labels_of("cells", "empty"), labels_of("cells", "mine")])
    counted(rows, mine=False)

    rows.take(rows.get("cells + empty"), PairFacts(highest=0))

    assert used(rows) == ["mine"]


def test_what_the_user_has_ticked_of_an_image_stays_so():
    rows = PairRows()
    rows.offer([labels_of("cells", "mine")])
    counted(rows, mine=False)
    rows.use("cells + mine", False)

    rows.offer([labels_of("cells", "new"), labels_of("cells", "mine")])
    assert used(rows) == []

    rows.use("cells + new", True)
    counted(rows, new=True)
    assert used(rows) == ["new"]


def test_labels_of_which_the_user_has_said_what_is_checked_are_not_unticked_by_a_guess():
    rows = PairRows()
    rows.offer([labels_of("cells", "mine")])
    counted(rows, mine=False)
    rows.check("cells + mine", Checked("these planes", "1, 3"))
    rows.offer([labels_of("cells", "new"), labels_of("cells", "mine")])

    counted(rows, mine=False, new=False)

    assert used(rows) == ["mine"]


def test_saying_what_of_labels_is_checked_that_are_not_used_keeps_no_others_from_being_so():
    rows = PairRows()
    rows.offer([labels_of("cells", name) for name in ("other", "mine")])
    counted(rows, other=True, mine=False)
    rows.check("cells + other", Checked("these planes", "2"))

    counted(rows, other=False)

    assert used(rows) == ["other"]


def test_labels_of_two_parts_of_an_image_are_both_used():
    rows = PairRows()
    whole, left, right = (labels_of("slide", name, name) for name in ("whole", "left", "right"))
    rows.offer([right, left, whole])
    counted(rows, right=False, left=False, whole=True)

    assert used(rows) == ["left", "right"]


def test_a_pair_that_was_added_can_be_removed_and_one_of_open_layers_is_only_not_used():
    rows = PairRows()
    rows.offer([PairRow(ArrayPair("a"))])
    rows.add([PairRow(ArrayPair("file"))])

    rows.remove(["a", "file"])

    assert [(row.source.key, row.used) for row in rows] == [("a", False)]


def test_files_are_matched_by_name_and_those_without_a_partner_are_named(tmp_path):
    import tifffile

    for name in ("a.tif", "a_mask.tif", "alone.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((8, 9), dtype=np.uint8))

    rows, note = folder_rows(tmp_path, tmp_path)

    assert [row.source.image_name for row in rows] == ["a.tif"]
    assert "alone.tif" in note


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(TrainingDataError):
        folder_rows(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("highest", "means", "classes", "guess"),
    [
        (1, "", 2, "classes"),
        (2, "", 2, "objects"),
        (2, "", 3, "classes"),
        (1, "objects", 2, "objects"),
        (9, "classes", 2, "classes"),
    ],
)
def test_what_numbers_mean_is_guessed(highest, means, classes, guess):
    source = ArrayPair()
    source.means = means
    row = PairRow(source, facts=PairFacts(highest=highest))

    assert guess_meaning([row], make_entry(classes=classes).card) == guess


def test_a_class_that_is_added_has_a_name_and_a_colour_of_its_own():
    classes = with_class(with_class(CLASSES))

    assert len({one.name for one in classes}) == 4
    assert len({one.color for one in classes}) == 4
    assert new_classes(make_entry().card, classes) == ["class 2", "class 3"]


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(SettingsError, match="already"):
        with_changed_class(CLASSES, 1, name="background")


def test_a_colour_that_is_none_is_refused():
    with pytest.raises(SettingsError, match="colour"):
        with_changed_class(CLASSES, 1, color="red")


@pytest.mark.parametrize(
    ("text", "name"),
    [("My cells!", "My-cells"), ("../..", "model"), ("a/b", "b"), ("x" * 90, "x" * 64)],
)
def test_a_title_becomes_the_name_of_a_folder(text, name):
    assert slug(text) == name


def test_a_model_that_was_tuned_before_does_not_get_an_ever_longer_name():
    assert suggested_name("nuclei-tuned", {"nuclei-tuned"}) == "nuclei-tuned-2"
    assert suggested_name("nuclei-tuned-2", {"nuclei-tuned", "nuclei-tuned-2"}) == "nuclei-tuned-3"


def test_all_choices_are_in_the_settings_of_a_run():
    choices = FinetuneChoices(minutes=3, depth="head", orientation="fixed", device="cpu")
    settings = choices.settings("mine")
    assert (settings.minutes, settings.depth, settings.device) == (3, "head", "cpu")
    assert settings.orientation == "fixed"


@pytest.mark.parametrize(
    "choice", [{"minutes": 0}, {"depth": "deep"}, {"labels": "both"}, {"orientation": "up"}]
)
def test_a_choice_outside_its_range_is_refused(choice):
    with pytest.raises(SettingsError):
        FinetuneChoices(**choice)
