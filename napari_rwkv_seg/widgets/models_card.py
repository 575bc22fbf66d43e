"""The card of a model, to read and to copy: facts with their names in bold, then its page.

All of it was written by others, so it is put in as plain text, never as markup.
"""

from collections.abc import Sequence

from qtpy.QtGui import QFont, QTextCharFormat, QTextCursor
from qtpy.QtWidgets import QTextEdit, QWidget


class CardView(QTextEdit):
    """A text that cannot be changed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setAcceptRichText(False)
        self.setAccessibleName("Card of the chosen model")
        self.setMinimumHeight(80)
        self.setStyleSheet("background: transparent; border: 0px;")  # napari gives it black

    def show_card(self, facts: Sequence[tuple[str, str]], page: str) -> None:
        """Show facts, a line each, and beneath them a page of Markdown as it was written."""
        self.clear()
        cursor = self.textCursor()
        plain, bold = QTextCharFormat(), QTextCharFormat()
        bold.setFontWeight(QFont.Weight.Bold)
        for name, value in facts:
            cursor.insertText(f"{name}  ", bold)
            cursor.insertText(f"{value}\n", plain)
        if facts and page:
            cursor.insertText("\n", plain)
        for line in page.splitlines():
            cursor.insertText(f"{line}\n", bold if line.startswith("#") else plain)
        self.moveCursor(QTextCursor.MoveOperation.Start)
