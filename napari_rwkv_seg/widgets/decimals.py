"""Numbers with a point or a comma before their decimals, whichever the locale would take.

Qt takes the other sign for one between thousands and drops it: 2.5 becomes 25.
"""

from typing import Any

from qtpy.QtCore import QLocale
from qtpy.QtGui import QDoubleValidator
from qtpy.QtWidgets import QDoubleSpinBox


class Decimal(QDoubleValidator):
    """Takes a decimal comma for a point, in any locale."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.setLocale(QLocale.c())

    def validate(self, text: str, position: int) -> Any:
        """Return whether `text` is a number, and `text` with a point in it."""
        return super().validate(text.replace(",", "."), position)


class DecimalBox(QDoubleSpinBox):
    """A spin box that takes a decimal comma for a point, in any locale."""

    def __init__(self) -> None:
        super().__init__()
        self.setLocale(QLocale.c())

    def validate(self, text: str, position: int) -> Any:
        """Return whether `text` is a number, and `text` with a point in it."""
        return super().validate(text.replace(",", "."), position)
