"""What the worker answers to good and bad wishes; run in this process, but for leaving."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_rwkv_seg.controllers import models_worker
from napari_rwkv_seg.controllers.models_choices import VARIANTS, fitting_encoders, listed_classes
from napari_rwkv_seg.controllers.models_jobs import import_wish, new_wish
from napari_rwkv_seg.controllers.models_worker import NO_MEMORY, outcome_of
from napari_rwkv_seg.networks import RWKV_UNET_CONFIGS, VRWKV_CONFIGS, build_network
from napari_rwkv_seg.zoo.manage import delete, list_deleted
from napari_rwkv_seg.zoo.store import find_model

from .model_folders import put_encoder


def done(wish: Any) -> dict[str, Any]:
    outcome = outcome_of(wish.request, lambda _: None)
    assert "done" in outcome, outcome
    return outcome["done"]


def refused(path: Path, user_data: Path) -> dict[str, Any]:
    """Import what must be refused, and return the answer; nothing may be left of it."""
    outcome = outcome_of(import_wish(path).request, lambda _: None)
    assert "\n" not in outcome["failed"]
    assert list((user_data / "models").glob("*")) == []
    assert json.loads(json.dumps(outcome)) == outcome
    return outcome


def test_an_encoder_is_imported_and_a_model_made_on_it(tmp_path, user_data):
    torch.save(build_network("rwkv_unet_encoder", "T").state_dict(), tmp_path / "theirs.pth")
    assert done(import_wish(tmp_path / "theirs.pth"))["kind"] == "encoder"
    [entry] = fitting_encoders("rwkv_unet")
    made = new_wish(
        "mine",
        listed_classes([("live", "#00ff00"), ("dead", "")]),
        encoder=str(entry.folder),
        architecture="rwkv_unet",
        variant="T",
        in_channels=1,
    )
    assert done(made)["folder"] == str(user_data / "models" / "mine")
    card = find_model("mine").card
    assert (card.input_channels, card.parent) == (1, "encoder theirs")
    assert [each.color for each in card.classes[1:]] == ["#00ff00", "#56b4e9"]


def test_a_file_of_garbage_is_refused(tmp_path, user_data):
    (tmp_path / "x.pth").write_bytes(bytes(range(256)) * 40)
    assert "not a PyTorch (zip) or safetensors" in refused(tmp_path / "x.pth", user_data)["failed"]


def test_a_pickle_that_wants_to_run_code_is_refused_unrun(tmp_path, user_data):
    class Payload:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "canary",)

    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(Payload(), protocol=2))
        archive.writestr("x/version", "3")
    assert "refused" in refused(tmp_path / "x.pth", user_data)["failed"]
    assert not (tmp_path / "canary").exists()


def test_all_that_does_not_fit_is_named_key_by_key(tmp_path, user_data):
    state = build_network("vrwkv", "T").state_dict()
    state["layers.3.surprise"] = torch.ones(2)
    for key in [key for key in state if "layers.5" in key]:
        del state[key]
    torch.save(state, tmp_path / "x.pth")
    outcome = refused(tmp_path / "x.pth", user_data)
    missing = sum(each.endswith("is missing") for each in outcome["misfits"])
    assert missing == len(outcome["misfits"]) - 1 > 10
    assert outcome["misfits"][-1] == "'layers.3.surprise' is unknown"
    assert "more" in outcome["failed"]


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (MemoryError(), {"failed": NO_MEMORY}),
        (KeyboardInterrupt(), {"cancelled": True}),
    ],
)
def test_what_ends_a_job_is_told(error, answer, monkeypatch):
    def fail(_: Any) -> Any:
        raise error

    monkeypatch.setitem(models_worker._WORK, "empty trash", fail)
    assert outcome_of({"do": "empty trash"}, lambda _: None) == answer


def test_an_unexpected_fault_is_one_sentence():
    assert "KeyError" in outcome_of({"do": "dance"}, lambda _: None)["failed"]


def test_the_trash_is_emptied(user_data):
    put_encoder(user_data, "x")
    delete("x")
    assert outcome_of({"do": "empty trash"}, lambda _: None) == {"done": {"count": 1, "left": 0}}
    assert list_deleted() == []


def test_the_sizes_that_are_offered_are_those_of_the_networks():
    assert set(VARIANTS["med_urwkv"]) == set(VRWKV_CONFIGS)
    assert set(VARIANTS["rwkv_unet"]) == set(RWKV_UNET_CONFIGS)
