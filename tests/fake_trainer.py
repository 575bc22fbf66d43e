"""A trainer that trains nothing, but speaks as the real one does; and some that do not.

    python fake_trainer.py RUN MODE

MODE is one of: good, worse (its model is not better), slow (loads for a long time),
dies (at once, with a complaint), killed (after some steps), garbage (on every channel),
deaf (hears nothing, leaves for nothing but SIGKILL), flood (events without pause),
fails (by a sentence). Knows the standard library only, so that it starts at once.
"""

import json
import os
import signal
import struct
import sys
import threading
import time
from pathlib import Path

CARD = """format_version = 1
name = "{name}"
title = "{name}"
purpose = "Nothing."
architecture = "med_urwkv"
variant = "T"
license = "CC0-1.0"
training_data = "none"
parent = "bright"
weights_sha256 = "{sha}"
classes = [{{ name = "background", color = "#000000" }}, {{ name = "cell", color = "#e69f00" }}]
"""


class Trainer:
    """Writes events, hears lines."""

    def __init__(self, run: Path, mode: str) -> None:
        self.run, self.mode = run, mode
        self.wish = ""
        self.previews: list[str] = []
        self.file = (run / "events.jsonl").open("a", encoding="utf-8")

    def tell(self, kind: str, **facts: object) -> None:
        self.file.write(json.dumps({"event": kind, "time": time.time(), **facts}) + "\n")
        self.file.flush()

    def listen(self) -> None:
        for line in sys.stdin:
            word, _, rest = line.strip().partition(" ")
            if word == "preview":
                self.previews.append(rest)
            else:
                self.wish = word
        self.wish = self.wish or "leave"

    def work(self) -> int:
        if self.mode == "slow":
            self._sleep(30)
        self.tell("prepared", pairs=1, sentence="A part is held out.", train_pixels=9, regions=3)
        self.tell("started", step=0, minutes=0.01, device="cpu", backend="cpu", depth="head",
                  precision="float32", model="bright", seed=42, resumed=False)  # fmt: skip
        self.tell("validated", step=0, seconds=0.0, score=0.7, dice={"cell": 0.7}, best=False,
                  base=True)  # fmt: skip
        if self.mode == "fails":
            self.tell("failed", sentence="The labels were eaten by the dog.")
            return 1
        return self.end(self.train())

    def train(self) -> int:
        """Pretend to train until something is wished; return the last step."""
        for step in range(1, 10_000 if self.mode == "flood" else 2_000):
            self.tell("step", step=step, seconds=step / 10, left=60 - step / 10, loss=1 / step)
            if step % 5 == 0:
                self.tell("validated", step=step, seconds=step / 10, score=0.8, base=False,
                          dice={"cell": 0.8}, best=True)  # fmt: skip
            if self.wish:
                break
            while self.previews:
                self.preview(self.previews.pop())
            if self.mode == "killed" and step == 6:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.mode != "flood":
                self._sleep(0.02)
        return step

    def end(self, step: int) -> int:
        if self.wish == "cancel":
            self.tell("cancelled")
            return 130
        if self.wish == "leave":
            self.tell("saved", step=step)
            return 3
        self.tell("stopping")
        after = 0.6 if self.mode == "worse" else 0.8
        result = {
            "before": {"mean": 0.7, "classes": {"cell": 0.7}},
            "after": {"mean": after, "classes": {"cell": after}},
            "regions": 3, "images": 1, "recommended": after > 0.7, "steps": step, "seconds": 1.0,
            "sentence": "It is better." if after > 0.7 else "It is not better; keep the old one.",
            "model": "model", "stopped_early": True,
        }  # fmt: skip
        self.write_model()
        (self.run / "result.json").write_text(json.dumps(result))
        self.tell("finished", **result)
        return 0

    def write_model(self) -> None:
        name = next(line for line in (self.run / "run.toml").read_text().splitlines()
                    if line.startswith("name")).split('"')[1]  # fmt: skip
        (self.run / "model").mkdir()
        (self.run / "model" / "model.toml").write_text(CARD.format(name=name, sha="0" * 64))
        (self.run / "model" / "weights.safetensors").write_bytes(b"none")
        (self.run / "model" / "README.md").write_text("# None\n")

    def preview(self, path: str) -> None:
        """Call everything class 1; an .npy file is a header and bytes."""
        with Path(path).open("rb") as file:
            file.seek(8)
            (length,) = struct.unpack("<H", file.read(2))
            header = file.read(length).decode("latin1")
        shape = header.split("'shape': (")[1].split(")")[0]
        height, width = [int(part) for part in shape.split(",") if part.strip()][:2]
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({height}, {width}), }}"
        text = text.ljust(117) + "\n"
        made = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
        Path(path + ".labels.npy").write_bytes(made + b"\x01" * (height * width))
        self.tell("previewed", path=path)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.wish:
            time.sleep(0.005)


def main() -> int:
    run, mode = Path(sys.argv[1]), sys.argv[2]
    if mode == "dies":
        sys.stderr.write("Traceback …\nImportError: no torch here\n")
        return 1
    trainer = Trainer(run, mode)
    if mode == "garbage":
        with (run / "events.jsonl").open("ab") as file:
            file.write(b'\x00\xff{]\n[1, 2]\n{"event": 5}\n{"event": "step", "loss": "x"}\n')
            file.write(b"x" * 200_000 + b'\n{"event": "validated", "dice": [1]}\n')
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    else:
        threading.Thread(target=trainer.listen, daemon=True).start()
    return trainer.work()


if __name__ == "__main__":
    sys.exit(main())
