"""Models as graphs for other programs: `torch.export` and ONNX.

Our operators are replaced by standard operations, so that the graph runs where
this package is not; what that changes is measured, and more than float32's own
rounding is refused. A graph holds for one size of image, for which it was made.
"""

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from napari_rwkv_seg.errors import ModelError, OutputError, SettingsError
from napari_rwkv_seg.files import in_memory, write_atomically

from .store import ModelEntry, read_network

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

DEFAULT_SIZE = 256
OPSET = 18
_SMALLEST, _LARGEST = 32, 2048  # pixels a side
_TOLERANCE = 1e-4  # relative, of the logits
_OURS = "napari_rwkv_seg"
_SEED = 42


@dataclass(frozen=True)
class Exported:
    """A file that was written for other programs.

    Attributes
    ----------
    path : Path
        The file.
    difference : float
        Relative difference of its logits from this package's, on one random image:
        the norm of the difference divided by the norm.
    """

    path: Path
    difference: float


def export_program(entry: ModelEntry, target: str | Path, size: int = DEFAULT_SIZE) -> Exported:
    """Write a model as `torch.export` stores programs (``.pt2``), in standard operations.

    Parameters
    ----------
    entry : ModelEntry
        The model.
    target : str or Path
        The file to make; it may not be there.
    size : int
        Sides of the normalised image (1, C, size, size) that the program takes, in pixels.

    Raises
    ------
    SettingsError
        If the size is not from 32 to 2048.
    ModelError
        If the model cannot be used or does not go into standard operations.
    OutputError
        If the file is there already or cannot be written.
    """
    import torch

    target, network, image = _prepared(entry, target, size)
    program = decomposed(network, image)
    with torch.inference_mode():
        difference = _difference(program.module()(image), network(image))

    content = in_memory(lambda file: torch.export.save(program, file))
    write_atomically(target, lambda out: out.write(content))
    return Exported(target, difference)


def export_onnx(entry: ModelEntry, target: str | Path, size: int = DEFAULT_SIZE) -> Exported:
    """Write a model as ONNX, in standard operations, and run it to see that it is the same.

    Parameters are those of `export_program`. Needs the extra `onnx`, and onnxruntime
    for the comparison.

    Raises
    ------
    SettingsError, ModelError, OutputError
        As `export_program`; ModelError too if a library is missing.
    """
    import torch

    for library in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(library) is None:
            raise ModelError(f"Export to ONNX needs {library!r}: pip install {library}")
    target, network, image = _prepared(entry, target, size)
    with torch.inference_mode():
        wanted = network(image)
    program = decomposed(network, image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        graph = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
        )
    if graph is None:
        raise ModelError(f"Model {entry.name!r} does not go into ONNX.")
    content = graph.model_proto.SerializeToString()
    difference = _difference(_run_onnx(content, image), wanted)
    write_atomically(target, lambda out: out.write(content))
    return Exported(target, difference)


def decomposed(network: "nn.Module", image: "Tensor") -> "ExportedProgram":
    """Return a network as a program of standard operations, for images of one shape.

    Raises
    ------
    ModelError
        If an operator of ours stays in it.
    """
    import torch

    from napari_rwkv_seg.ops.standard import DECOMPOSITIONS

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        traced = torch.export.export(network, (image,), strict=False)
        program: ExportedProgram = traced.run_decompositions(DECOMPOSITIONS)
    left = {str(node.target) for node in program.graph.nodes if _OURS in str(node.target)}
    if left:
        raise ModelError(f"The network holds operators of this package: {', '.join(sorted(left))}.")
    return program


def _prepared(
    entry: ModelEntry, target: str | Path, size: int
) -> tuple[Path, "nn.Module", "Tensor"]:
    """Return the file to make, the network, and a random image for it."""
    import torch

    target = Path(target)
    if not _SMALLEST <= size <= _LARGEST:
        raise SettingsError(f"The size is {_SMALLEST} to {_LARGEST} pixels, got {size}.")
    if target.exists():
        raise OutputError(f"{str(target)!r} exists already; choose another name.")
    network = read_network(entry)
    channels = entry.card.input_channels if entry.card else 3
    generator = torch.Generator().manual_seed(_SEED)
    return target, network, torch.randn(1, channels, size, size, generator=generator)


def _difference(found: "Tensor", wanted: "Tensor") -> float:
    """Return the relative difference; ModelError if it is more than rounding."""
    difference = float((found - wanted).norm() / wanted.norm().clamp_min(1e-30))
    if not difference <= _TOLERANCE:
        raise ModelError(
            f"The exported network differs from this one by {difference:.1g} (relative), "
            f"more than {_TOLERANCE:g}; nothing was written."
        )
    return difference


def _run_onnx(content: bytes, image: "Tensor") -> "Tensor":
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    [logits] = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    return torch.from_numpy(logits)
