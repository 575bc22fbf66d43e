from pathlib import Path

import pytest
import torch

from napari_rwkv_seg import networks
from napari_rwkv_seg.errors import ModelError, OutputError
from napari_rwkv_seg.zoo import store
from napari_rwkv_seg.zoo.card import CARD_FILE, read_card, write_card
from napari_rwkv_seg.zoo.store import find_model, list_models, read_entry, read_network, write_model
from napari_rwkv_seg.zoo.weights import WEIGHTS_FILE, read_header


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """Return empty folders for shipped and for the user's models."""
    shipped, user = tmp_path / "shipped", tmp_path / "user"
    shipped.mkdir()
    user.mkdir()
    monkeypatch.setattr(store, "shipped_folder", lambda: shipped)
    monkeypatch.setattr(store, "user_folder", lambda: user)
    return shipped, user


def test_a_network_comes_back_as_it_was_written(tmp_path, card, tiny_network):
    network = tiny_network().eval()
    network.norm.num_batches_tracked.fill_(123_456_789)

    written = write_model(tmp_path / "tiny", network, card, "For tests.")
    back = read_network(read_entry(tmp_path / "tiny"))

    assert not back.training
    for name, tensor in network.state_dict().items():
        got = back.state_dict()[name]
        assert got.dtype == tensor.dtype
        torch.testing.assert_close(got, tensor, atol=1e-3, rtol=1e-3)
    assert back.norm.num_batches_tracked == 123_456_789
    assert written == read_card(tmp_path / "tiny")
    assert (tmp_path / "tiny" / "README.md").read_text().startswith("# Tiny\n\nFor tests.")


def test_a_trained_architecture_comes_back_as_it_was_written(tmp_path, real_card):
    torch.manual_seed(0)
    network = networks.build_network("med_urwkv", "T", encoder="plain").eval()
    card = real_card.model_copy(update={"config": {"encoder": "plain"}})

    write_model(tmp_path / "real", network, card, "For tests.")
    back = read_network(read_entry(tmp_path / "real"))

    images = torch.rand(1, 3, 37, 45)
    with torch.inference_mode():
        torch.testing.assert_close(back(images), network(images), atol=2e-2, rtol=2e-2)


def test_floats_are_stored_in_half_precision_and_integers_as_they_are(model):
    header = read_header((model / WEIGHTS_FILE).read_bytes())

    assert {entry["dtype"] for name, entry in header.items() if "num_b" not in name} == {"F16"}
    assert header["norm.num_batches_tracked"]["dtype"] == "I64"


def test_a_weight_too_large_for_half_precision_stays_as_it_is(
    tmp_path, card, tiny_network, state_of
):  # M09
    network = tiny_network()
    with torch.no_grad():
        network.stem.bias[0] = 1e30

    write_model(tmp_path / "tiny", network, card, "")

    assert state_of(tmp_path / "tiny")["stem.bias"][0] == pytest.approx(1e30)


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=["M09-nan", "M09-inf"])
def test_weights_that_are_not_finite_are_not_written(tmp_path, card, value, tiny_network):
    network = tiny_network()
    with torch.no_grad():
        network.stem.bias[0] = value

    with pytest.raises(ModelError, match=r"stem\.bias.*NaN or infinite"):
        write_model(tmp_path / "tiny", network, card, "")
    assert not list(tmp_path.iterdir())


def test_a_network_that_the_card_does_not_describe_is_not_written(tmp_path, card, tiny_network):
    with pytest.raises(ModelError, match="another size"):
        write_model(tmp_path / "tiny", tiny_network(width=7), card, "")
    assert not list(tmp_path.iterdir())


def test_a_score_of_each_of_as_many_classes_as_there_may_be_is_kept(tmp_path, card, tiny_network):
    scores = {f"Dice of class {number}": 0.5 for number in range(256)}
    many = card.model_copy(update={"test_scores": scores})
    write_model(tmp_path / "tiny", tiny_network(), many, "For tests.")
    assert read_card(tmp_path / "tiny").test_scores == scores


@pytest.mark.parametrize(
    ("entry", "change"),
    [("name", {"name": "no/name"}), ("test_scores", {"test_scores": dict.fromkeys("abc", "x")})],
)
def test_a_card_that_could_not_be_read_is_not_written(tmp_path, card, tiny_network, entry, change):
    wrong = card.model_copy(update=change)
    with pytest.raises(ModelError, match=f"card is not allowed \\({entry}"):
        write_model(tmp_path / "tiny", tiny_network(), wrong, "For tests.")
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_not_replaced_unless_asked_for(model, card, tiny_network):
    before = (model / WEIGHTS_FILE).read_bytes()

    with pytest.raises(OutputError, match="exists already"):
        write_model(model, tiny_network(), card, "")
    assert (model / WEIGHTS_FILE).read_bytes() == before


def test_a_model_is_replaced_if_asked_for(model, card, tiny_network):
    written = write_model(model, tiny_network(), card, "New.", overwrite=True)

    assert read_card(model) == written
    assert [path.name for path in model.parent.iterdir()] == ["tiny"]


def test_a_model_that_cannot_be_replaced_stays(model, card, monkeypatch, tiny_network):
    before = (model / WEIGHTS_FILE).read_bytes()
    replace = Path.replace

    def fail_for_the_new_one(self, target):
        if self.parent == model.parent and self.name.startswith(".making."):
            raise OSError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_for_the_new_one)
    with pytest.raises(OutputError, match="Permission denied"):
        write_model(model, tiny_network(), card, "New.", overwrite=True)

    assert (model / WEIGHTS_FILE).read_bytes() == before
    assert [path.name for path in model.parent.iterdir()] == ["tiny"]


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path, card, tiny_network):
    (tmp_path / "file").touch()

    for folder in (tmp_path / "nowhere" / "tiny", tmp_path / "file" / "tiny"):
        with pytest.raises(OutputError, match="Cannot write the model"):
            write_model(folder, tiny_network(), card, "")


def test_reading_a_network_leaves_the_random_numbers_alone(model):
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)

    read_network(read_entry(model))

    torch.testing.assert_close(torch.rand(3), want)


def test_an_architecture_that_is_unknown_is_refused(model):
    write_card(model, read_card(model).model_copy(update={"architecture": "unet"}))

    with pytest.raises(ModelError, match="no architecture 'unet'"):
        read_network(read_entry(model))


@pytest.mark.parametrize("config", [{"colour": 3}, {"encoder": "magic"}], ids=str)
def test_a_config_that_the_architecture_does_not_know_is_refused(tmp_path, real_card, config):
    network = networks.build_network("med_urwkv", "T", encoder="plain")
    card = real_card.model_copy(update={"config": config})

    with pytest.raises(ModelError, match=r"cannot be built: .*(colour|magic)"):
        write_model(tmp_path / "odd", network, card, "")


def test_models_are_listed_shipped_first_and_by_name(homes, card, tiny_network):
    shipped, user = homes
    for folder in (user / "mine", shipped / "zebra", shipped / "ant"):
        write_model(folder, tiny_network(), card, "")

    assert [entry.name for entry in list_models()] == ["ant", "zebra", "mine"]
    assert not any(entry.problem for entry in list_models())


def test_a_broken_folder_is_listed_with_its_problem(homes, card, tiny_network):
    shipped, _ = homes
    write_model(shipped / "good", tiny_network(), card, "")
    (shipped / "empty").mkdir()
    (shipped / "garbled").mkdir()
    (shipped / "garbled" / CARD_FILE).write_bytes(b"\xff\0")

    problems = {entry.name: entry.problem for entry in list_models()}

    assert problems["good"] == ""
    assert "model.toml" in problems["empty"]
    assert "model.toml" in problems["garbled"]


def test_half_written_folders_and_files_are_not_listed(homes):
    shipped, _ = homes
    (shipped / ".tiny.abc").mkdir()
    (shipped / "README.md").touch()

    assert list_models() == []


def test_without_any_folder_no_model_is_listed(homes):
    for home in homes:
        home.rmdir()

    assert list_models() == []


def test_a_card_without_a_digest_is_a_problem(model):
    write_card(model, read_card(model).model_copy(update={"weights_sha256": ""}))

    assert "weights_sha256" in read_entry(model).problem


def test_a_model_is_found_by_name_and_by_folder(homes, model, card, tiny_network):
    write_model(homes[0] / "known", tiny_network(), card, "")

    assert find_model("known").folder == homes[0] / "known"
    assert find_model(model).folder == model
    assert find_model(str(model)).card == read_card(model)


def test_an_unknown_model_is_answered_with_those_that_there_are(homes, card, tiny_network):  # P12
    write_model(homes[0] / "known", tiny_network(), card, "")

    with pytest.raises(ModelError, match=r"no model 'nuclie'\. Choose one of: known"):
        find_model("nuclie")


def test_without_any_model_the_user_is_told_where_they_belong(homes):  # P12
    with pytest.raises(ModelError, match=r"No model is installed.*Your own models belong in"):
        find_model("nuclei")


def test_an_empty_model_folder_never_gives_a_network(homes):  # P12
    (homes[1] / "empty").mkdir()

    with pytest.raises(ModelError, match=r"model\.toml"):
        find_model("empty")


def test_shipped_models_lie_beside_their_guide():
    folder = store.shipped_folder()

    assert folder is not None
    assert (folder / "README.md").is_file()
