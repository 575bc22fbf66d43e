"""Authors' checkpoints: every honest form loads exactly, a misfit is refused by name."""

import argparse
import importlib.util
import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from napari_rwkv_seg.errors import MisfitError, ModelError
from napari_rwkv_seg.networks import VRWKV, VRWKV_CONFIGS, VRWKVAdapter, build_network
from napari_rwkv_seg.zoo.checkpoints import load_checkpoint, read_checkpoint

State = dict[str, Tensor]


@pytest.fixture
def state(stand_ins) -> State:
    return stand_ins("vrwkv", "T")


def assert_refused(path: Path, reason: str) -> str:
    with pytest.raises(ModelError, match=reason) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


# What loads


@pytest.mark.parametrize(
    ("architecture", "kind"), [("vrwkv", VRWKV), ("vrwkv_adapter", VRWKVAdapter)]
)
def test_a_saved_network_comes_back_exactly_and_in_eval_mode(architecture, kind, save):
    torch.manual_seed(42)
    network = build_network(architecture, "T").eval()
    loaded = load_checkpoint(save(network.state_dict()))
    assert type(loaded) is kind
    assert not any(module.training for module in loaded.modules())
    image = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        maps, want = loaded(image), network(image)
    assert len(maps) == 4
    torch.testing.assert_close(maps, want, atol=0, rtol=0)


def seeded_state(shared: Path, name: str) -> State:
    spec = importlib.util.spec_from_file_location("seeded", shared / "fixtures/seeded_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.seeded_state_dict(shared / f"fixtures/{name}.keys.json")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "maps"),
    [("vrwkv_T", ["f2", "f5", "f8", "f11"]), ("vrwkv_adapter_T", ["f1", "f2", "f3", "f4"])],
)
def test_a_loaded_authors_file_gives_the_authors_maps(name, maps, shared, save):
    weights = seeded_state(shared, name)
    file = save({"state_dict": {f"backbone.{key}": value for key, value in weights.items()}})
    with np.load(shared / f"fixtures/{name}.io.npz") as known, torch.no_grad():
        got = load_checkpoint(file)(torch.from_numpy(known["x"]))
        want = [torch.from_numpy(known[each]).float() for each in maps]
    errors = [float((g - w).norm() / w.norm()) for g, w in zip(got, want, strict=True)]
    assert max(errors) < 5e-4  # one map is stored in half precision


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model", "module", "model+state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_wrappers_and_prefixes_are_taken_off(wrapper, prefix, state, save):
    content = OrderedDict((prefix + key, value) for key, value in state.items())
    for name in filter(None, wrapper.split("+")):
        content = {name: content, "meta": {"epoch": 3, "classes": ["a", "b"]}, "optimizer": {}}
    checkpoint = read_checkpoint(save(content))
    assert (checkpoint.architecture, checkpoint.variant) == ("vrwkv", "T")
    assert checkpoint.notes == ()


@pytest.mark.parametrize(
    "head", ["head.fc.weight", "head.0.bias", "decode_head.conv_seg.weight", "auxiliary_head.x"]
)
def test_heads_of_other_tasks_are_left_out_and_named(head, state, save, caplog):
    file = save({"state_dict": {**state, head: torch.ones(7), f"{head}2": torch.ones(7)}})
    assert isinstance(load_checkpoint(file), VRWKV)
    assert f"Left out 2 tensors of {head.partition('.')[0]}." in caplog.text.replace("'", "")


@pytest.mark.parametrize(
    ("architecture", "variant"),
    [
        ("vrwkv", "S"),
        ("vrwkv_adapter", "T"),
        ("vrwkv_adapter", "S"),
        ("rwkv_unet", "T"),
        ("rwkv_unet", "S"),
        ("rwkv_unet", "B"),
        ("rwkv_unet_encoder", "T"),
        ("rwkv_unet_encoder", "S"),
        ("rwkv_unet_encoder", "B"),
    ],
)
def test_architecture_and_variant_are_recognised(architecture, variant, save, stand_ins):
    checkpoint = read_checkpoint(save(stand_ins(architecture, variant)))
    assert (checkpoint.architecture, checkpoint.variant) == (architecture, variant)


def test_a_missing_layer_scale_of_the_tiny_adapter_is_one_and_noted(save, stand_ins):
    state = stand_ins("vrwkv_adapter", "T")
    kept = {k: v for k, v in state.items() if not k.endswith(("gamma1", "gamma2"))}
    checkpoint = read_checkpoint(save(kept))
    torch.testing.assert_close(checkpoint.network.layers[4].gamma2.detach(), torch.ones(192))
    assert checkpoint.notes == ("Set 24 missing layer scales (gamma) to 1.",)


def test_a_missing_injector_gate_is_not_made_up(save, stand_ins):
    state = stand_ins("vrwkv_adapter", "T")
    del state["interactions.2.injector.gamma"]
    assert_refused(save(state), "'interactions.2.injector.gamma' is missing")


def test_a_position_embedding_of_another_square_is_kept(state, save):
    state["pos_embed"] = torch.randn(1, 32 * 32, 192)
    network = load_checkpoint(save(state))
    torch.testing.assert_close(network.pos_embed.detach(), state["pos_embed"])
    with torch.no_grad():
        assert network(torch.randn(1, 3, 20, 40))[0].shape == (1, 192, 2, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_float_types_are_converted_and_noted(dtype, state, save):
    converted = {key: value.to(dtype) for key, value in state.items()}
    checkpoint = read_checkpoint(save(converted))
    assert {p.dtype for p in checkpoint.network.parameters()} == {torch.float32}
    name = str(dtype).removeprefix("torch.")
    assert checkpoint.notes == (f"Converted {len(state)} tensors from {name} to float32.",)


def test_safetensors_files_load_too(state, tmp_path):
    torch.manual_seed(42)
    state = {key: torch.randn_like(value.contiguous()) for key, value in state.items()}
    file = tmp_path / "net.safetensors"
    file.write_bytes(safetensors.torch.save(state))
    loaded = load_checkpoint(str(file)).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_the_loaded_network_does_not_depend_on_the_file(state, save):
    file = save(state)
    network = load_checkpoint(file)
    file.write_bytes(b"")
    assert all((parameter == 0.5).all() for parameter in network.parameters())


# What does not fit


def test_a_missing_key_is_named(state, save):
    del state["layers.7.ffn.key.weight"]
    assert_refused(save(state), "VRWKV T but does not fit it: 'layers.7.ffn.key.weight' is missing")


def test_an_unknown_key_is_named(state, save):
    state["layers.7.ffn.surprise"] = torch.ones(3)
    assert_refused(save(state), "'layers.7.ffn.surprise' is unknown")


def test_a_renamed_key_is_named_on_both_sides(state, save):
    state["ema_ln1.weight"] = state.pop("ln1.weight")
    assert_refused(save(state), r"'ln1.weight' is missing; 'ema_ln1.weight' is unknown\.")


def test_only_the_first_misfits_are_named_and_the_rest_counted(save, stand_ins):
    state = {key: value for key, value in stand_ins("vrwkv", "T").items() if "layers" not in key}
    text = assert_refused(save(state), "and 208 more")
    assert text.count("is missing") == 10


def test_all_misfits_are_kept_with_the_error(save, stand_ins):
    state = {key: value for key, value in stand_ins("vrwkv", "T").items() if "layers" not in key}
    with pytest.raises(MisfitError) as caught:
        load_checkpoint(save(state))
    assert len(caught.value.misfits) == 218
    assert caught.value.misfits[-1] == "'layers.11.ffn.value.weight' is missing"


def test_one_network_in_another_ones_clothes_is_refused_by_shape(state, save):
    state["patch_embed.projection.weight"] = torch.ones(()).expand(768, 3, 16, 16)
    text = assert_refused(save(state), r"looks like VRWKV B but does not fit")
    assert "'layers.0.gamma1' is missing" in text


def test_a_wrong_shape_is_named_with_what_was_expected(state, save):
    state["layers.0.att.key.weight"] = torch.ones(192, 191)
    wanted = r"'layers.0.att.key.weight' has shape \(192, 191\) instead of \(192, 192\)"
    assert_refused(save(state), wanted)


def test_a_tensor_that_claims_terabytes_is_refused_by_its_shape(state, save):
    state["layers.0.att.key.weight"] = torch.ones(1).expand(1_000_000, 1_000_000)
    assert_refused(save(state), r"has shape \(1000000, 1000000\) instead")


def test_an_unheard_of_width_is_refused_with_the_known_ones(state, save):
    state["patch_embed.projection.weight"] = torch.ones(200, 3, 16, 16)
    assert_refused(save(state), r"tokens of 200 channels; VRWKV has 192 \(T\), 384 \(S\)")


@pytest.mark.parametrize("positions", [(1, 195, 192), (196, 192), (1, 0, 192), ()], ids=str)
def test_positions_that_are_no_square_of_tokens_are_refused(positions, state, save):
    state["pos_embed"] = torch.ones(positions)
    assert_refused(save(state), "'pos_embed' has shape")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(value, state, save):
    state["layers.3.ln1.bias"] = torch.zeros(192).index_fill(0, torch.tensor([5]), value)
    assert_refused(save(state), "'layers.3.ln1.bias' that are not finite")


def test_a_float64_that_overflows_float32_is_refused(state, save):
    state["ln1.bias"] = torch.full((192,), 1e300, dtype=torch.float64)
    assert_refused(save(state), "'ln1.bias' that are not finite")


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64], ids=str)
def test_weights_that_are_no_real_numbers_are_refused(dtype, state, save):
    state["ln1.weight"] = state["ln1.weight"].to(dtype)
    assert_refused(save(state), "'ln1.weight' has numbers of type")


def test_a_sparse_tensor_is_refused(state, save):
    state["ln1.weight"] = torch.ones(192).to_sparse()
    assert_refused(save(state), "'ln1.weight' in a form that is not plain numbers")


def test_a_key_with_and_without_prefix_is_refused(state, save):
    state["backbone.ln1.weight"] = state["ln1.weight"]
    assert_refused(save(state), r"'ln1\.weight' twice")


def test_a_value_that_is_no_tensor_is_refused(state, save):
    assert_refused(save({**state, "epoch": 3}), "'epoch', which is not a named tensor")


def test_a_key_that_is_no_text_is_refused(save):
    assert_refused(save({3: torch.ones(3)}), "'3', which is not a named tensor")


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}], ids=str)
def test_a_file_without_tensors_is_refused(content, save):
    assert_refused(save(content), "holds 0 named tensors")


def test_a_file_with_very_many_tensors_is_refused(save):
    one = torch.ones(())
    assert_refused(save({str(index): one for index in range(5001)}), "holds 5001 named tensors")


def test_an_unknown_network_is_refused_and_some_of_its_keys_named(save):
    keys = [f"layer1.{index}.conv1.weight" for index in range(12)]
    text = assert_refused(save(dict.fromkeys(keys, torch.ones(3))), "none of VRWKV, VRWKV-Adapter")
    assert text.endswith("'layer1.9.conv1.weight'; and 2 more.")


def test_the_weights_of_a_model_of_ours_are_refused_with_the_way_in(save):
    file = save({"encoder.pos_embed": torch.ones(3), "bottleneck.blocks.0.x": torch.ones(3)})
    assert_refused(file, "Med-URWKV model.*import the model's folder")


# RWKV-UNet


def shapes_of(shared: Path, name: str) -> State:
    """Return the authors' names and shapes, with one number each."""
    shapes = json.loads((shared / f"fixtures/{name}.keys.json").read_text())
    return {
        key: torch.tensor(0 if key.endswith("tracked") else 0.5).expand(shape)
        for key, shape in shapes.items()
    }


@pytest.mark.shared
@pytest.mark.parametrize("variant", ["T", "S", "B"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_whole_rwkv_unet_of_the_current_release_loads(variant, prefix, shared, save):
    content = shapes_of(shared, f"rwkv_unet_{variant}")
    checkpoint = read_checkpoint(save({prefix + key: value for key, value in content.items()}))
    assert (checkpoint.architecture, checkpoint.variant) == ("rwkv_unet", variant)
    assert checkpoint.classes == 2
    dropped = len(content) - len(checkpoint.network.state_dict())
    assert checkpoint.notes == (f"Left out {dropped} tensors that the network never uses.",)


@pytest.mark.shared
@pytest.mark.parametrize("variant", ["T", "S", "B"])
def test_the_first_release_loads_too_and_its_one_logit_becomes_two(variant, shared, save):
    content = shapes_of(shared, f"rwkv_unet_{variant}_rev86424e9")
    checkpoint = read_checkpoint(save(content))
    assert (checkpoint.variant, checkpoint.classes) == (variant, 2)
    assert checkpoint.notes[-1] == "Turned its one logit into two, background first."
    weight = checkpoint.network.final_conv.weight
    assert weight.shape == (2, 24, 1, 1)
    assert (weight[0] == 0).all()
    assert (weight[1] == 0.5).all()


@pytest.mark.shared
@pytest.mark.parametrize("variant", ["T", "S", "B"])
def test_an_encoder_of_rwkv_unet_loads(variant, shared, save):
    checkpoint = read_checkpoint(save(shapes_of(shared, f"rwkv_unet_encoder_{variant}")))
    assert (checkpoint.architecture, checkpoint.variant) == ("rwkv_unet_encoder", variant)
    assert checkpoint.classes == 0
    assert checkpoint.notes[0] == "Left out 2 tensors of 'head.'."


@pytest.mark.shared
def test_a_loaded_rwkv_unet_gives_the_authors_logits(shared, save):
    network = load_checkpoint(save({"state_dict": seeded_state(shared, "rwkv_unet_T")}))
    with np.load(shared / "fixtures/rwkv_unet_T.io.npz") as known, torch.inference_mode():
        got, want = network(torch.from_numpy(known["x"])), torch.from_numpy(known["y"])
    assert float((got - want).norm() / want.norm()) < 1e-4


def test_two_logits_give_the_probability_of_the_one(save):
    torch.manual_seed(42)
    one = build_network("rwkv_unet", "T", classes=1).eval()
    two = load_checkpoint(save(one.state_dict()))
    image = torch.randn(1, 3, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(two(image).softmax(1)[:, 1:], one(image).sigmoid())


def test_an_unused_weight_of_a_wrong_shape_is_named(save, stand_ins):
    state = stand_ins("rwkv_unet", "T") | {"encoder.stage1.0.att.key.weight": torch.ones(5, 5)}
    wanted = r"'encoder.stage1.0.att.key.weight' has shape \(5, 5\) instead of \(96, 96\)"
    assert_refused(save(state), wanted)


def test_a_weight_that_neither_release_has_is_named(save, stand_ins):
    state = stand_ins("rwkv_unet", "T") | {"encoder.stage5.0.ln1.weight": torch.ones(5)}
    assert_refused(save(state), "'encoder.stage5.0.ln1.weight' is unknown")


def test_a_width_that_no_rwkv_unet_has_is_refused_with_the_known_ones(save, stand_ins):
    state = stand_ins("rwkv_unet", "T") | {"encoder.stage2.0.proj.conv.weight": torch.ones(9)}
    assert_refused(save(state), r"second stage of 9 channels; RWKV-UNet has 48 \(T\), 64 \(S\)")


@pytest.mark.parametrize(("architecture", "key"), [("rwkv_unet", "stage0"), ("vrwkv", "patch")])
def test_another_number_of_image_channels_is_kept(architecture, key, save, stand_ins):
    checkpoint = read_checkpoint(save(stand_ins(architecture, "T", in_channels=5)))
    assert checkpoint.in_channels == 5


# Masked autoencoders


def masked_autoencoder(state: State, positions: int) -> dict[str, object]:
    """Return a file as the program that VRWKV's authors used for this writes it."""
    decoder = ("mask_token", "cls_token", "decoder_embed.weight", "decoder_pos_embed")
    more = {key: torch.ones(4) for key in (*decoder, "decoder_blocks.0.norm1.weight")}
    state = {**state, "pos_embed": torch.ones(1, positions, 192), **more}
    options = argparse.Namespace(lr=1e-3, model="mae", output_dir="out")
    return {"model": state, "optimizer": {"state": {}}, "epoch": 3, "args": options}


@pytest.mark.parametrize("positions", [196, 197])
def test_a_masked_autoencoder_gives_its_encoder(positions, state, save):
    checkpoint = read_checkpoint(save(masked_autoencoder(state, positions)))
    assert (checkpoint.architecture, checkpoint.variant) == ("vrwkv", "T")
    assert checkpoint.network.pos_embed.shape == (1, 196, 192)
    left_out = [note for note in checkpoint.notes if "position of the class token" in note]
    assert len(left_out) == positions - 196


def test_known_configurations_differ_in_channels_which_is_how_they_are_told_apart():
    channels = [config.channels for config in VRWKV_CONFIGS.values()]
    assert len(set(channels)) == len(channels)
