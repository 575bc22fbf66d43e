import numpy as np
import pytest

from napari_rwkv_seg.errors import ImageError


def picture(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 9), (2, 2), (15, 3)], ids=lambda shape: f"I02-{shape}"
)
def test_tiny_images_keep_their_shape(shape, pixel_model, predict):
    assert predict(picture(*shape), pixel_model).probabilities.shape == (2, *shape)


@pytest.mark.parametrize(
    "shape", [(255, 257), (67, 511), (17, 23)], ids=lambda shape: f"I03-{shape}"
)
def test_odd_sides_come_back_without_a_shift(shape, pixel_model, predict):
    image = np.zeros(shape, dtype=np.float32)
    image[3, 5] = image[-1, -1] = 1

    found = predict(image, pixel_model, tile_size=64).probabilities[1] > 0.5

    np.testing.assert_array_equal(found, image > 0)


@pytest.mark.parametrize(
    "shape", [(0, 10), (10, 0), (3, 0, 5), (0,)], ids=lambda shape: f"I01-{shape}"
)
def test_an_empty_image_is_refused_before_any_work(shape, make_model, pixel_network, predict):
    network = pixel_network()

    with pytest.raises(ImageError, match="empty"):
        predict(np.zeros(shape), make_model(network))
    assert not network.sizes


@pytest.mark.parametrize("value", [0, 255, -1000], ids=lambda value: f"I04-{value}")
def test_a_constant_image_is_said_to_have_no_contrast(value, pixel_model, predict):
    prediction = predict(np.full((20, 30), value, dtype=np.int16), pixel_model)

    assert any("no contrast" in note for note in prediction.notes)


def test_nan_pixels_become_background_and_are_counted(pixel_model, predict):  # I05
    image = np.ones((20, 30), dtype=np.float32)
    image[0, 0] = 0
    image[3, 4:9] = np.nan

    prediction = predict(image, pixel_model)

    assert prediction.probabilities[0, 3, 4:9].tolist() == [1] * 5
    assert prediction.probabilities[1, 3, 4:9].tolist() == [0] * 5
    assert prediction.probabilities[1, 4, 4] > 0.5
    assert any(note.startswith("5 pixels") for note in prediction.notes)


def test_an_image_of_nan_alone_is_refused(pixel_model, predict):  # I05
    with pytest.raises(ImageError, match="no finite pixel"):
        predict(np.full((20, 30), np.nan), pixel_model)


def test_a_plane_of_nan_in_a_stack_stays_background(pixel_model, predict):  # I05
    image = np.ones((9, 20, 30))
    image[:, 0, 0] = 0
    image[4] = np.nan

    prediction = predict(image, pixel_model, axes="ZYX")

    assert (prediction.probabilities[0, 4] == 1).all()
    assert (prediction.probabilities[1, 5, 1:] > 0.5).all()


@pytest.mark.parametrize(
    "dtype", ["c8", "O", "U3", "M8[s]", [("a", "u1")]], ids=lambda dtype: f"I08-{dtype}"
)
def test_pixels_that_are_no_real_numbers_are_refused(dtype, pixel_model, predict):
    with pytest.raises(ImageError, match="dtype"):
        predict(np.zeros((20, 30), dtype=dtype), pixel_model)


def test_the_alpha_channel_does_not_count(pixel_model, predict):  # I10
    image = picture(20, 30, 4)
    opaque = image.copy()
    opaque[..., 3] = 1

    prediction = predict(image, pixel_model, axes="YXC")

    np.testing.assert_array_equal(
        prediction.probabilities, predict(opaque, pixel_model, axes="YXC").probabilities
    )
    assert any("alpha" in note for note in prediction.notes)


def test_channels_first_gives_what_channels_last_gives(pixel_model, predict):  # I10
    image = picture(20, 30, 3)

    first = predict(np.moveaxis(image, -1, 0), pixel_model, axes="CYX")

    last = predict(image, pixel_model, axes="YXC")
    np.testing.assert_array_equal(first.probabilities, last.probabilities)


@pytest.mark.parametrize("count", [2, 5, 7], ids=lambda count: f"I10-{count}")
def test_a_wrong_channel_count_is_refused_before_any_work(
    count, make_model, pixel_network, predict
):
    network = pixel_network()

    with pytest.raises(ImageError, match=f"{count} channels"):
        predict(picture(20, 30, count), make_model(network), axes="YXC")
    assert not network.sizes


def test_a_stack_of_three_planes_of_unknown_kind_must_be_explained(pixel_model, predict):  # I10
    with pytest.raises(ImageError, match="State its axes"):
        predict(picture(3, 20, 30), pixel_model)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((9, 20, 30), "ZYX"),
        ((2, 9, 20, 30), "TZYX"),
        ((3, 9, 20, 30), "CZYX"),
        ((2, 1, 1, 20, 30), "TCZYX"),
    ],
    ids=lambda value: f"I11-{value}" if isinstance(value, str) else "",
)
def test_stacks_keep_their_axes_and_lose_only_the_channels(shape, axes, pixel_model, predict):
    image = picture(*shape)

    prediction = predict(image, pixel_model, axes=axes)

    spatial = tuple(length for length, letter in zip(shape, axes, strict=True) if letter != "C")
    assert prediction.probabilities.shape == (2, *spatial)
    assert prediction.axes == axes


def test_a_plane_of_a_stack_gives_what_it_gives_alone(pixel_model, predict):  # I11
    image = picture(9, 20, 30)

    stack = predict(image, pixel_model, axes="ZYX").probabilities

    np.testing.assert_array_equal(stack[:, 4], predict(image[4], pixel_model).probabilities)


def test_guessed_axes_of_a_stack_are_said(pixel_model, predict):
    assert "9 planes along Z" in " ".join(predict(picture(9, 20, 30), pixel_model).notes)


@pytest.mark.parametrize("kind", ["list", "masked", "reversed", "read-only"])
def test_any_kind_of_array_serves_and_stays_untouched(kind, pixel_model, predict):  # I16
    image = picture(20, 30)
    image.flags.writeable = False
    before = image.copy()
    given = {
        "list": image.tolist(),
        "masked": np.ma.array(image, mask=False),
        "reversed": image[::-1].copy()[::-1],
        "read-only": image,
    }[kind]

    got = predict(given, pixel_model)

    np.testing.assert_allclose(got.probabilities, predict(before, pixel_model).probabilities)
    np.testing.assert_array_equal(image, before)


def test_a_ragged_list_is_refused(pixel_model, predict):
    with pytest.raises(ImageError, match="no array"):
        predict([[1, 2], [3]], pixel_model)


def test_a_lazy_stack_is_read_plane_by_plane(pixel_model, predict):  # I13
    class Lazy:
        shape, dtype = (9, 20, 30), np.dtype(np.float32)

        def __init__(self):
            self.read = []

        def __getitem__(self, key):
            part = picture(9, 20, 30)[key]
            self.read.append(part.shape)
            return part

    lazy = Lazy()
    got = predict(lazy, pixel_model, axes="ZYX")

    assert lazy.read == [(20, 30)] * 9
    want = predict(picture(9, 20, 30), pixel_model, axes="ZYX")
    np.testing.assert_array_equal(got.probabilities, want.probabilities)
    assert got.image_sha256 == want.image_sha256
