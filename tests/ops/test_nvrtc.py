"""NVIDIA's run-time compiler, as the wheel brings it; compiling needs no GPU."""

import sys

import pytest

from napari_rwkv_seg.errors import KernelError
from napari_rwkv_seg.ops import _nvrtc

has_wheel = sys.platform == "linux"  # the dev group installs the wheel there
needs_wheel = pytest.mark.skipif(not has_wheel, reason="NVIDIA's wheel is installed on Linux only")
SOURCE = '#include "half.h"\nextern "C" __global__ void twice(float* x) { x[0] = TWICE(x[0]); }'
HEADERS = {"half.h": "#define TWICE(x) ((x) * 2)\n"}


@needs_wheel
@pytest.mark.parametrize("architecture", [80, 90, 120])
def test_a_source_with_a_header_becomes_machine_code(architecture):
    code = _nvrtc.compile_source(SOURCE, HEADERS, (), architecture)
    assert code.startswith(b"\x7fELF")
    assert b"twice" in code


@needs_wheel
def test_a_processor_newer_than_the_compiler_gets_ptx_that_its_driver_translates():
    newest = max(_nvrtc.find_compiler().architectures)
    code = _nvrtc.compile_source(SOURCE, HEADERS, (), newest + 50)
    assert f".target sm_{newest}".encode() in code
    assert code.endswith(b"\0")


@needs_wheel
def test_a_processor_too_old_for_the_compiler_is_named():
    with pytest.raises(KernelError, match=r"compute capability 1\.1"):
        _nvrtc.compile_source(SOURCE, HEADERS, (), 11)


@needs_wheel
def test_what_does_not_compile_is_said_with_the_compilers_words():
    with pytest.raises(KernelError, match=r"do not compile for sm_90.*undefined_thing"):
        _nvrtc.compile_source("int x = undefined_thing;", {}, (), 90)


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(_nvrtc, "_folders", lambda: [tmp_path])
    monkeypatch.setattr(_nvrtc, "find_library", lambda name: None)
    with pytest.raises(KernelError, match=r"none was found. Install a CUDA build of torch"):
        _nvrtc.find_compiler.__wrapped__()


@pytest.mark.parametrize(
    ("system", "place"),
    [("linux", "lib/libnvrtc.so.12"), ("win32", "Library/bin/nvrtc64_120_0.dll")],
)
def test_the_compiler_of_a_conda_environment_is_found(system, place, monkeypatch, tmp_path):
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).touch()
    monkeypatch.setattr(_nvrtc.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(_nvrtc.sys, "platform", system)
    assert tmp_path / place in list(_nvrtc._candidates())


def test_a_library_that_is_none_is_named(monkeypatch, tmp_path):
    for name in ("libnvrtc.so.13", "nvrtc64_130.dll"):
        (tmp_path / name).write_bytes(b"not a library")
    monkeypatch.setattr(_nvrtc, "_folders", lambda: [tmp_path])
    monkeypatch.setattr(_nvrtc, "find_library", lambda name: None)
    with pytest.raises(KernelError, match=r"nvrtc.* cannot be used"):
        _nvrtc.find_compiler.__wrapped__()
