import numpy as np
import pytest

from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.inference.normalize import (
    check_dtype,
    match_channels,
    normalize_plane,
    prepare_plane,
)
from napari_rwkv_seg.zoo.card import Normalization

PERCENTILE = Normalization(mean=[0.0], std=[1.0])
FIXED = Normalization(kind="fixed", scale=255.0, mean=[0.5], std=[0.25])
DTYPES = ["u1", "u2", "u4", "u8", "i2", "i4", "i8", "f2", "f4", "f8", ">u2", ">i4", ">f4", ">f8"]


def picture(shape=(37, 41, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 120, shape).astype(np.uint8)


@pytest.mark.parametrize("dtype", [pytest.param(name, id=f"I07-{name}") for name in DTYPES])
@pytest.mark.parametrize("normalization", [PERCENTILE, FIXED], ids=["percentile", "fixed"])
def test_the_same_values_give_the_same_input_in_any_dtype(dtype, normalization):
    plane = picture()

    got = normalize_plane(plane.astype(dtype), normalization, 3)

    np.testing.assert_array_equal(got, normalize_plane(plane, normalization, 3))
    assert got.dtype == np.float32


@pytest.mark.parametrize("dtype", ["i1", "?"], ids=["I07-i1", "I07-bool"])
def test_small_dtypes_give_the_same_input_as_float(dtype):
    plane = (picture() % 2).astype(dtype)

    got = normalize_plane(plane, PERCENTILE, 3)

    np.testing.assert_array_equal(got, normalize_plane(plane.astype(np.float64), PERCENTILE, 3))


def test_i09_signed_ct_values_give_the_same_input_as_shifted_ones():
    signed = np.random.default_rng(0).integers(-1024, 3072, (37, 41, 1)).astype(np.int16)
    shifted = (signed.astype(np.int32) + 1024).astype(np.uint16)

    got = normalize_plane(signed, PERCENTILE, 1)

    np.testing.assert_allclose(got, normalize_plane(shifted, PERCENTILE, 1), atol=1e-6)


def test_percentiles_become_zero_and_one_in_every_channel():
    plane = picture().astype(np.float32) * np.array([1, 10, 100], dtype=np.float32)

    got = normalize_plane(plane, PERCENTILE, 3)

    assert got.min(axis=(1, 2)).tolist() == [0, 0, 0]
    assert got.max(axis=(1, 2)).tolist() == [1, 1, 1]


def test_fixed_normalisation_follows_its_formula():
    plane = picture()

    got = normalize_plane(plane, FIXED, 3)

    want = (plane.astype(np.float64) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(got, np.moveaxis(want, -1, 0), atol=1e-6)


def test_mean_and_std_are_taken_per_channel_where_the_card_has_them():
    normalization = Normalization(
        kind="fixed", scale=1.0, mean=[1.0, 2.0, 3.0], std=[1.0, 2.0, 4.0]
    )

    got = normalize_plane(np.full((5, 7, 3), 5.0), normalization, 3)

    assert got[:, 0, 0].tolist() == [4.0, 1.5, 0.5]


def test_grey_is_repeated_to_all_channels():
    got = normalize_plane(picture((37, 41, 1)), PERCENTILE, 3)

    np.testing.assert_array_equal(got[0], got[1])
    np.testing.assert_array_equal(got[0], got[2])


@pytest.mark.parametrize("value", [0, 255, -1000], ids=lambda value: f"I04-{value}")
def test_a_constant_plane_becomes_zeros_without_contrast(value):
    prepared = prepare_plane(np.full((9, 11, 1), value, dtype=np.int16), PERCENTILE, 3)

    assert not prepared.pixels.any()
    assert not prepared.has_contrast


def test_few_bright_pixels_on_black_keep_their_contrast():
    plane = np.zeros((100, 101, 1), dtype=np.uint8)
    plane[50, 50] = 200

    prepared = prepare_plane(plane, PERCENTILE, 1)

    assert prepared.has_contrast
    assert prepared.pixels[0, 50, 50] == 1


@pytest.mark.parametrize("share", [0.001, 0.5], ids=["I05-one pixel", "I05-half"])
def test_nan_pixels_are_marked_and_do_not_move_the_others(share):
    plane = picture((40, 50, 1)).astype(np.float32)
    hidden = np.zeros((40, 50), dtype=bool)
    hidden.flat[: max(1, int(share * hidden.size))] = True
    plane[hidden] = np.nan

    prepared = prepare_plane(plane, PERCENTILE, 3)

    assert np.isfinite(prepared.pixels).all()
    np.testing.assert_array_equal(prepared.invalid, hidden)
    assert not prepared.pixels[:, hidden].any()
    assert prepared.pixels.max() == 1


def test_a_plane_of_nan_alone_is_refused():  # I05
    with pytest.raises(ImageError, match="no finite pixel"):
        normalize_plane(np.full((5, 7, 1), np.nan), PERCENTILE, 3)


@pytest.mark.parametrize(
    "value", [np.inf, -np.inf, 1e38, -1e38, 1e-310], ids=lambda value: f"I06-{value}"
)
@pytest.mark.parametrize("normalization", [PERCENTILE, FIXED], ids=["percentile", "fixed"])
def test_extreme_pixels_are_clipped_to_finite_numbers(value, normalization):
    plane = picture((40, 50, 1)).astype(np.float64)
    plane[3, 4] = value

    prepared = prepare_plane(plane, normalization, 1)

    assert np.isfinite(prepared.pixels).all()
    assert prepared.invalid is None


def test_numbers_near_the_end_of_float64_do_not_overflow():  # I06
    plane = np.linspace(-1, 1, 600).reshape(20, 30, 1) * 1.7e308

    assert np.isfinite(normalize_plane(plane, PERCENTILE, 1)).all()


def test_masked_pixels_count_as_nan():  # I16
    plane = picture((20, 30, 1))
    hidden = plane > 100

    masked = prepare_plane(np.ma.array(plane, mask=hidden), PERCENTILE, 3)
    with_nan = prepare_plane(np.where(hidden, np.nan, plane), PERCENTILE, 3)

    np.testing.assert_array_equal(masked.pixels, with_nan.pixels)
    np.testing.assert_array_equal(masked.invalid, hidden[..., 0])


@pytest.mark.parametrize("view", ["reversed", "transposed", "strided", "read-only"])
def test_any_memory_layout_gives_the_same_input_and_stays_untouched(view):  # I16
    plane = picture((40, 50, 3))
    views = {
        "reversed": plane[::-1, ::-1],
        "transposed": plane.transpose(1, 0, 2),
        "strided": plane[::3, ::2],
        "read-only": plane.view(),
    }
    views["read-only"].flags.writeable = False
    before = plane.copy()

    got = normalize_plane(views[view], PERCENTILE, 3)

    np.testing.assert_array_equal(got, normalize_plane(views[view].copy(), PERCENTILE, 3))
    np.testing.assert_array_equal(plane, before)


@pytest.mark.parametrize(
    "dtype",
    ["c8", "c16", "O", "U3", "S3", "M8[s]", "m8[s]", [("a", "u1"), ("b", "f4")]],
    ids=lambda dtype: f"I08-{dtype if isinstance(dtype, str) else 'structured'}",
)
def test_a_dtype_that_is_no_real_number_is_refused_by_name(dtype):
    dtype = np.dtype(dtype)
    with pytest.raises(ImageError) as caught:
        check_dtype(dtype)
    assert str(dtype) in str(caught.value)


def test_alpha_is_ignored_with_a_note():  # I10
    plane = picture((20, 30, 4))

    got, note = match_channels(plane, 3)

    np.testing.assert_array_equal(got, plane[..., :3])
    assert "alpha" in note


@pytest.mark.parametrize("count", [2, 5, 7], ids=lambda count: f"I10-{count}")
def test_a_wrong_number_of_channels_names_both_numbers(count):
    with pytest.raises(ImageError, match=f"{count} channels.*trained on 3"):
        match_channels(picture((20, 30, count)), 3)


def test_one_channel_can_be_picked():
    plane = picture((20, 30, 7))

    got, _ = match_channels(plane, 3, channel=5)

    np.testing.assert_array_equal(got, plane[..., 5:6])


def test_a_channel_that_is_not_there_is_refused():
    with pytest.raises(ImageError, match="channels 0 to 6"):
        match_channels(picture((20, 30, 7)), 3, channel=7)


def test_percentiles_of_a_large_plane_come_from_a_subsample_of_like_result(monkeypatch):
    plane = picture((600, 701, 1)).astype(np.float32)
    whole = normalize_plane(plane, PERCENTILE, 1)
    monkeypatch.setattr("napari_rwkv_seg.inference.windows.SAMPLE_PIXELS", 10_000)

    np.testing.assert_allclose(normalize_plane(plane, PERCENTILE, 1), whole, atol=0.02)


def test_a_subsample_that_misses_all_finite_pixels_is_not_trusted(monkeypatch):
    monkeypatch.setattr("napari_rwkv_seg.inference.windows.SAMPLE_PIXELS", 100)
    plane = np.full((101, 101, 1), np.nan)
    plane[1, 1], plane[1, 2] = 3, 4

    prepared = prepare_plane(plane, PERCENTILE, 1)

    assert prepared.pixels[0, 1, 2] == 1
    assert prepared.pixels[0, 1, 1] == 0
