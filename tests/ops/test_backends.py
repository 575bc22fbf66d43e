"""Which backend runs, and the sentence that says why."""

import pytest
import torch

from napari_rwkv_seg.errors import DeviceError, SettingsError
from napari_rwkv_seg.ops import backend_status, backends, bi_wkv

WISH = "NAPARI_RWKV_SEG_BACKEND"


@pytest.fixture(autouse=True)
def no_wish(monkeypatch):
    """Start every test without the variable, whatever the shell has set."""
    monkeypatch.delenv(WISH, raising=False)


def test_the_compiled_kernels_run_on_the_cpu():
    assert backends.choose(torch.zeros(1, 2, 3)) == ("cpu", "")


def test_half_precision_runs_compiled_as_well():
    assert backends.choose(torch.zeros(1, 2, 3, dtype=torch.float16)) == ("cpu", "")


def test_float64_runs_in_pytorch_and_says_why():
    backend, reason = backends.choose(torch.zeros(1, 2, 3, dtype=torch.float64))
    assert backend == "reference"
    assert "float64" in reason


def test_a_device_without_kernels_runs_in_pytorch_and_says_why():
    backend, reason = backends.choose(torch.zeros(1, device="meta"))
    assert backend == "reference"
    assert "'meta'" in reason


def test_without_kernels_a_cuda_device_runs_pytorch_and_says_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backends._cuda, "obstacle", lambda device, dtype: "No compiler was found.")
    status = backend_status()
    assert status.backend == "reference"
    assert status.reason.startswith("No compiler was found. WKV runs in plain PyTorch")


def test_with_kernels_a_cuda_device_runs_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backends._cuda, "obstacle", lambda device, dtype: "")
    status = backend_status()
    assert (status.backend, status.reason) == ("cuda", "")


def test_the_status_says_what_runs_here():
    status = backend_status()
    assert status.backend == "cpu"
    assert status.reason == "No CUDA device found."
    assert status.library is not None
    assert status.instruction_set in ("avx512", "avx2", "baseline")
    assert status.threads == torch.get_num_threads()


@pytest.mark.parametrize("wish", ["cpu", "reference"])
def test_the_variable_chooses_the_backend(monkeypatch, wish):
    monkeypatch.setenv(WISH, wish)
    assert backends.choose(torch.zeros(1, 2, 3))[0] == wish
    assert backend_status().backend == wish


def test_the_chosen_reference_gives_the_same_answer(monkeypatch):
    torch.manual_seed(42)
    w, u, k, v = torch.randn(3), torch.randn(3), torch.randn(1, 40, 3), torch.randn(1, 40, 3)
    compiled = bi_wkv(w, u, k, v)
    monkeypatch.setenv(WISH, "reference")
    torch.testing.assert_close(bi_wkv(w, u, k, v), compiled, rtol=1e-4, atol=1e-5)


def test_a_wish_for_cuda_that_cannot_be_met_is_an_error(monkeypatch):
    monkeypatch.setenv(WISH, "cuda")
    with pytest.raises(DeviceError, match=r"asks for 'cuda'.*not on a CUDA device"):
        bi_wkv(torch.zeros(3), torch.zeros(3), torch.zeros(1, 4, 3), torch.zeros(1, 4, 3))


def test_a_wish_for_the_kernels_on_float64_is_an_error(monkeypatch):
    monkeypatch.setenv(WISH, "cpu")
    with pytest.raises(DeviceError, match="float64"):
        backends.choose(torch.zeros(1, dtype=torch.float64))


def test_a_wish_for_what_does_not_exist_is_an_error(monkeypatch):
    monkeypatch.setenv(WISH, "tpu")
    with pytest.raises(SettingsError, match="'tpu'; it can be cuda, cpu, reference"):
        backend_status()
