"""The report on an installation: complete, and never stopped by what is broken."""

from pathlib import Path

import pytest

from napari_rwkv_seg.controllers import doctor
from napari_rwkv_seg.ops.backends import BackendStatus
from napari_rwkv_seg.zoo import ModelEntry


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the installed models alone: reading their weights takes time."""
    monkeypatch.setattr("napari_rwkv_seg.zoo.store.list_models", list)


def report() -> dict[str, str]:
    return dict(doctor.doctor_report())


def test_the_report_tells_versions_device_threads_wkv_and_memory() -> None:
    wanted = {
        "napari-rwkv-seg",
        "Python",
        "torch",
        "napari",
        "Qt",
        "Device",
        "Threads",
        "WKV",
        "Memory",
    }
    assert wanted <= set(report())


def test_every_fact_is_found_out_in_a_sound_installation() -> None:
    assert [name for name, fact in report().items() if "could not be found out" in fact] == []


def test_the_report_says_which_wkv_implementation_is_in_use_and_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status = BackendStatus("reference", "No compiled kernels in this installation.", None, None, 1)
    monkeypatch.setattr("napari_rwkv_seg.ops.backend_status", lambda: status)
    assert report()["WKV"] == "reference; No compiled kernels in this installation."


def test_the_report_says_with_which_instructions_the_kernels_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status = BackendStatus("cpu", "", "librwkv_kernels.so", "AVX2", 2)
    monkeypatch.setattr("napari_rwkv_seg.ops.backend_status", lambda: status)
    assert report()["WKV"] == "cpu, AVX2, 2 threads, librwkv_kernels.so"


def test_the_report_tells_cuda_kernels_from_those_for_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status = BackendStatus("cuda", "", "librwkv_kernels.so", "avx512", 2)
    monkeypatch.setattr("napari_rwkv_seg.ops.backend_status", lambda: status)
    said = "cuda, compiled on this machine; for the CPU, avx512, 2 threads, librwkv_kernels.so"
    assert report()["WKV"] == said


def test_a_fact_that_cannot_be_found_out_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> BackendStatus:
        raise OSError("wrong ELF class")

    monkeypatch.setattr("napari_rwkv_seg.ops.backend_status", fail)
    facts = report()
    assert facts["WKV"] == "could not be found out: OSError: wrong ELF class"
    assert "GB free" in facts["Memory"]


def test_without_cuda_the_report_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", None)
    device = report()["Device"]
    assert device.startswith("cpu: ")
    assert device.endswith("(this torch is a CPU build)")


def test_a_path_is_told_without_the_name_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path("/somewhere/jane")
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setattr("napari_rwkv_seg.zoo.store.user_folder", lambda: home / "data" / "models")
    assert report()["Your models"] == f"{Path('~/data/models')} (not there yet)"


def test_the_problem_of_a_model_is_told_without_the_name_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = Path("/somewhere/jane")
    entry = ModelEntry(home / "broken", None, f"{str(home / 'broken')!r} holds no card")
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setattr("napari_rwkv_seg.zoo.store.list_models", lambda: [entry])
    assert report()["Model broken"] == "cannot be used: '~/broken' holds no card"


def test_a_home_that_is_the_whole_disk_shortens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    monkeypatch.setattr("napari_rwkv_seg.zoo.store.user_folder", lambda: Path("/data/models"))
    assert report()["Your models"] == f"{Path('/data/models')} (not there yet)"


def test_a_model_that_cannot_be_used_is_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = ModelEntry(Path("broken"), None, "its card is missing")
    monkeypatch.setattr("napari_rwkv_seg.zoo.store.list_models", lambda: [entry])
    assert report()["Model broken"] == "cannot be used: its card is missing"


def test_no_model_at_all_is_told() -> None:
    assert report()["Models"] == "none is installed"
