import numpy as np
import pytest
from PIL import Image

from napari_rwkv_seg.training.augment import BATCHES, random_crop, random_grey
from napari_rwkv_seg.training.samples import read_split, sampling_weights


@pytest.fixture
def folder(tmp_path):
    """Five training images of two kinds, one test image."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    split, meta = ["file,mask,split"], ["file,group"]
    for number in range(6):
        name = f"{number}.png"
        Image.fromarray(np.full((21, 34), 10 * number, np.uint8)).save(tmp_path / "images" / name)
        Image.fromarray(np.full((21, 34), number, np.uint16)).save(tmp_path / "masks" / name)
        split.append(f"images/{name},masks/{name},{'test' if number == 5 else 'train'}")
        meta.append(f"{name},{'rare' if number == 0 else 'common'}")
    (tmp_path / "split.csv").write_text("\n".join(split))
    (tmp_path / "meta.csv").write_text("\n".join(meta))
    return tmp_path


def test_only_the_images_of_the_split_are_read(folder):
    assert [s.name for s in read_split(folder, "train")] == [f"{n}.png" for n in range(5)]
    assert [int(s.objects.max()) for s in read_split(folder, "test")] == [5]


def test_a_split_without_images_is_an_error(folder):
    with pytest.raises(ValueError, match="'val'"):
        read_split(folder, "val")


def test_a_mask_of_another_size_is_an_error(folder):
    Image.fromarray(np.zeros((21, 33), np.uint8)).save(folder / "masks" / "0.png")
    with pytest.raises(ValueError, match=r"masks/0\.png.*\(21, 33\)"):
        read_split(folder, "train")


def test_a_kind_is_drawn_as_often_as_the_root_of_its_number(folder):
    weights = sampling_weights(read_split(folder, "train"))
    assert weights.sum() == pytest.approx(1)
    assert weights[1:].sum() / weights[0] == pytest.approx(2)


def test_a_table_that_states_no_kinds_gives_none(folder):
    (folder / "meta.csv").write_text("file,diagnosis\n0.png,benign\n")
    assert {sample.group for sample in read_split(folder, "train")} == {""}


@pytest.mark.parametrize("size", [(20, 33), (97, 131), (700, 650)])
def test_a_crop_has_its_size_whatever_the_image_has(size):
    height, width, _ = BATCHES[2]
    crop = random_crop(height, width)
    crop.set_random_state(3)
    arrays = {
        "image": np.random.default_rng(0).random((3, *size), dtype=np.float32),
        "target": np.ones((1, *size), np.float32),
        "weight": np.full((1, *size), 5, np.float32),
    }
    result = crop(arrays)
    assert result["image"].shape == (3, height, width)
    assert result["image"].isfinite().all()
    assert (result["target"] == 1).all()
    assert (result["weight"] == 5).all()


def test_target_and_image_are_turned_and_cut_alike():
    crop = random_crop(64, 64)
    crop.set_random_state(5)
    square = np.zeros((1, 150, 150), np.float32)
    square[:, 40:110, 30:120] = 1
    result = crop({"image": square.copy(), "target": square.copy(), "weight": square.copy()})
    bright = result["image"][0] > result["image"][0].mean()
    agreement = (bright == (result["target"][0] > 0)).float().mean()
    assert 0.05 < result["target"].mean() < 0.95
    assert agreement > 0.9


def test_a_grey_variant_has_equal_channels():
    import torch

    image = torch.rand(3, 9, 5)
    drawn = [random_grey(image, np.random.default_rng(seed)) for seed in range(40)]
    grey = [d for d in drawn if torch.equal(d[0], d[1]) and torch.equal(d[1], d[2])]
    same = [d for d in drawn if torch.equal(d, image)]
    assert grey
    assert same
