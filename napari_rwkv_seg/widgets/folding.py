"""A part of a dock that is folded away until it is asked for."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QToolButton, QWidget

from .layouts import column_of


class Folding(QWidget):
    """A title with an arrow, and what it shows or hides.

    Parameters
    ----------
    title : str
        The words beside the arrow.
    content : QWidget
        Hidden at first.
    """

    def __init__(self, title: str, content: QWidget) -> None:
        super().__init__()
        self.button = QToolButton()
        self.button.setText(title)
        self.button.setAccessibleName(title)
        self.button.setCheckable(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._content = content
        self.setLayout(column_of(self.button, content))
        self.button.toggled.connect(self._show)
        self._show(False)

    def _show(self, is_open: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow
        self.button.setArrowType(arrow)
        self._content.setVisible(is_open)
