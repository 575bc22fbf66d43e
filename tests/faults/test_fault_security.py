"""Rows S: what must not come in, and what must not go out."""

import ast
import hashlib
import re
import socket
import tomllib
from pathlib import Path

import pytest

from napari_rwkv_seg.images.samples import SAMPLES, sample_mask_path, sample_path
from napari_rwkv_seg.zoo.archives import pack_folder
from napari_rwkv_seg.zoo.store import shipped_folder

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = sorted((ROOT / "napari_rwkv_seg").rglob("*.py"))
WORKFLOWS = sorted((ROOT / ".github").rglob("*.yml"))

SAMPLE_DIGESTS = {
    "nuclei_field.png": "fccf49b2c90e9df56373e79ec3c4cd3f6be118739be02bd34d0a2a0a85ac902e",
    "nuclei_field_mask.png": "71e68cc9c4dfd8e0d62dd02a0940b1c76d1fdc07ac851195d9f99ea78e157e1d",
    "nuclei_fluorescence.png": "c5a3a29e316b7f1d185b1f322f439d3a295f17c2cc2012f3c2fbf884c9e68dbf",
    "nuclei_fluorescence_mask.png": "d2180daf55de8b5e9d87cd2d6052e92d1a1de02d0bd897896ece1c8ce100ba4a",  # noqa: E501
    "nuclei_stained.png": "5b3754021736d02c2f2e597e635ce5d89536e457cdd2a09e77f6765ab66d6532",
    "nuclei_stained_mask.png": "5e277ffba4964192032c317ef8caf0434890e681249e26f3afac29dcf45acf47",
}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_no_test_reaches_another_machine():
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("192.0.2.1", 443), timeout=5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        socket.create_connection(server.getsockname(), timeout=5).close()


def test_the_weights_of_every_shipped_model_are_those_that_its_card_names():
    folders = [path.parent for path in shipped_folder().glob("*/model.toml")]
    assert folders
    for folder in folders:
        card = tomllib.loads((folder / "model.toml").read_text(encoding="utf-8"))
        assert card["weights_sha256"] == digest(folder / "weights.safetensors")


def test_the_bundled_samples_are_those_that_were_chosen():
    files = [path for name in SAMPLES for path in (sample_path(name), sample_mask_path(name))]
    assert {path.name: digest(path) for path in files} == SAMPLE_DIGESTS


def names_called(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def imports(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_no_process_is_forked_and_no_data_loader_has_workers():
    for path in PACKAGE:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not {"os.fork", "os.forkpty"} & names_called(tree), path
        assert not [name for name in imports(tree) if "multiprocessing" in name], path
        assert "DataLoader" not in path.read_text(encoding="utf-8"), path


def test_nothing_waits_for_a_queue_without_end():
    for path in PACKAGE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("queue.get"):
                assert node.keywords or node.args, f"{path}:{node.lineno}"


def test_no_name_of_a_temporary_file_can_be_guessed():
    for path in PACKAGE:
        called = names_called(ast.parse(path.read_text(encoding="utf-8")))
        assert not {"tempfile.mktemp", "os.tempnam", "os.tmpnam"} & called, path


def test_an_archive_of_a_model_names_no_folder_of_the_user(tmp_path):
    folder = tmp_path / "of a user" / "model"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_bytes(b"x")
    pack_folder(folder, tmp_path / "a.zip")
    assert b"of a user" not in (tmp_path / "a.zip").read_bytes()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_its_actions_and_lends_no_secret_to_strangers(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses:\s*(\S+)", text)
    assert used
    assert [name for name in used if not re.search(r"@[0-9a-f]{40}$", name)] == []
    assert "pull_request_target" not in text
    assert "workflow_run" not in text
    assert re.search(r"^permissions:\n  contents: read$", text, re.MULTILINE)
    assert "write" not in re.findall(r"^\s+[a-z-]+: (\w+)$", text, re.MULTILINE)
    assert not re.search(r"run:.*\$\{\{\s*github\.(event|head_ref)", text)
    assert "cache" not in text  # none is shared between strangers' changes and releases
    assert "persist-credentials: false" in text
