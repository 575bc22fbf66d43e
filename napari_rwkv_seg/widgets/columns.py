"""How a dock is laid out: titled groups in one column that scrolls."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QGroupBox, QScrollArea, QVBoxLayout, QWidget


def group(title: str, *contents: QWidget) -> QGroupBox:
    """Return a titled frame around widgets, one beneath the other."""
    box = QGroupBox(title)
    layout = QVBoxLayout(box)
    layout.setContentsMargins(8, 8, 8, 8)
    for content in contents:
        layout.addWidget(content)
    return box


def scrolling(*contents: QWidget, width: int = 300) -> QScrollArea:
    """Return an area that scrolls up and down over widgets, at least `width` pixels wide."""
    column = QWidget()
    layout = QVBoxLayout(column)
    layout.setContentsMargins(4, 4, 10, 4)
    for content in contents:
        layout.addWidget(content)
    layout.addStretch()
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(column)
    area.setMinimumWidth(width)
    return area
