"""The script for machines with a GPU, as far as it can be tried without one."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.append(str(FOLDER))
import gpu_check  # noqa: E402
from fake_driver import FakeDriver  # noqa: E402
from gpu import authors, checks, timings  # noqa: E402

# What takes longer, or needs a GPU, is left to the script itself.
QUICK = [
    checks.kernels_run,
    checks.not_a_number_stays_in_its_channel,
    checks.threads_do_not_disturb_each_other,
    checks.layouts_do_not_matter,
    checks.compile_and_export_go_through,
]


def test_without_a_gpu_the_script_says_so_and_exits_with_2(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: run tests/benchmarks/gpu_check.py itself")
    output = tmp_path / "results.json"
    command = [sys.executable, str(FOLDER / "gpu_check.py"), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "There is no CUDA device that this torch can use: nothing was checked."
    )
    assert not output.exists()


@pytest.mark.parametrize("check", QUICK, ids=lambda check: check.__name__)
def test_a_check_passes_on_the_cpu_kernels(check):
    json.dumps(check(torch.device("cpu")))


def test_a_check_fails_where_the_kernels_do_not_run(monkeypatch):
    monkeypatch.setenv("NAPARI_RWKV_SEG_BACKEND", "reference")
    with pytest.raises(AssertionError, match="runs reference"):
        checks.kernels_run(torch.device("cpu"))


def test_a_check_fails_if_a_nan_spreads(monkeypatch):
    monkeypatch.setattr(
        checks, "bi_wkv", lambda w, u, k, v: (k + v).sum((1, 2), keepdim=True) + 0 * k
    )
    with pytest.raises(AssertionError, match="another channel"):
        checks.not_a_number_stays_in_its_channel(torch.device("cpu"))


def test_the_authors_scheme_is_compiled_and_launched_on_the_tensors(monkeypatch):
    fake = FakeDriver()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(authors._nvrtc, "compile_source", lambda *facts: b"code")
    monkeypatch.setattr(authors._cuda_driver, "driver", lambda: fake)
    stream = SimpleNamespace(cuda_stream=55)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(authors._cuda, "forward", lambda w, u, k, v: (k, None))
    monkeypatch.setattr(authors, "must", lambda holds, sentence: None)  # nothing was computed
    scheme = authors.AuthorsScheme(torch.device("cuda", 0))
    w, u, *rest = checks.random_inputs((2, 20, 40), torch.device("cpu"))
    _, back = scheme.calls(w, u, *rest)  # runs the forward pass once
    back()
    assert [one[0] for one in fake.launches] == ["authors_forward", "authors_backward"]
    for _, sizes, _, facts, _ in fake.launches:
        assert sizes == (4, 1, 1, 1024, 1, 1, 40960)
        assert (facts["w"], facts["gy"]) == (w.data_ptr(), rest[2].data_ptr())
        assert facts["states"] != 0
        assert facts["dk"] != 0


def test_every_column_is_timed():
    rows = timings.measure((1, 20, 8), torch.float32, torch.device("cpu"), None)
    for figures in rows.values():
        assert set(figures) == {"copy", "ours", "reference"}
        assert all(times["call_us"] > 0 for times in figures.values())


@pytest.fixture
def sanitizer(monkeypatch, tmp_path):
    """Return what makes a stand-in for compute-sanitizer of a line of shell."""
    if sys.platform == "win32":
        pytest.skip("the stand-in is a shell script")

    def make(line):
        script = tmp_path / "compute-sanitizer"
        script.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        script.chmod(0o755)
        monkeypatch.setattr(gpu_check.shutil, "which", lambda _: str(script))

    return make


def test_the_sanitizer_sees_every_allocation_by_itself(sanitizer):
    sanitizer('echo "caching off: $PYTORCH_NO_CUDA_MEMORY_CACHING"')
    assert gpu_check.sanitize("memcheck") == {"passed": True, "said": "caching off: 1\n"}


def test_a_sanitizer_that_does_not_end_takes_along_what_it_has_started(
    sanitizer, monkeypatch, tmp_path
):
    monkeypatch.setattr(gpu_check, "SANITIZER_S", 1)
    sanitizer(f"sleep 60 & echo $! > {tmp_path}/child; wait")
    assert gpu_check.sanitize("memcheck") == {"passed": None, "said": "did not end in 1 s"}
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie":
            return
        time.sleep(0.1)
    pytest.fail("what the sanitizer started still runs")
