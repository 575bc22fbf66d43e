"""What a user gets from `import napari_rwkv_seg`."""

import ast
import inspect
from importlib import import_module
from importlib.metadata import version

import pytest

import napari_rwkv_seg

FUNCTIONS = ["evaluate", "finetune", "list_models", "load_model", "segment", "segment_batch"]


def test_the_face_has_at_most_eight_names_and_each_is_there() -> None:
    assert set(FUNCTIONS) | {"__version__"} <= set(napari_rwkv_seg.__all__)
    assert len(napari_rwkv_seg.__all__) <= 8
    assert [name for name in napari_rwkv_seg.__all__ if not hasattr(napari_rwkv_seg, name)] == []


def test_the_version_is_that_of_the_installed_distribution() -> None:
    assert napari_rwkv_seg.__version__ == version("napari-rwkv-seg")


def test_a_name_that_is_not_there_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segmnet'"):
        napari_rwkv_seg.segmnet  # noqa: B018


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_is_documented_and_typed(name: str) -> None:
    function = getattr(napari_rwkv_seg, name)
    signature = inspect.signature(function)
    parameters = signature.parameters.values()
    assert function.__doc__
    assert signature.return_annotation is not inspect.Signature.empty
    assert [p.name for p in parameters if p.annotation is inspect.Parameter.empty] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_docstring_names_every_parameter(name: str) -> None:
    function = getattr(napari_rwkv_seg, name)
    text = inspect.getdoc(function) or ""
    assert [p for p in inspect.signature(function).parameters if p not in text] == []


def test_the_face_hands_out_the_very_functions_of_the_floors() -> None:
    from napari_rwkv_seg.controllers.batch import segment_batch
    from napari_rwkv_seg.evaluation.run import evaluate
    from napari_rwkv_seg.inference.loading import load_model
    from napari_rwkv_seg.inference.segment import segment
    from napari_rwkv_seg.training.api import finetune
    from napari_rwkv_seg.zoo.store import list_models

    assert napari_rwkv_seg.evaluate is evaluate
    assert napari_rwkv_seg.finetune is finetune
    assert napari_rwkv_seg.segment is segment
    assert napari_rwkv_seg.segment_batch is segment_batch
    assert napari_rwkv_seg.load_model is load_model
    assert napari_rwkv_seg.list_models is list_models


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_type_checker_sees_the_function_that_is_handed_out(name: str) -> None:
    """The imports that only type checkers read may not name a module of the same name."""
    tree = ast.parse(inspect.getsource(napari_rwkv_seg))
    imports = [each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom) and each.level]
    [room] = [each.module for each in imports if name in {alias.name for alias in each.names}]
    seen = getattr(import_module(f"napari_rwkv_seg.{room}"), name)
    assert seen is getattr(napari_rwkv_seg, name)
