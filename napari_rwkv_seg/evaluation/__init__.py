"""How well labels agree with the truth; knows nothing of networks or training."""

from .scores import dice, object_f1

__all__ = ["dice", "object_f1"]
