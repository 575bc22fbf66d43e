"""Loss and validation Dice over time, as curves that grow while a run goes on.

Two plots above each other over one axis of time. The colours are told apart by
colour-blind people and follow napari's theme; the model started from is a dashed
line. pyqtgraph is imported when the first run shows its curves.
"""

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from .texts import HINT, Line

if TYPE_CHECKING:
    from napari_rwkv_seg.controllers.finetune_story import RunStory

HEIGHT = 130  # pixels of each plot
_LEFT = 46  # pixels for the numbers, so that both plots begin at the same place
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
        self.loss, self._loss = self._plot("Loss", "Loss while training, over time")
        self.dice, self._dice = self._plot(
            "Dice", "Dice on held-out regions over time; dashed: the model started from"
        )
        self._base = pyqtgraph.InfiniteLine(angle=0)
        self._base.hide()
        self.dice.addItem(self._base)
        self.dice.setXLink(self.loss)
        self.dice.setLimits(yMin=-0.02, yMax=1.02, minYRange=0.05)
        self.loss.getAxis("bottom").setStyle(showValues=False)  # those beneath serve both
        self._hint = Line("What the curves show", HINT)
        self._hint.say("Dice is measured on what is held out; dashed: the model started from.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for widget in (self.loss, self.dice, self._hint):
            layout.addWidget(widget)
        self.show_theme(theme)

    def show_theme(self, theme: Any) -> None:
        """Take the colours of a theme of napari."""
        background, text = (theme.background.as_hex(), theme.text.as_hex())
        kind = "dark" if _brightness(background) < 0.5 else "light"
        make_pen = self._pyqtgraph.mkPen
        for plot, curve, color in (
            (self.loss, self._loss, _COLORS[kind][0]),
            (self.dice, self._dice, _COLORS[kind][1]),
        ):
            plot.setBackground(background)
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(make_pen(text))
                axis.setTextPen(make_pen(text))
            curve.setPen(make_pen(color, width=2))
            curve.setSymbolBrush(color)
            curve.setSymbolPen(None)
        self._base.setPen(make_pen(text, width=1.5, style=Qt.PenStyle.DashLine))

    def show_story(self, story: "RunStory") -> None:
        """Draw what is new; does nothing while the dock is not seen."""
        if story.changes == self._drawn or not self.isVisible():
            return
        self._drawn = story.changes
        over_minutes = max((story.seconds, *story.dice.x[-1:])) > _MINUTES_FROM
        unit = 60.0 if over_minutes else 1.0
        self.dice.setLabel("bottom", "Minutes" if over_minutes else "Seconds")
        self._loss.setData([x / unit for x in story.loss.x], story.loss.y)
        self._dice.setData([x / unit for x in story.dice.x], story.dice.y)
        if story.base is not None:
            self._base.setValue(story.base)
            self._base.show()

    def _plot(self, name: str, description: str) -> tuple[Any, Any]:
        """Return a plot with one curve; it only shows, so the mouse and the keyboard pass by."""
        plot = self._pyqtgraph.PlotWidget()
        plot.setFixedHeight(HEIGHT)
        plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        plot.setAccessibleName(description)
        plot.setToolTip(description)
        plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        plot.setMouseEnabled(False, False)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.getAxis("left").setWidth(_LEFT)
        plot.getAxis("left").enableAutoSIPrefix(False)
        plot.getAxis("bottom").enableAutoSIPrefix(False)
        plot.setLabel("left", name)
        plot.showGrid(y=True, alpha=0.15)
        symbol = "o" if name == "Dice" else None
        return plot, plot.plot([], [], symbol=symbol, symbolSize=5)


def _brightness(color: str) -> float:
    """Return how bright a colour "#rrggbb" or "#rgb" is, from 0 to 1."""
    digits = color.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * one for one in digits)
    return sum(int(digits[i : i + 2], 16) for i in (0, 2, 4)) / 3 / 255
