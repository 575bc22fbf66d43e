"""Small pieces of text for docks: lines that wrap, hints, warnings, tooltips.

Texts may come from a model's card, so they are shown as plain text, never as
markup; a tooltip is escaped before Qt may take it for markup.
"""

import html

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

# The words keep the theme's colour: no orange is readable on both dark and light.
WARNING = "border-left: 3px solid #e08a1e; padding-left: 6px;"
HINT = "font-size: 11px;"


class Line(QLabel):
    """A plain text that wraps, and that takes no room while it is empty.

    Parameters
    ----------
    name : str
        What it is, for screen readers.
    style : str
        A style sheet, such as `HINT` or `WARNING`.
    """

    def __init__(self, name: str, style: str = "") -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Maximum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setStyleSheet(style)
        self.hide()

    def say(self, text: str) -> None:
        """Show `text`, or nothing."""
        self.setText(text)
        self.setVisible(bool(text))


def tooltip(text: str) -> str:
    """Return `text` as a tooltip that wraps and shows its lines, free of markup."""
    lines = "<br>".join(html.escape(line) for line in text.splitlines())
    return f"<p>{lines}</p>" if lines else ""


def describe(*widgets: tuple[QWidget, str, str]) -> None:
    """Give each widget its name for screen readers, and its hint as a tooltip."""
    for widget, name, hint in widgets:
        widget.setAccessibleName(name)
        widget.setToolTip(tooltip(hint))
