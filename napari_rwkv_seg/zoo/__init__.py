"""Models as folders: their cards, where they lie, how they are read and written.

Importing this costs no torch; a name loads its room when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .card import ModelCard, read_card, write_card
    from .checkpoints import load_checkpoint
    from .encoders import EncoderCard, EncoderEntry, find_encoder, list_encoders
    from .exchange import export_any, import_any
    from .importing import import_checkpoint
    from .manage import delete, empty_trash, list_deleted, rename, set_note, undelete
    from .new_models import new_model
    from .pretrained import PRETRAINED, get_encoder
    from .store import DEFAULT_MODEL, ModelEntry, find_model, list_models, read_network, write_model

_ROOMS = {
    "DEFAULT_MODEL": "store",
    "PRETRAINED": "pretrained",
    "EncoderCard": "encoders",
    "EncoderEntry": "encoders",
    "ModelCard": "card",
    "ModelEntry": "store",
    "delete": "manage",
    "empty_trash": "manage",
    "export_any": "exchange",
    "find_encoder": "encoders",
    "find_model": "store",
    "get_encoder": "pretrained",
    "import_any": "exchange",
    "import_checkpoint": "importing",
    "list_deleted": "manage",
    "list_encoders": "encoders",
    "list_models": "store",
    "load_checkpoint": "checkpoints",
    "new_model": "new_models",
    "read_card": "card",
    "read_network": "store",
    "rename": "manage",
    "set_note": "manage",
    "undelete": "manage",
    "write_card": "card",
    "write_model": "store",
}
__all__ = [
    "DEFAULT_MODEL",
    "PRETRAINED",
    "EncoderCard",
    "EncoderEntry",
    "ModelCard",
    "ModelEntry",
    "delete",
    "empty_trash",
    "export_any",
    "find_encoder",
    "find_model",
    "get_encoder",
    "import_any",
    "import_checkpoint",
    "list_deleted",
    "list_encoders",
    "list_models",
    "load_checkpoint",
    "new_model",
    "read_card",
    "read_network",
    "rename",
    "set_note",
    "undelete",
    "write_card",
    "write_model",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ROOMS[name]}", __name__), name)
