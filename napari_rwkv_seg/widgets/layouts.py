"""How widgets are laid out: columns, rows and forms, and the titled groups of a dock.

A layout that lies in another one takes over its spacing; in a widget of its own,
`widget_of`, a row or a form has that of the style.
"""

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import (
    QFormLayout,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLayout,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

STYLE_SPACING = -1  # Qt then takes it from the style

Part = QWidget | QLayout


def column_of(*parts: Part, spacing: int = 4) -> QVBoxLayout:
    """Return widgets and layouts one beneath the other, `spacing` pixels apart."""
    column = QVBoxLayout()
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(spacing)
    for part in parts:
        if isinstance(part, QLayout):
            column.addLayout(part)
        else:
            column.addWidget(part)
    return column


def row_of(*widgets: QWidget) -> QHBoxLayout:
    """Return widgets beside each other."""
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    return row


def form_of(*rows: tuple[str, QWidget] | Part) -> QFormLayout:
    """Return fields one beneath the other, as (name, field), or alone across both columns."""
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for row in rows:
        form.addRow(*(row if isinstance(row, tuple) else (row,)))
    return form


def widget_of(layout: QLayout) -> QWidget:
    """Return a widget that holds a layout."""
    widget = QWidget()
    widget.setLayout(layout)
    return widget


def beside(first: QWidget, *others: QWidget) -> QWidget:
    """Return widgets beside each other in one, the first as wide as there is room."""
    row = row_of(first, *others)
    row.setStretch(0, 1)
    return widget_of(row)


def group(title: str, *contents: Part) -> QGroupBox:
    """Return a titled frame around widgets and layouts, one beneath the other."""
    box = QGroupBox(title)
    column = column_of(*contents, spacing=STYLE_SPACING)
    column.setContentsMargins(8, 8, 8, 8)
    box.setLayout(column)
    return box


def scrolling(*contents: QWidget, width: int = 300) -> QScrollArea:
    """Return an area that scrolls up and down over widgets, at least `width` pixels wide."""
    column = column_of(*contents, spacing=STYLE_SPACING)
    column.setContentsMargins(4, 4, 10, 4)
    column.addStretch()
    area = _WideEnough(width)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(widget_of(column))
    return area


class _WideEnough(QScrollArea):
    """As wide as its contents need, whatever the font: what is cut off at the side is lost."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._least = width

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the least size: no narrower than what it shows beside its scroll bar."""
        hint, widget = super().minimumSizeHint(), self.widget()
        needed = widget.minimumSizeHint().width() if widget is not None else 0
        bar = self.verticalScrollBar().sizeHint().width() + 4  # and what a style puts around it
        hint.setWidth(max(self._least, needed + bar))
        return hint

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Ask for more room when the contents do."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))
