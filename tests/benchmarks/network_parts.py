"""Where the time of Med-URWKV and of one VRWKV block goes on the CPU, part by part."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_rwkv_seg.networks import MedURWKV, VRWKVBlock
from napari_rwkv_seg.networks.mixing import mix_tokens, squared_relu
from napari_rwkv_seg.ops import bi_wkv, q_shift


def least_ms(run: Callable[[], object], repeats: int) -> float:
    """Return the least milliseconds of a call, after two calls to warm up."""
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 1e3 * min(seconds[2:])


def parts_of_block(block: VRWKVBlock, side: int, repeats: int) -> dict[str, float]:
    """Return milliseconds of a block on side x side tokens, and of its parts times their number."""
    spatial, channel, count = block.att, block.ffn, side * side
    tokens = torch.randn(1, count, spatial.key.in_features)
    shifted, hidden = q_shift(tokens, side, side), channel.key(tokens)
    decay, first = spatial.spatial_decay / count, spatial.spatial_first / count
    gamma = torch.ones(tokens.shape[2]) if block.gamma1 is None else block.gamma1
    parts: dict[str, tuple[int, Callable[[], Tensor]]] = {
        "whole block": (1, lambda: block(tokens, side, side)),
        "layer norm (2)": (2, lambda: block.ln1(tokens)),
        "q_shift (2)": (2, lambda: q_shift(tokens, side, side)),
        "interpolation (5)": (5, lambda: mix_tokens(tokens, shifted, spatial.spatial_mix_k)),
        "linear C to C (5)": (5, lambda: spatial.key(tokens)),
        "linear C to 4 C": (1, lambda: channel.key(tokens)),
        "linear 4 C to C": (1, lambda: channel.value(hidden)),
        "Bi-WKV": (1, lambda: bi_wkv(decay, first, tokens, shifted)),
        "squared relu": (1, lambda: squared_relu(hidden)),
        "sigmoid gate (2)": (2, lambda: torch.sigmoid(shifted) * tokens),
        "layer scale and residual (2)": (2, lambda: tokens + gamma * shifted),
    }
    with torch.inference_mode():
        return {name: times * least_ms(run, repeats) for name, (times, run) in parts.items()}


def parts_of_network(network: MedURWKV, pixels: Tensor, repeats: int) -> dict[str, float]:
    """Return median milliseconds of the parts of a network whose encoder is the adapter."""
    adapter = network.encoder
    injectors = [interaction.injector for interaction in adapter.interactions]
    extractors = [
        extractor
        for interaction in adapter.interactions
        for extractor in (interaction.extractor, *interaction.extra_extractors)
    ]
    parts: dict[str, list[nn.Module]] = {
        "whole network": [network],
        "spatial prior": [adapter.spm],
        "patch embedding": [adapter.patch_embed],
        "injectors (4)": injectors,
        "VRWKV blocks (12)": list(adapter.layers),
        "extractors (6)": extractors,
        "pyramid": [network.pyramid],
        "bottleneck": [network.bottleneck],
        "decoder's stages (3)": list(network.stages),
        "expansion to pixels": [network.expand.linear, network.expand.norm, network.head],
    }
    spent: dict[str, list[float]] = defaultdict(list)
    with torch.inference_mode():
        for turn in range(repeats + 2):
            sums = _timed(network, pixels, parts)
            if turn >= 2:
                for name, seconds in sums.items():
                    spent[name].append(1e3 * seconds)
    return {name: statistics.median(values) for name, values in spent.items()}


def _timed(network: nn.Module, pixels: Tensor, parts: dict[str, list[nn.Module]]) -> dict:
    """Run once and return the seconds that the modules of each part took."""
    sums = dict.fromkeys(parts, 0.0)
    starts: dict[nn.Module, float] = {}
    hooks = []
    for name, modules in parts.items():
        for module in modules:

            def begin(module: nn.Module, _: object) -> None:
                starts[module] = time.perf_counter()

            def end(module: nn.Module, _: object, __: object, name: str = name) -> None:
                sums[name] += time.perf_counter() - starts[module]

            hooks += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    network(pixels)
    for hook in hooks:
        hook.remove()
    return sums
