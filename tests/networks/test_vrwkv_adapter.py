"""The multi-scale encoder: the authors' keys, counts and numbers, and how it starts."""

import pytest
import torch

from napari_rwkv_seg.networks import VRWKV, VRWKV_CONFIGS, VRWKVAdapter, VRWKVConfig

PARAMETERS = {"T": 8_404_592, "S": 29_264_528, "B": 106_555_616}
TOY = VRWKVConfig(16, 4, grid=4)


def on_meta(config: VRWKVConfig) -> VRWKVAdapter:
    with torch.device("meta"):
        return VRWKVAdapter(config)


@pytest.mark.shared
def test_vrwkv_adapter_t_gives_the_authors_four_maps(seeded, numbers, assert_close):
    network = VRWKVAdapter(VRWKV_CONFIGS["T"]).eval()
    network.load_state_dict(seeded("vrwkv_adapter_T"), strict=True)
    known = numbers("vrwkv_adapter_T.io")
    with torch.no_grad():
        maps = network(known["x"])
    for name, got in zip(("f1", "f2", "f3", "f4"), maps, strict=True):
        # f1 is stored in float16
        assert_close(got, known[name], 2e-3 if name == "f1" else 1e-4, name)


@pytest.mark.shared
@pytest.mark.parametrize("variant", PARAMETERS)
def test_keys_and_shapes_are_the_authors(variant, key_shapes):
    state = on_meta(VRWKV_CONFIGS[variant]).state_dict()
    shapes = {key: list(value.shape) for key, value in state.items()}
    assert shapes == key_shapes(f"vrwkv_adapter_{variant}")


@pytest.mark.parametrize("variant", PARAMETERS)
def test_the_number_of_parameters_is_the_published_one(variant):
    network = on_meta(VRWKV_CONFIGS[variant])
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[variant]


def test_the_large_encoder_can_be_built():
    shapes = {key: value.shape for key, value in on_meta(VRWKV_CONFIGS["L"]).state_dict().items()}
    assert shapes["interactions.3.extra_extractors.1.attn.value_proj.weight"] == (512, 1024)
    assert sum(key.endswith("att.key.weight") for key in shapes) == 24


@pytest.mark.parametrize("size", [(32, 32), (64, 32), (32, 96)], ids=str)
def test_maps_have_strides_4_8_16_and_32(size):
    maps = VRWKVAdapter(TOY, in_channels=1).eval()(torch.randn(2, 1, *size))
    strides = [(size[0] // each.shape[2], size[1] // each.shape[3]) for each in maps]
    assert strides == [(4, 4), (8, 8), (16, 16), (32, 32)]
    assert {each.shape[1] for each in maps} == {16}


@pytest.mark.parametrize("size", [(33, 32), (64, 40)], ids=str)
def test_a_size_that_is_no_multiple_of_32_is_refused(size):
    with pytest.raises(ValueError, match="multiples of 32"):
        VRWKVAdapter(TOY)(torch.randn(1, 3, *size))


def test_layer_scale_of_the_tiny_encoder_starts_at_one():
    gamma = VRWKVAdapter(TOY).layers[2].gamma1
    torch.testing.assert_close(gamma.detach(), torch.ones(16))


def test_at_first_the_prior_does_not_reach_the_tokens():
    torch.manual_seed(42)
    adapter = VRWKVAdapter(TOY).eval()
    plain = VRWKV(TOY).eval()
    shared_state = {key: adapter.state_dict()[key] for key in plain.state_dict() if key[:2] != "ln"}
    plain.load_state_dict({**plain.state_dict(), **shared_state})
    seen = []
    hooks = [layer.register_forward_hook(lambda *a: seen.append(a[2])) for layer in adapter.layers]
    image = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        adapter(image)
        third = plain(image)[2]
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(seen[2].transpose(1, 2).reshape(third.shape), third)


def test_once_the_injectors_open_the_prior_does_reach_them():
    torch.manual_seed(42)
    adapter = VRWKVAdapter(TOY).eval()
    image = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        before = adapter(image)[3]
        for interaction in adapter.interactions:
            interaction.injector.gamma.fill_(1.0)
        after = adapter(image)[3]
    assert (after - before).abs().max() > 1e-3


def test_images_of_a_batch_do_not_see_each_other():
    torch.manual_seed(42)
    adapter = VRWKVAdapter(TOY).eval()
    images = torch.randn(3, 3, 32, 64)
    with torch.no_grad():
        together = adapter(images)
        alone = adapter(images[1:2])
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many[1:2], one, atol=1e-5, rtol=1e-4)


@pytest.fixture
def shallow():
    torch.manual_seed(42)
    network = VRWKVAdapter(VRWKVConfig(24, 4)).eval()
    for interaction in network.interactions:
        torch.nn.init.ones_(interaction.injector.gamma)
    return network


def test_the_encoder_compiles_without_a_graph_break(shallow):
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        compiled = torch.compile(shallow, backend="aot_eager", fullgraph=True)
        for got, want in zip(compiled(image), shallow(image), strict=True):
            torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_the_encoder_can_be_exported(shallow):
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        exported = torch.export.export(shallow, (image,)).module()
        for got, want in zip(exported(image), shallow(image), strict=True):
            torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
