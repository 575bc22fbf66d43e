"""The plain encoder: the authors' keys, counts and numbers, and any image size."""

import pytest
import torch
from torch.nn import functional

from napari_rwkv_seg.networks import VRWKV, VRWKV_CONFIGS, VRWKVConfig
from napari_rwkv_seg.networks.vrwkv import resize_positions

PARAMETERS = {"T": 5_962_176, "S": 23_435_136, "B": 92_876_544, "L": 328_659_968}
TOY = VRWKVConfig(16, 4, grid=4)


def on_meta(config: VRWKVConfig) -> VRWKV:
    with torch.device("meta"):
        return VRWKV(config)


@pytest.mark.shared
def test_a_toy_encoder_gives_the_authors_maps_and_gradients(assert_part_agrees):
    toy = VRWKV(VRWKVConfig(16, 3, grid=4), out_indices=(0, 1, 2))
    assert_part_agrees("vrwkv_tiny_toy", toy, ())


@pytest.fixture(scope="module")
def vrwkv_t(seeded):
    network = VRWKV(VRWKV_CONFIGS["T"]).eval()
    network.load_state_dict(seeded("vrwkv_T"), strict=True)
    return network


@pytest.mark.shared
def test_vrwkv_t_gives_the_authors_four_maps(vrwkv_t, numbers, assert_close):
    known = numbers("vrwkv_T.io")
    with torch.no_grad():
        maps = vrwkv_t(known["x"])
    for name, got in zip(("f2", "f5", "f8", "f11"), maps, strict=True):
        assert_close(got, known[name], 1e-4, name)


@pytest.mark.shared
def test_vrwkv_t_is_near_the_released_kernel(vrwkv_t, numbers, assert_close):
    known = numbers("vrwkv_T.io")
    with torch.no_grad():
        maps = vrwkv_t(known["x"])
    assert_close(maps[-1], known["f11_released_kernel"], 1e-3, "f11 of the released kernel")


@pytest.mark.shared
def test_vrwkv_t_gives_the_authors_map_of_a_rectangular_image(vrwkv_t, numbers, assert_close):
    known = numbers("vrwkv_T.io")
    with torch.no_grad():
        maps = vrwkv_t(known["x2"])
    assert_close(maps[-1], known["y2_f11"], 1e-4, "f11 of 200 x 250 pixels")


@pytest.mark.shared
@pytest.mark.parametrize("variant", VRWKV_CONFIGS)
def test_keys_and_shapes_are_the_authors(variant, key_shapes):
    state = on_meta(VRWKV_CONFIGS[variant]).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == key_shapes(
        f"vrwkv_{variant}"
    )


@pytest.mark.parametrize("variant", VRWKV_CONFIGS)
def test_the_number_of_parameters_is_the_published_one(variant):
    network = on_meta(VRWKV_CONFIGS[variant])
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[variant]


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 15), (70, 100)], ids=str)
def test_maps_have_a_sixteenth_of_the_size_rounded_up(size):
    maps = VRWKV(TOY, in_channels=2)(torch.randn(1, 2, *size))
    assert {tuple(each.shape) for each in maps} == {(1, 16, -(-size[0] // 16), -(-size[1] // 16))}


def test_the_corner_is_padded_with_zeros():
    torch.manual_seed(42)
    network = VRWKV(TOY).eval()
    image = torch.randn(1, 3, 30, 41)
    torch.testing.assert_close(network(image), network(functional.pad(image, (0, 7, 0, 2))))


def test_maps_are_those_of_the_blocks_that_were_asked_for():
    torch.manual_seed(42)
    network = VRWKV(TOY).eval()
    image = torch.randn(1, 3, 32, 48)
    every = network(image)
    network.out_indices = (1, 3)
    torch.testing.assert_close(network(image), [every[1], every[3]])
    assert VRWKV(TOY, out_indices=(-1,)).out_indices == (3,)


@pytest.mark.parametrize("index", [12, -13])
def test_a_block_that_there_is_not_is_refused(index):
    with pytest.raises(ValueError, match=f"no block {index}: this VRWKV has 12 blocks"):
        VRWKV(VRWKV_CONFIGS["T"], out_indices=[index, 3])


def test_quarters_end_at_the_authors_blocks():
    assert VRWKV_CONFIGS["T"].quarter_ends() == (2, 5, 8, 11)
    assert VRWKV_CONFIGS["L"].quarter_ends() == (5, 11, 17, 23)


def test_only_the_last_map_is_normalised():
    torch.manual_seed(42)
    maps = VRWKV(TOY).eval()(torch.randn(1, 3, 32, 48))
    means = [float(each.mean(1).abs().max().detach()) for each in maps]
    assert means[-1] < 1e-6
    assert min(means[:-1]) > 1e-4


def test_positions_of_the_trained_grid_are_not_touched():
    positions = torch.randn(1, 9, 4)
    assert resize_positions(positions, 3, 3) is positions


def test_resized_positions_keep_a_constant_and_their_order():
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    positions = torch.stack((rows, columns, torch.ones(4, 4)), -1).reshape(1, 16, 3)
    resized = resize_positions(positions, 3, 7).reshape(3, 7, 3)
    torch.testing.assert_close(resized[..., 2], torch.ones(3, 7))
    assert (resized[..., 0].diff(dim=0) > 0).all()
    assert (resized[..., 1].diff(dim=1) > 0).all()
    torch.testing.assert_close(resized[:, :1, 0].expand(3, 7), resized[..., 0])
