"""What a run does with its time, beside the steps themselves."""

from pathlib import Path
from types import ModuleType

import pytest

from napari_rwkv_seg.training import job, preparation, publish
from napari_rwkv_seg.training.crops import CPU_PIXELS
from napari_rwkv_seg.training.finetune import run_finetune
from napari_rwkv_seg.training.pace import Pace
from napari_rwkv_seg.training.timetable import timetable
from napari_rwkv_seg.zoo.card import ClassCard


def test_a_class_that_is_new_is_not_lost_half_way_to_the_base(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_compare = []

    def spy(seconds: float, held_out: object, compare: float) -> object:
        to_compare.append(compare)
        return timetable(seconds, held_out, compare)

    monkeypatch.setattr(job, "timetable", spy)
    monkeypatch.setattr(publish, "choose_share", None)  # not to be called
    classes = [ClassCard(name=n, color="#102030") for n in ("background", "cell", "nucleus")]
    run = tiny.tiny_run(tmp_path, tiny.bright_pairs(3, 2), minutes=0.08, classes=classes)
    finished = run_finetune(run.path)
    assert finished["share"] == 1
    assert "of the way" not in finished["sentence"]
    assert to_compare == [0]


def test_crops_are_not_made_smaller_than_shows_what_is_round_an_object(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CPU_PIXELS // 4 < job.LEAST_PIXELS <= CPU_PIXELS // 2
    monkeypatch.setattr(preparation, "CPU_PIXELS", 40_000)
    monkeypatch.setattr(job, "LEAST_PIXELS", 16_000)
    monkeypatch.setattr(Pace, "is_slow", property(lambda _: True))
    heard: list[dict[str, object]] = []
    run_finetune(tiny.tiny_run(tmp_path, minutes=0.08).path, heard.append)
    (lighter,) = (event["what"] for event in heard if event["event"] == "lighter")
    assert "at most 20000 pixels" in lighter
