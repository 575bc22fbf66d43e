import contextlib

import pytest
import torch
from torch import nn

from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.training.hardware import (
    Lightener,
    checkpoint_blocks,
    choose_precision,
    company,
)
from napari_rwkv_seg.training.run_settings import make_settings


@pytest.mark.parametrize("encoder", ["plain", "adapter"])
def test_checkpointed_blocks_give_the_same_answer_and_the_same_gradients(encoder: str) -> None:
    torch.manual_seed(0)
    network = build_network("med_urwkv", "T", encoder=encoder, decoder="slim").eval()
    image = torch.rand(1, 3, 64, 64)
    names = [name for name, _ in network.named_parameters()]

    def answer() -> tuple[torch.Tensor, list[torch.Tensor]]:
        network.zero_grad()
        logits = network(image)
        logits.square().mean().backward()
        return logits.detach(), [p.grad.clone() for p in network.parameters()]

    logits, gradients = answer()
    assert checkpoint_blocks(network) > 4
    again, same = answer()
    torch.testing.assert_close(again, logits)
    for name, one, other in zip(names, gradients, same, strict=True):
        torch.testing.assert_close(one, other, msg=name)
    assert [name for name, _ in network.named_parameters()] == names


def test_a_run_is_lightened_by_computing_twice_then_by_smaller_crops_until_nothing_is_left() -> (
    None
):
    network = nn.ModuleList([nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)])
    sentences = ["half", "a quarter"]
    lightener = Lightener(network, lambda: sentences.pop(0) if sentences else "")
    assert "2 blocks" in lightener()
    assert "half" in lightener()
    assert "quarter" in lightener()
    assert lightener() == ""


@pytest.mark.parametrize(("has_it", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_is_taken_only_where_the_processor_computes_with_it(
    monkeypatch: pytest.MonkeyPatch, has_it: bool, expected: str
) -> None:
    found = {"avx512_bf16": has_it, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert choose_precision("auto", is_cuda=False) == expected
    assert choose_precision("float32", is_cuda=False) == "float32"
    assert choose_precision("bfloat16", is_cuda=False) == "bfloat16"


@pytest.mark.parametrize("ending", [None, ZeroDivisionError])
def test_who_trained_in_company_takes_leave_of_it(tmp_path, ending) -> None:
    meeting = f"file://{(tmp_path / 'meeting').as_posix()}"
    with (
        pytest.raises(ending) if ending else contextlib.nullcontext(),
        company(make_settings(model="none", name="alone", device="cpu")),
    ):
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
        if ending:
            raise ending
    assert not torch.distributed.is_initialized()
