"""The authors' way of parallelising Bi-WKV, written by us, for comparison on a CUDA device."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from napari_rwkv_seg.ops import _cuda, _cuda_driver, _nvrtc
from napari_rwkv_seg.ops._cuda_plan import COMPILE_OPTIONS, Call, Launch

from .checks import must

SOURCE = Path(__file__).resolve().parents[1] / "authors_scheme.cu"
THREADS, SHARED_BYTES, LANES = 1024, 40960, 32
Calls = tuple[Callable[[], object], Callable[[], object]]


class AuthorsScheme:
    """The compiled kernels on one device; float32 only, as the authors' are."""

    def __init__(self, device: torch.device) -> None:
        major, minor = torch.cuda.get_device_capability(device)
        code = _nvrtc.compile_source(
            SOURCE.read_text(encoding="utf-8"),
            _cuda.sources()[1],
            (*COMPILE_OPTIONS, "-DRWKV_ELEMENT=0"),
            major * 10 + minor,
        )
        index = torch.cuda.current_device() if device.index is None else device.index
        launches = (plan("forward", 1, 1), plan("backward", 1, 1))
        self._module = _cuda_driver.load(_cuda_driver.driver(), index, code, launches)

    def calls(self, w: Tensor, u: Tensor, k: Tensor, v: Tensor, gy: Tensor) -> Calls:
        """Return the forward and the backward pass on these tensors, checked against ours."""
        batch, tokens, channels = k.shape
        y, dk, dv = (torch.empty_like(k) for _ in range(3))
        sums = k.new_empty(2, batch, channels)  # dw and du of each image
        scratch = k.new_empty(2 * k.numel())
        arrays = {"w": w, "u": u, "k": k, "v": v, "y": y, "gy": gy, "dk": dk, "dv": dv}
        arrays |= {"states": sums, "scratch": scratch}
        call = Call(batch=batch, tokens=tokens, channels=channels)
        for name, array in arrays.items():
            setattr(call, name, array.data_ptr())
        ahead = self._pass("forward", call, arrays)
        back = self._pass("backward", call, arrays)
        ahead()
        want, _ = _cuda.forward(w, u, k, v)
        error = float((y - want).norm() / want.norm())
        must(error <= 1e-3, f"the authors' scheme is off by {error:.1e}")
        return ahead, back

    def _pass(self, way: str, call: Call, arrays: dict[str, Tensor]) -> Callable[[], object]:
        k = arrays["k"]  # the closure keeps all arrays alive
        launches = (plan(way, k.shape[0], k.shape[2]),)

        def run() -> None:
            stream = torch.cuda.current_stream(k.device).cuda_stream
            _cuda_driver.launch(self._module, launches, call, stream)

        return run


def plan(way: str, batch: int, channels: int) -> Launch:
    """Return the one launch of a pass."""
    blocks = batch * -(-channels // LANES)
    return Launch(f"authors_{way}", (blocks, 1, 1), (THREADS, 1, 1), SHARED_BYTES)
