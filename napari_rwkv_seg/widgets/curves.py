"""Loss and validation Dice over time, as curves that grow while a run goes on.

Two plots above each other over one axis of time. The colours are told apart by
colour-blind people and follow napari's theme; the model started from is a dashed
line. pyqtgraph is imported when the first run shows its curves.
"""

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QWidget

from .layouts import column_of
from .texts import HINT, Line

if TYPE_CHECKING:
    from napari_rwkv_seg.controllers.finetune_story import RunStory

HEIGHT = 280  # pixels of both plots
_MINUTES_FROM = 180.0  # seconds; longer runs are drawn over minutes
# (loss, Dice) after Okabe and Ito; on white the darker ones of each hue
_COLORS = {"dark": ("#e69f00", "#56b4e9"), "light": ("#b35900", "#0072b2")}


class Curves(QWidget):
    """The plots of one run.

    Parameters
    ----------
    theme : napari theme
        Has `background` and `text` colours.
    """

    def __init__(self, theme: Any) -> None:
        super().__init__()
        import pyqtgraph

        self._pyqtgraph = pyqtgraph
        self._drawn = -1
        # Not PlotWidget: its menus, which nobody would open here, outlive the dock
        self.view = pyqtgraph.GraphicsLayoutWidget()
        self.view.setFixedHeight(HEIGHT)
        self.view.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.view.setAccessibleName("Loss, and Dice on held-out regions, over time")
        self.view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.view.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)  # the dock scrolls
        self.view.ci.layout.setContentsMargins(0, 4, 4, 0)
        self._axes: list[Any] = []
        self._loss_box, self.loss = self._plot(0, "Loss")
        self._dice_box, self.dice = self._plot(1, "Dice", symbol="o", symbolSize=5)
        self._dice_box.setLimits(yMin=-0.02, yMax=1.02, minYRange=0.05)
        self._dice_box.setXLink(self._loss_box)
        self.base = pyqtgraph.InfiniteLine(angle=0)
        self.base.hide()
        self._dice_box.addItem(self.base)
        self._time = self._axis("bottom", self._dice_box, 2, 1, "Seconds")
        self._hint = Line("What the curves show", HINT)
        self._hint.say(
            "Dice is measured on what is held out, or as much of it as there is time for; dashed: "
            "the model started from."
        )
        self.setLayout(column_of(self.view, self._hint, spacing=2))
        self.show_theme(theme)

    def show_theme(self, theme: Any) -> None:
        """Take the colours of a theme of napari."""
        background, text = theme.background.as_hex("long"), theme.text.as_hex("long")
        kind = "dark" if _brightness(background) < 0.5 else "light"
        make_pen = self._pyqtgraph.mkPen
        self.view.setBackground(background)
        for axis in self._axes:
            axis.setPen(make_pen(text))
            axis.setTextPen(make_pen(text))
        for curve, color in zip((self.loss, self.dice), _COLORS[kind], strict=True):
            curve.setPen(make_pen(color, width=2))
            curve.setSymbolBrush(color)
            curve.setSymbolPen(None)
        self.base.setPen(make_pen(text, width=1.5, style=Qt.PenStyle.DashLine))

    def show_story(self, story: "RunStory") -> None:
        """Draw what is new; does nothing while the dock is not seen."""
        if story.changes == self._drawn or not self.isVisible():
            return
        self._drawn = story.changes
        over_minutes = max((story.seconds, *story.dice.x[-1:])) > _MINUTES_FROM
        unit = 60.0 if over_minutes else 1.0
        self._time.setLabel("Minutes" if over_minutes else "Seconds")
        self.loss.setData([x / unit for x in story.loss.x], story.loss.y)
        self.dice.setData([x / unit for x in story.dice.x], story.dice.y)
        if story.base is not None:
            self.base.setValue(story.base)
            self.base.show()

    def _plot(self, row: int, name: str, **looks: Any) -> tuple[Any, Any]:
        """Return a box with one curve, and the curve; it only shows."""
        box = self._pyqtgraph.ViewBox(enableMenu=False, enableMouse=False)
        self.view.addItem(box, row, 1)
        self._axis("left", box, row, 0, name).setGrid(40)
        curve = self._pyqtgraph.PlotDataItem([], [], **looks)
        box.addItem(curve)
        return box, curve

    def _axis(self, side: str, box: Any, row: int, column: int, name: str) -> Any:
        """Return an axis with a name, in its place."""
        axis = self._pyqtgraph.AxisItem(side, linkView=box)
        axis.enableAutoSIPrefix(False)
        axis.setLabel(name)
        if side == "left":
            axis.setWidth(46)  # so that both plots begin at the same place
        self.view.addItem(axis, row, column)
        self._axes.append(axis)
        return axis


def _brightness(color: str) -> float:
    """Return how bright a colour "#rrggbb" is, from 0 to 1."""
    return sum(int(color[i : i + 2], 16) for i in (1, 3, 5)) / 3 / 255
