"""Many seeds are tried once each, and what went wrong with one is told."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent
FAKE = """
import json, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
seed, actions = int(given["--seed"]), int(given["--actions"])
if seed == 1:
    sys.exit("napari died")
result = {"actions": actions - (seed == 2), "minutes": 0.1, "layers_painted": 3, "lost": [],
          "labels_lost": 0, "exceptions": int(seed == 3), "processes_left": 0}
if seed == 3:
    print("it went wrong", file=sys.stderr)
open(given["--output"], "w").write(json.dumps(result))
if seed == 4:
    import os
    os.abort()
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a soak that ends at once, and results of its own."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("many_seeds", FOLDER / "many_seeds.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE, encoding="utf-8")
    monkeypatch.setattr(module, "SCRIPT", fake)
    monkeypatch.setattr(module, "FOUND", tmp_path / "found.json")
    return module


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["many_seeds.py", *arguments])
    return script.main()


def test_what_goes_wrong_with_a_seed_is_told(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(script, monkeypatch, "--seeds", "5", "--actions", "7", "--together", "2") == 1
    found = json.loads(script.FOUND.read_text(encoding="utf-8"))
    assert [*found] == ["0", "1", "2", "3", "4"]
    assert found["0"]["end"] == 0
    assert found["0"]["actions"] == 7
    assert found["1"]["end"] == 1
    assert "napari died" in found["1"]["said"]
    assert found["2"]["end"] == "only 6 actions in 0.1 minutes"
    assert found["3"]["end"] == "exceptions"
    assert found["4"]["end"].startswith("ended by ")
    assert "it went wrong" in found["3"]["said"]


def test_a_seed_that_was_tried_is_not_tried_again(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(script, monkeypatch, "--seeds", "1", "--actions", "7") == 0
    monkeypatch.setattr(script, "drive", None)  # would fail
    assert run(script, monkeypatch, "--seeds", "1", "--actions", "7") == 0
