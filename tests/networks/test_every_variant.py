"""Every architecture in every published size: it runs forward and backward on any rectangle."""

import pytest
import torch

from napari_rwkv_seg.networks import SEGMENTERS, build_network

NATIVE = (224, 224)  # where the position embedding of the encoders is taken as it is
SIZES = [(96, 160), (97, 131)]
NARROW = {"decoder": "narrow"}
CASES = [
    *((name, variant, {}, size)
      for name in ("rwkv_unet", "rwkv_unet_encoder", "vrwkv") for variant in "TSB"
      for size in (SIZES if variant != "T" else [NATIVE, *SIZES])),
    *(("med_urwkv", variant, {"encoder": encoder} | (NARROW if variant == "B" else {}), size)
      for variant in "TSB" for encoder in ("adapter", "plain")
      for size in (SIZES if variant != "T" else [NATIVE, *SIZES])),
    *(("vrwkv_adapter", variant, {}, (96, 160)) for variant in "TSB"),
]  # fmt: skip


def name_of(case: object) -> str:
    return "x".join(map(str, case)) if isinstance(case, tuple) else str(case)


@pytest.mark.parametrize(("architecture", "variant", "config", "size"), CASES, ids=name_of)
def test_it_runs_forward_and_backward(architecture, variant, config, size):
    torch.manual_seed(42)
    network = build_network(architecture, variant, classes=3, **config)
    result = network(torch.randn(1, 3, *size))
    outputs = result if isinstance(result, list) else [result]
    torch.stack([each.square().mean() for each in outputs]).sum().backward()
    if architecture in SEGMENTERS:
        assert result.shape == (1, 3, *size)
    assert all(each.isfinite().all() for each in outputs)
    reached = [p for p in network.parameters() if p.grad is not None and p.grad.any()]
    assert len(reached) > 0.8 * len(list(network.parameters()))
    assert all(parameter.grad.isfinite().all() for parameter in reached)


@pytest.mark.parametrize("encoder", ["adapter", "plain"])
def test_the_largest_runs_forward(encoder):
    with torch.device("meta"):
        network = build_network("med_urwkv", "L", encoder=encoder, decoder="narrow")
    network.to_empty(device="cpu")
    for tensor in network.state_dict().values():
        tensor.fill_(1e-3)  # quicker than 380 million random numbers
    with torch.inference_mode():
        logits = network.eval()(torch.randn(1, 3, 33, 64))
    assert logits.shape == (1, 2, 33, 64)
    assert logits.isfinite().all()
