"""Exports: the exported network gives this one's numbers, or nothing is written."""

import tempfile

import numpy as np
import pytest
import torch

from napari_rwkv_seg.errors import ModelError, OutputError, SettingsError
from napari_rwkv_seg.networks import MSDeformAttn, SpatialMix, View
from napari_rwkv_seg.networks.deformable import token_places
from napari_rwkv_seg.zoo import exports
from napari_rwkv_seg.zoo.exports import decomposed, export_onnx, export_program
from napari_rwkv_seg.zoo.new_models import new_model
from napari_rwkv_seg.zoo.store import find_model, read_network

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture
def entry(home):
    """Return a model whose logits differ from place to place."""
    new_model("cells", classes=["a"], architecture="rwkv_unet", in_channels=2)
    return find_model("cells")


def test_d09_an_exported_program_needs_no_temporary_folder_and_no_operator_of_ours(
    entry, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    exported = export_program(entry, tmp_path / "cells.pt2", size=32)
    assert exported.difference < 1e-5
    program = torch.export.load(exported.path)
    assert not any("napari_rwkv_seg" in str(node.target) for node in program.graph.nodes)
    image = torch.randn(1, 2, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(
            program.module()(image), read_network(entry)(image), atol=1e-5, rtol=1e-4
        )
    assert list(tmp_path.glob("*.pt2")) == [exported.path]


def test_an_exported_onnx_file_runs_elsewhere_and_says_how_close_it_is(entry, tmp_path):
    import onnx
    import onnxruntime

    exported = export_onnx(entry, tmp_path / "cells.onnx", size=32)
    assert exported.difference < 1e-5
    domains = {node.domain for node in onnx.load(exported.path).graph.node}
    assert domains <= {"", "ai.onnx"}
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(42).standard_normal((1, 2, 32, 32)).astype(np.float32)
    [logits] = session.run(["logits"], {"image": image})
    with torch.inference_mode():
        want = read_network(entry)(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(logits, want, atol=1e-5, rtol=1e-4)


class Parts(torch.nn.Module):
    """What Med-URWKV has besides: a spatial mix of VRWKV's, and deformable attention."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = SpatialMix(8, 12, 3)
        self.attend = MSDeformAttn(8, levels=1, heads=2)

    def forward(self, tokens):
        mixed = self.mix(tokens, 4, 6)
        return self.attend(mixed, token_places([(4, 6)], tokens), mixed, [(4, 6)])


def test_the_other_networks_parts_decompose_too():
    torch.manual_seed(42)
    parts, tokens = Parts().eval(), torch.randn(1, 24, 8)
    program = decomposed(parts, tokens)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(tokens), parts(tokens))


class Mirrored(torch.nn.Module):
    """A convolution that sees images twice as large, and those below 48 pixels mirrored."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 5, padding=2)

    def forward(self, image):
        return View(2, 48).show(self.conv, image, in_training=self.training)


@pytest.mark.parametrize("size", [32, 48, 64])
def test_what_a_network_is_shown_decomposes_for_small_and_large_images(size):
    torch.manual_seed(42)
    network, image = Mirrored().eval(), torch.randn(1, 2, size, size)
    program = decomposed(network, image)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), network(image))


def test_a_difference_that_is_more_than_rounding_is_refused(entry, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "decomposed", lambda *_: Elsewhere())
    with pytest.raises(ModelError, match=r"more than 0\.0001; nothing was written"):
        export_program(entry, tmp_path / "cells.pt2", size=32)
    assert not (tmp_path / "cells.pt2").exists()


class Elsewhere:
    """A program that gives other numbers."""

    def module(self):
        return lambda image: torch.ones(1, 2, *image.shape[2:])


@pytest.mark.parametrize("export", [export_onnx, export_program])
def test_an_export_replaces_nothing_and_wants_a_sensible_size(export, entry, tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        export(entry, tmp_path / "mine")
    with pytest.raises(SettingsError, match="32 to 2048 pixels, got 8"):
        export(entry, tmp_path / "new", size=8)


def test_a_missing_library_is_named(entry, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "find_spec", lambda name: None if name == "onnx" else name)
    with pytest.raises(ModelError, match="needs 'onnx': pip install onnx"):
        export_onnx(entry, tmp_path / "cells.onnx")
