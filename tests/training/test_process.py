"""The process that trains: killed, told to stop, left alone, and in company."""

import importlib.util
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_rwkv_seg.errors import CancelledError
from napari_rwkv_seg.training import process
from napari_rwkv_seg.training.checkpoints import BEST, LATEST, load_checkpoint_file, load_latest
from napari_rwkv_seg.training.control import Control, LeaveError
from napari_rwkv_seg.training.events import Event, read_events
from napari_rwkv_seg.training.process import hear_line, stopping_on_signals
from napari_rwkv_seg.training.run_folder import RunFolder

SCRIPT = Path(__file__).with_name("tiny.py")
PATIENCE_S = 200


class Trainer:
    """A process that trains a run of the tiny network, and is gone when a test ends."""

    def __init__(self, run: RunFolder, *options: str, **variables: str) -> None:
        self.run = run
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(run.path), *options],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", **variables},
        )  # fmt: skip

    def events(self) -> list[Event]:
        return read_events(self.run.events)[0]

    def wait_for(self, kind: str, count: int = 1) -> None:
        end = time.monotonic() + PATIENCE_S
        while sum(event["event"] == kind for event in self.events()) < count:
            assert time.monotonic() < end, f"no {kind} in {self.events()}"
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.01)

    def say(self, line: str) -> None:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait(PATIENCE_S)
        self.close()
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stderr.close()


@pytest.fixture
def train() -> Iterator[Callable[..., Trainer]]:
    """Return what starts a training process."""
    started = []

    def start(run: RunFolder, *options: str, **variables: str) -> Trainer:
        started.append(Trainer(run, *options, **variables))
        return started[-1]

    yield start
    for trainer in started:
        trainer.close()


@pytest.fixture
def tiny_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunFolder]:
    """Return what makes a run of the tiny network."""
    spec = importlib.util.spec_from_file_location("tiny_for_processes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tiny_for_processes", module)
    spec.loader.exec_module(module)
    module.small_steps(monkeypatch.setattr)
    return partial(module.tiny_run, tmp_path)


def assert_readable(run: RunFolder) -> None:
    """Every file of a run that is there is whole."""
    assert run.settings().name == "new"
    for name in (LATEST, BEST):
        if (run.checkpoints / name).exists():
            load_checkpoint_file(run.checkpoints / name)
    for path in (run.split, run.result, run.path / "plan.json"):
        if path.exists():
            json.loads(path.read_text())
    base = run.checkpoints / "base.npz"
    if base.exists():
        with np.load(io.BytesIO(base.read_bytes())) as maps:
            assert maps.files
    if run.model.exists():
        assert (run.model / "weights.safetensors").is_file()
        assert (run.model / "model.toml").is_file()


def test_a_run_that_is_killed_again_and_again_can_be_resumed_and_ends(tiny_run, train) -> None:
    run, chance = tiny_run(steps=200), random.Random(42)
    steps = []
    for _ in range(3):
        trainer = train(run)
        trainer.wait_for("started", 1 + len(steps))
        time.sleep(chance.uniform(0, 0.6))
        trainer.process.kill()
        trainer.end()
        assert_readable(run)
        state = load_latest(run.checkpoints)
        steps.append(0 if state is None else state["now"]["step"])
    assert steps == sorted(steps)
    trainer = train(run)
    assert trainer.end() == 0
    assert trainer.events()[-1]["event"] == "finished"
    assert_readable(run)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that halts a process")
def test_a_run_that_slept_goes_on_and_ends_as_ever(tiny_run, train) -> None:
    """Halted as by a machine asleep: all of its threads at once, at any place."""
    trainer = train(run := tiny_run(steps=100_000))
    trainer.wait_for("step", 2)
    trainer.process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)  # a line that was being written is written
    before = len(trainer.events())
    time.sleep(3)  # longer than a step, a line of events and a look at the parent
    assert len(trainer.events()) == before
    trainer.process.send_signal(signal.SIGCONT)
    trainer.wait_for("step", 2 + sum(event["event"] == "step" for event in trainer.events()))
    trainer.process.send_signal(signal.SIGTERM)
    assert trainer.end() == 0
    assert trainer.events()[-1]["event"] == "finished"
    assert_readable(run)


def test_a_scheduler_s_signal_stops_the_run_and_keeps_its_best(tiny_run, train) -> None:
    trainer = train(tiny_run(steps=100_000))
    trainer.wait_for("step", 2)
    trainer.process.send_signal(signal.SIGTERM)
    assert trainer.end() == 0
    kinds = [event["event"] for event in trainer.events()]
    assert "stopping" in kinds
    assert kinds[-1] == "finished"


def test_the_first_ctrl_c_stops_a_run_and_the_second_cancels_it() -> None:
    control = Control()
    before = signal.getsignal(signal.SIGINT)
    with stopping_on_signals(control):
        signal.raise_signal(signal.SIGINT)
        assert control.is_stopped
        control.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(CancelledError):
            control.check()
    assert signal.getsignal(signal.SIGINT) is before


def test_the_parent_is_heard_and_its_end_leaves_a_run_to_be_resumed(
    tiny_run, train, tmp_path
) -> None:
    run = tiny_run(steps=100_000)
    trainer = train(run, "--attached")
    trainer.wait_for("step")
    np.save(tmp_path / "a view.npy", np.zeros((40, 50), np.uint8))
    trainer.process.stdin.buffer.write(b"\xc1ngel, in the letters of Windows\n")
    trainer.say("what is this")
    trainer.say(f"preview {tmp_path / 'a view.npy'}")
    trainer.wait_for("previewed")
    assert np.load(tmp_path / "a view.npy.labels.npy").shape == (40, 50)
    trainer.process.stdin.close()
    assert trainer.process.wait(PATIENCE_S) == 3
    last = trainer.events()[-1]
    assert last["event"] == "saved"
    state = load_latest(run.checkpoints)
    assert state is not None
    assert state["now"]["step"] == last["step"] > 0


def test_two_processes_train_one_network_and_the_first_alone_writes(tiny_run) -> None:
    run = tiny_run(steps=6)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, "--nproc-per-node", "2", str(SCRIPT), str(run.path)],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    events = read_events(run.events)[0]
    started = [event for event in events if event["event"] == "started"]
    assert [event["processes"] for event in started] == [2]
    assert [event["event"] for event in events].count("finished") == 1
    assert_readable(run)


def test_two_processes_train_by_time_and_end_when_the_first_is_told_to(tiny_run, train) -> None:
    """Both are started with what `torchrun` would give them, so that the first can be told."""
    run = tiny_run(device="cpu")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
              "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # fmt: skip
    first, other = (train(run, **shared, RANK=rank, LOCAL_RANK=rank) for rank in "01")
    first.wait_for("step")
    first.process.send_signal(signal.SIGTERM)
    assert other.process.wait(PATIENCE_S) == 0, other.process.stderr.read()[-3000:]
    assert first.end() == 0
    started = next(event for event in first.events() if event["event"] == "started")
    assert (started["processes"], started["minutes"]) == (2, 5)
    assert first.events()[-1]["event"] == "finished"
    assert_readable(run)


def test_a_run_that_cannot_begin_ends_with_a_sentence(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(process, "settle_process", lambda: None)  # it would outlast the test
    assert process.main([str(tmp_path)]) == 1
    assert "no run.toml" in capsys.readouterr().err


def test_a_run_that_is_cancelled_by_its_parent_ends_with_its_own_code(
    tiny_run, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(process, "settle_process", lambda: None)
    monkeypatch.setattr(process, "_lower_priority", lambda: None)
    monkeypatch.setattr(process, "lines_of", lambda descriptor: iter(["stop", "cancel"]))
    assert process.main([str(tiny_run(steps=100_000).path), "--attached"]) == 130
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["event"] == "cancelled"


def test_a_trainer_hears_utf_8_whatever_the_system_prefers(tiny_run, train, tmp_path) -> None:
    path = tmp_path / "Ángel 王.npy"
    np.save(path, np.zeros((40, 50), np.uint8))
    trainer = train(tiny_run(steps=100_000), "--attached", PYTHONIOENCODING="cp1252")
    trainer.process.stdin.buffer.write(f"preview {path}\n".encode())
    trainer.process.stdin.buffer.flush()
    trainer.wait_for("previewed")
    trainer.say("cancel")
    assert trainer.end() == 130


def test_lines_that_are_not_known_are_ignored() -> None:
    control = Control()
    for line in ("", "preview", "stopp", "\x00"):
        hear_line(control, line)
    control.check()
    assert not control.is_stopped
    assert control.next_preview() is None


def test_cancel_is_stronger_than_leave_and_leave_than_stop() -> None:
    control = Control()
    control.stop()
    control.check()
    control.leave()
    with pytest.raises(LeaveError):
        control.check()


def test_what_a_checkpoint_holds_runs_no_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"now": Bomb()}, tmp_path / LATEST)
    with pytest.raises(Exception, match="damaged"):
        load_latest(tmp_path)
    assert not (tmp_path / "ran").exists()
