"""What is dropped and filled in what a new model finds, by the labels that it is made from."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from skimage import measure

from napari_rwkv_seg.training.clean_up import suited, what_differs
from napari_rwkv_seg.training.control import Control, LeaveError
from napari_rwkv_seg.training.events import Event
from napari_rwkv_seg.training.finetune import run_finetune
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.training.split import Split
from napari_rwkv_seg.training.targets import separated_target
from napari_rwkv_seg.zoo.card import ObjectDefaults
from napari_rwkv_seg.zoo.store import find_model, read_network, write_model

NUCLEI = ObjectDefaults(smallest_object=30, fill_holes=True)
SIZE = 160


def squares(length: int, number: int = 1, apart: int = 16) -> np.ndarray:
    """Return labels with squares of one number, none of which touches the border."""
    labels = np.zeros((SIZE, SIZE), np.int32)
    for row in range(4, SIZE - length - 1, apart):
        for column in range(4, SIZE - length - 1, apart):
            labels[row : row + length, column : column + length] = number
    return labels


def net() -> np.ndarray:
    labels = np.zeros((SIZE, SIZE), np.int32)
    for place in range(6, SIZE - 5, 24):
        labels[place : place + 3, 6:153] = labels[6:153, place : place + 3] = 1
    return labels


def found(
    labels: np.ndarray,
    kind: str = "classes",
    base: ObjectDefaults = NUCLEI,
    train: np.ndarray | None = None,
) -> tuple[int, bool]:
    """Return the smallest object and whether holes are filled, after a run on these labels."""
    train = np.ones(labels.shape, bool) if train is None else train
    pair = TrainingPair("a", labels.astype(np.uint8), labels, np.ones(labels.shape, bool))
    new = suited(base, [pair], Split((train,), (~train,), ""), kind)
    assert new.model_copy(update={"smallest_object": 0, "fill_holes": True}) == ObjectDefaults()
    return new.smallest_object, new.fill_holes


def test_small_regions_are_kept_where_the_labels_have_them() -> None:
    assert found(squares(5)) == (6, True)
    assert found(squares(1)) == (0, True)


def test_large_regions_without_holes_leave_the_base_as_it_is() -> None:
    assert found(squares(12)) == (30, True)


def test_a_base_without_clean_up_gets_none() -> None:
    plain = ObjectDefaults(smallest_object=0, fill_holes=False)
    assert found(squares(12), base=plain) == (0, False)
    assert found(squares(12), base=plain.model_copy(update={"fill_holes": True})) == (0, True)


def test_one_stray_pixel_changes_nothing() -> None:
    for labels in (squares(12), squares(60, apart=80)):
        labels[1, 1] = 1
        assert found(labels) == (30, True)


def test_small_regions_of_one_class_are_not_outvoted_by_large_ones_of_another() -> None:
    labels = squares(12)
    labels[4:9, 30:150:16] = labels[4:9, 31:150:16] = 0
    labels[50:53, 100:103] = labels[66:69, 100:103] = 2
    assert found(labels) == (2, True)


def test_objects_that_touch_count_one_by_one_and_are_kept_when_they_are_parted() -> None:
    labels = np.zeros((SIZE, SIZE), np.int32)
    labels[20:120, 20:120] = np.kron(np.arange(1, 401).reshape(20, 20), np.ones((5, 5), int))
    parted = measure.label(separated_target(labels)[0], connectivity=2)
    assert found(labels, "objects")[0] == 6 < np.bincount(parted.ravel()).min()
    assert found(labels > 0, "objects")[0] == 30


def test_spots_that_share_one_number_are_no_large_object() -> None:
    assert found(squares(5, number=7), "objects")[0] == 6


def test_regions_that_are_cut_off_tell_nothing() -> None:
    labels = np.zeros((SIZE, SIZE), np.int32)
    labels[:2, 10:12] = labels[-3:, 40:43] = 1  # at the border of the image
    labels[60:100, 60:100] = 1  # of which two columns are learnt from
    train = np.ones((SIZE, SIZE), bool)
    train[:, 62:] = False
    assert found(labels, train=train) == (30, True)
    assert found(labels) == (30, True)


def test_what_is_held_out_is_not_looked_at() -> None:
    labels = squares(12)
    labels[80:] = squares(3)[80:]
    train = np.zeros((SIZE, SIZE), bool)
    train[:80] = True
    assert found(labels, train=train) == (30, True)


def test_holes_are_filled_only_where_the_labels_have_none() -> None:
    assert not found(net())[1]
    pinholes = squares(60, apart=80)
    pinholes[20:50:10, 30] = 0
    assert found(pinholes) == (30, True)
    # What encloses another class has no hole.
    nested = squares(60, apart=80)
    nested[20:50, 20:50] = 2
    assert found(nested) == (30, True)


def test_what_is_not_checked_is_no_hole() -> None:
    labels = squares(60, apart=80)
    train = np.ones((SIZE, SIZE), bool)
    train[20:40, 20:40] = False
    labels[20:40, 20:40] = 0
    assert found(labels, train=train) == (30, True)


@pytest.mark.parametrize(
    ("new", "sentence"),
    [
        (NUCLEI, ""),
        (ObjectDefaults(smallest_object=30, fill_holes=False), "holes are not filled"),
        (ObjectDefaults(smallest_object=0), "parts of any size are kept"),
        (ObjectDefaults(smallest_object=12, fill_holes=False),
         "holes are not filled and parts from 12 pixels on are kept"),
    ],
)  # fmt: skip
def test_the_difference_is_said_in_words(new: ObjectDefaults, sentence: str) -> None:
    assert sentence in (said := what_differs(NUCLEI, new))
    assert bool(said) is bool(sentence)


def cleaning_run(tiny: ModuleType, folder: Path, labels: np.ndarray, steps: int) -> tuple:
    """Return a run on five images with these labels, from a base that cleans up, and its base."""
    base = tiny.write_base(folder / "base")
    card = find_model(base).card.model_copy(update={"objects": NUCLEI})
    write_model(base, tiny.MedURWKV(), card, "For tests.", overwrite=True)
    generator = np.random.default_rng(0)
    pairs = []
    for number in range(5):
        image = 20 + 120 * labels + generator.normal(0, 4, labels.shape)
        turned = np.rot90(image, number).astype(np.float32), np.rot90(labels, number).copy()
        pairs.append(TrainingPair(f"image {number}", *turned, labels >= 0))
    return tiny.tiny_run(folder, pairs, steps=steps, device="cpu")


@pytest.mark.parametrize("labels", [squares(4), net()], ids=["spots", "net"])
def test_spots_and_nets_are_learnt_from_a_base_that_drops_and_fills_them(
    tiny: ModuleType, tmp_path: Path, labels: np.ndarray
) -> None:
    run = cleaning_run(tiny, tmp_path, labels, 80)
    finished = run_finetune(run.path)
    assert finished["after"]["mean"] > 0.9
    new = find_model(run.model).card.objects
    assert new != NUCLEI
    assert what_differs(NUCLEI, new) in finished["sentence"]
    assert what_differs(NUCLEI, new) in (run.model / "README.md").read_text()


def test_a_run_that_goes_on_cleans_up_as_it_began(tiny: ModuleType, tmp_path: Path) -> None:
    run = cleaning_run(tiny, tmp_path, squares(4), 8)
    control = Control()

    def leave(event: Event) -> None:
        if event["event"] == "saved":
            control.leave()

    with pytest.raises(LeaveError):
        run_finetune(run.path, leave, control)
    run_finetune(run.path)
    assert find_model(run.model).card.objects.smallest_object == 4
    assert read_network(find_model(run.model))
