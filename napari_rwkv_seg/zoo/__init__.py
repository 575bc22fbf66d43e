"""Models as folders: their cards, where they lie, how they are read and written.

Importing this costs no torch; a name loads its room when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .card import ModelCard, read_card, write_card
    from .checkpoints import load_checkpoint
    from .store import DEFAULT_MODEL, ModelEntry, find_model, list_models, read_network, write_model

_ROOMS = {
    "DEFAULT_MODEL": "store",
    "ModelCard": "card",
    "ModelEntry": "store",
    "find_model": "store",
    "list_models": "store",
    "load_checkpoint": "checkpoints",
    "read_card": "card",
    "read_network": "store",
    "write_card": "card",
    "write_model": "store",
}
__all__ = [
    "DEFAULT_MODEL",
    "ModelCard",
    "ModelEntry",
    "find_model",
    "list_models",
    "load_checkpoint",
    "read_card",
    "read_network",
    "write_card",
    "write_model",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ROOMS[name]}", __name__), name)
