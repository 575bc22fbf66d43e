from pathlib import Path

import pytest

from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.training.run_settings import (
    PairEntry,
    RunSettings,
    make_settings,
    read_settings,
    settled,
    write_settings,
)
from napari_rwkv_seg.zoo.card import ClassCard


def test_settings_that_are_written_are_read_back_as_they_were(tmp_path: Path) -> None:
    settings = RunSettings(
        name="my_cells",
        minutes=2.5,
        labels="objects",
        classes=[ClassCard(name=name, color="#102030") for name in ("background", "Zelle µ")],
        pairs=[PairEntry(name="a", image="a.tif", labels="b.tif", group="g")],
    )
    write_settings(tmp_path / "run.toml", settings)
    assert read_settings(tmp_path / "run.toml") == settings


def test_the_time_is_five_minutes_on_a_cpu_and_two_on_a_gpu_unless_stated() -> None:
    assert RunSettings(name="a").budget_minutes(is_cuda=False) == 5
    assert RunSettings(name="a").budget_minutes(is_cuda=True) == 2
    assert RunSettings(name="a", minutes=7).budget_minutes(is_cuda=True) == 7


@pytest.mark.parametrize(
    ("choices", "place"),
    [
        ({"name": "../up"}, "name"),
        ({"name": "a", "minutes": 0}, "minutes"),
        ({"name": "a", "minutes": float("nan")}, "minutes"),
        ({"name": "a", "device": "tpu"}, "device"),
        ({"name": "a", "depth": "half"}, "depth"),
        ({"name": "a", "lerning_rate": 1}, "lerning_rate"),
    ],
)
def test_a_choice_that_is_not_allowed_is_a_sentence_that_names_it(
    choices: dict[str, object], place: str
) -> None:
    with pytest.raises(SettingsError, match=place):
        make_settings(**choices)


@pytest.mark.parametrize("text", ["name = ", "\xff", "name = 'a'\nseed = -1", "[[[[", ""])
def test_a_file_that_cannot_be_used_is_a_sentence_that_names_the_file(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "run.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"run\.toml"):
        read_settings(tmp_path / "run.toml")


def test_a_file_that_is_missing_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml"):
        read_settings(tmp_path / "none.toml")


def test_paths_are_relative_to_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    pair = PairEntry(name="a", image="a.tif", labels=str(tmp_path / "b.tif"))
    settings = settled(RunSettings(name="n", model="base", output="out", pairs=[pair]), tmp_path)
    assert settings.pairs[0].image == str(tmp_path / "a.tif")
    assert settings.pairs[0].labels == str(tmp_path / "b.tif")
    assert settings.pairs[0].checked == ""
    assert settings.output == str(tmp_path / "out")
    assert settings.model == str(tmp_path / "base")
    assert settled(RunSettings(name="n"), tmp_path).model == RunSettings(name="n").model
