"""The CUDA kernels, compiled for the CPU and run thread by thread, for the tests beside this."""

import ctypes
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from napari_rwkv_seg.ops import _cuda_plan as plan

HERE = Path(__file__).parent
CSRC = HERE.parents[2] / "csrc"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

_MARGIN = 1024  # elements on both sides of every array
_OUTCOMES = {
    1: "knows no such kernel",
    2: "wrote beyond its shared memory",
    3: "had some of a block's threads end while others waited for them",
}


def compile_for_cpu(compiler: str, source: Path, element: int, folder: Path) -> ctypes.CDLL:
    """Compile an emulator of CUDA together with the kernels that it includes."""
    target = folder / f"{source.stem}_{element}.so"
    flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wno-unknown-pragmas"]
    if platform.machine() == "x86_64":
        flags.append("-march=native")  # fused multiply-adds in hardware
    includes = [f"-I{folder}" for folder in (CSRC, CSRC / "cuda", HERE)]
    command = [compiler, *flags, f"-DRWKV_ELEMENT={element}", *includes, "-o", target, source]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(target))


class Arrays:
    """Tensors in the middle of larger ones, whose margins a kernel must leave alone.

    All memory is NaN at first, so that what is read before it is written, or from beyond
    an array's ends, makes itself felt.
    """

    def __init__(self) -> None:
        self._whole: list[Tensor] = []

    def new(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        size = int(torch.Size(shape).numel())
        self._whole.append(torch.full((size + 2 * _MARGIN,), torch.nan, dtype=dtype))
        return self._whole[-1][_MARGIN : _MARGIN + size].view(shape)

    def copy_of(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        return self.new(tensor.shape, dtype).copy_(tensor)

    def are_whole(self) -> bool:
        margins = [x for all_ in self._whole for x in (all_[:_MARGIN], all_[-_MARGIN:])]
        return all(bool(margin.isnan().all()) for margin in margins)


@dataclass
class Emulation:
    """The kernels for one element type, and the order of threads and blocks to run them in."""

    library: ctypes.CDLL
    dtype: torch.dtype
    order: int = 0

    def forward(self, w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the states."""
        arrays, sizes = Arrays(), (k.shape[0], k.shape[1], k.shape[2])
        call = self.call(arrays, (w, u, k, v))
        y = arrays.new(sizes, self.dtype)
        states = arrays.new((sizes[0], plan.state_rows(sizes[1]), sizes[2]), torch.float32)
        scratch = arrays.new((plan.scratch_floats(*sizes, is_backward=False),), torch.float32)
        call.y, call.states, call.scratch = y.data_ptr(), states.data_ptr(), scratch.data_ptr()
        self.run(plan.forward_plan(*sizes), call)
        assert arrays.are_whole(), "A kernel wrote beyond an array."
        return y.clone(), states.clone()

    def backward(
        self, inputs: tuple[Tensor, ...], y: Tensor, states: Tensor, gy: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients by w, u, k and v."""
        arrays, sizes = Arrays(), (y.shape[0], y.shape[1], y.shape[2])
        call = self.call(arrays, inputs)
        kept = [arrays.copy_of(y, self.dtype), arrays.copy_of(gy, self.dtype)]
        # Bit by bit: the states of steep channels are not float32.
        bits = arrays.new(states.shape, torch.float32)
        bits.view(torch.int32).copy_(states.view(torch.int32))
        dw, du = (arrays.new(sizes[2:], torch.float32) for _ in range(2))
        dk, dv = (arrays.new(sizes, self.dtype) for _ in range(2))
        scratch = arrays.new((plan.scratch_floats(*sizes, is_backward=True),), torch.float32)
        call.y, call.gy = (x.data_ptr() for x in kept)
        call.states, call.scratch = bits.data_ptr(), scratch.data_ptr()
        call.dw, call.du, call.dk, call.dv = (x.data_ptr() for x in (dw, du, dk, dv))
        self.run(plan.backward_plan(*sizes), call)
        assert arrays.are_whole(), "A kernel wrote beyond an array."
        return dw.clone(), du.clone(), dk.clone(), dv.clone()

    def call(self, arrays: Arrays, inputs: tuple[Tensor, ...]) -> plan.Call:
        """Return a call with copies of the inputs w, u, k and v."""
        dtypes = (torch.float32, torch.float32, self.dtype, self.dtype)
        copies = [arrays.copy_of(x, dtype) for x, dtype in zip(inputs, dtypes, strict=True)]
        call = plan.Call()
        call.w, call.u, call.k, call.v = (x.data_ptr() for x in copies)
        call.batch, call.tokens, call.channels = inputs[2].shape
        return call

    def run(self, launches: tuple[plan.Launch, ...], call: plan.Call) -> None:
        for launch in launches:
            outcome = self.library.emulate(
                launch.kernel.encode(),
                ctypes.byref(call),
                launch.grid[0],
                launch.block[0],
                launch.shared_bytes,
                self.order,
            )
            assert outcome == 0, f"{launch.kernel} {_OUTCOMES[outcome]}."


class Means(torch.autograd.Function):
    """Bi-WKV by emulated kernels, with their gradients."""

    @staticmethod
    def forward(ctx, emulation: Emulation, *inputs: Tensor) -> Tensor:
        ctx.emulation = emulation
        y, states = emulation.forward(*inputs)
        ctx.save_for_backward(*inputs, y, states)
        return y

    @staticmethod
    def backward(ctx, gy: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, y, states = ctx.saved_tensors
        return None, *ctx.emulation.backward(tuple(inputs), y, states, gy)
