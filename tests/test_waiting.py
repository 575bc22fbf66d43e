"""Threads that wait for each other do so briefly, in docks and commands, as OpenMP itself tells."""

import os
import subprocess
import sys

import pytest

from napari_rwkv_seg.waiting import wait_briefly

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def said_by(code: str, **variables: str) -> str:
    """Return what a fresh Python and its OpenMP say on both channels."""
    unset = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment = {**unset, "PYTHONSAFEPATH": "1", "OMP_DISPLAY_ENV": "VERBOSE", **variables}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(NAMES, ("active", "7"), strict=True):
        monkeypatch.setenv(name, value)
    wait_briefly(in_background=True)
    assert [os.environ[name] for name in NAMES] == ["active", "7"]
    monkeypatch.delenv("GOMP_SPINCOUNT")
    wait_briefly(in_background=True)
    assert [os.environ.get(name) for name in NAMES] == ["active", None]


def test_only_what_trains_changes_other_makes_of_openmp(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    wait_briefly()
    assert [os.environ.get(name) for name in NAMES] == [None, "10000"]
    wait_briefly(in_background=True)
    assert [os.environ.get(name) for name in NAMES] == ["passive", "10000"]


@pytest.mark.skipif(sys.platform != "linux", reason="torch has GNU's OpenMP only there")
@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.argv[1:] = ['doctor']; import napari_rwkv_seg.cli as cli\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code",
        "from napari_rwkv_seg.widgets import contributions; contributions.Models; import torch",
        "from napari_rwkv_seg.training.process import settle_process; settle_process(); "
        "import torch",
    ],
    ids=["command", "dock", "training"],
)
def test_openmp_hears_of_it(code: str) -> None:
    said = said_by(code)
    assert "GOMP_SPINCOUNT = '10000'" in said
    assert "GOMP_SPINCOUNT = '7'" in said_by(code, GOMP_SPINCOUNT="7")


def test_a_dock_that_is_asked_for_brings_no_torch() -> None:
    said = said_by(
        "import sys; from napari_rwkv_seg.widgets import contributions; contributions.Models\n"
        "print('torch' in sys.modules)"
    )
    assert said.splitlines()[0] == "False"
