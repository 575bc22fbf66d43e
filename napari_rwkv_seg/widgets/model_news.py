"""What the docks of one viewer tell each other about models: a new one, and which one to use."""

import weakref
from typing import Any

from psygnal import Signal


class ModelNews:
    """News of one viewer."""

    adopted = Signal(str)
    changed = Signal()  # models came, went, or have another name

    def __init__(self) -> None:
        self.preferred = ""
        """The model that was last taken into use; "" if none was."""

    def adopt(self, name: str) -> None:
        """Tell that a model is there, and is to be used from now on."""
        self.preferred = name
        self.adopted.emit(name)


_known: list[tuple["weakref.ref[Any]", ModelNews]] = []


def news_of(viewer: Any) -> ModelNews:
    """Return the news of a viewer; they live as long as it does."""
    _known[:] = [one for one in _known if one[0]() is not None]
    for reference, news in _known:
        if reference() is viewer:
            return news
    news = ModelNews()
    _known.append((weakref.ref(viewer), news))
    return news
