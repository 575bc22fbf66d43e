"""Which model a fine-tuning starts from while the user has picked none."""

import pytest

from napari_rwkv_seg.controllers.finetune import FinetuneController
from napari_rwkv_seg.controllers.finetune_choices import guess_base
from napari_rwkv_seg.controllers.finetune_pairs import PairRow
from napari_rwkv_seg.zoo.store import ModelEntry, model_folders, read_entry, shipped_folder

from .finetuning import ArrayPair, fake_command, make_entry, poll_until, start


def made_by(*names: str) -> list[PairRow]:
    """Return a pair for each model that made its labels."""
    rows = []
    for number, name in enumerate(names):
        source = ArrayPair(f"cells {number}")
        source.made_by = name
        rows.append(PairRow(source))
    return rows


def child(name: str, parent: str) -> ModelEntry:
    """Return a model that was fine-tuned from another one."""
    entry = make_entry(name)
    return ModelEntry(entry.folder, entry.card.model_copy(update={"parent": parent}))


MODELS = [
    make_entry("bright"),
    make_entry("dark", 3),
    child("dark-tuned", "dark"),
    child("dark-tuned-2", "dark-tuned"),
    child("orphan", "deleted"),
    child("hen", "egg"),
    child("egg", "hen"),
]


@pytest.mark.parametrize(
    ("names", "base"),
    [
        (["dark"], "dark"),
        (["dark", "", "dark"], "dark"),
        (["dark", "bright"], ""),
        ([""], ""),
        (["deleted"], ""),
        (["dark-tuned-2"], "dark"),
        (["orphan"], "orphan"),
    ],
)
def test_the_model_whose_labels_were_corrected_is_the_base(names, base):
    assert guess_base(made_by(*names), MODELS) == base


def test_models_that_name_each_other_as_parents_do_no_harm():
    assert guess_base(made_by("hen"), MODELS) in ("hen", "egg")


SHIPPED = [read_entry(folder) for folder in model_folders(shipped_folder())]


@pytest.mark.parametrize("name", [entry.name for entry in SHIPPED])
def test_a_shipped_model_is_the_base_of_what_it_made_and_of_what_was_made_of_it(name):
    mine = child("mine", name)
    assert guess_base(made_by(name), SHIPPED) == name
    assert guess_base(made_by("mine"), [*SHIPPED, mine]) == name


def test_pairs_that_are_not_used_say_nothing():
    dark, bright = made_by("dark", "bright")
    dark.source.key, unused = "other", PairRow(dark.source, used=False)
    assert guess_base([unused, bright], MODELS) == "bright"


@pytest.fixture
def controller(tmp_path):
    """Return a controller to which no model was said, with labels that `dark` made."""
    controller = FinetuneController(fake_command("good"), tmp_path)
    controller.choose_model("bright", MODELS, picked=False)
    controller.rows.add(made_by("dark"))
    return controller


def test_the_base_and_its_classes_follow_the_pairs(controller):
    controller.guess()
    assert controller.choices.model == "dark"
    assert len(controller.choices.classes) == 3


@pytest.fixture
def turned():
    """Return models of which one was made of `dark` with the same classes in another order."""
    entry = child("dark-turned", "dark")
    dark = next(each.card for each in MODELS if each.name == "dark")
    first, *others = dark.classes
    classes = [first, *reversed(others)]
    return [*MODELS, ModelEntry(entry.folder, entry.card.model_copy(update={"classes": classes}))]


def test_numbers_mean_what_they_meant_to_the_model_that_made_the_labels(tmp_path, turned):
    controller = FinetuneController(fake_command("good"), tmp_path)
    controller.choose_model("dark", turned, picked=False)
    of_dark, made = controller.choices.classes, turned[-1].card.classes
    rows = made_by("dark-turned")
    rows[0].source.means = "classes"
    controller.rows.add(rows)

    controller.guess()
    assert controller.choices.model == "dark"
    assert controller.choices.classes == tuple(made)
    assert {one.name for one in made} == {one.name for one in of_dark}
    start(controller)
    controller.cancel()
    poll_until(controller, lambda: not controller.is_busy)
    controller.guess()  # for the next round
    assert (controller.choices.model, controller.choices.classes) == ("dark", tuple(made))
    controller.base_classes()
    controller.guess()
    assert controller.choices.classes == of_dark


def test_a_picked_model_brings_its_classes(tmp_path, turned):
    controller = FinetuneController(fake_command("good"), tmp_path)
    rows = made_by("dark-turned")
    rows[0].source.means = "classes"
    controller.rows.add(rows)

    controller.choose_model("dark", turned)
    assert controller.choices.classes == tuple(controller.base.classes)


def test_a_model_that_the_user_has_picked_stays(controller):
    controller.choose_model("bright", MODELS)
    controller.guess()
    assert controller.choices.model == "bright"


def test_the_next_round_starts_from_the_same_model(controller):
    controller.guess()
    start(controller)
    controller.cancel()
    poll_until(controller, lambda: not controller.is_busy)
    controller.rows.remove(["cells 0"])
    controller.rows.add(made_by("", "bright")[1:])
    controller.guess()
    assert controller.choices.model == "dark"
