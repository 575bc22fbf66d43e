"""Between the loop and the world: wishes, previews, checks on what is held out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_rwkv_seg.errors import RwkvSegError
from napari_rwkv_seg.inference.loading import Model
from napari_rwkv_seg.ops.backends import choose

from .between import SCORES
from .budget import Budget, Stopwatch
from .control import Control, LeaveError
from .events import Tell
from .hardware import Lightener
from .held_out import ClassMaps, HeldOut
from .loop import TrainingLoop
from .pace import Pace
from .patience import Patience
from .preparation import WEIGHT_DECAY, Start
from .previews import write_preview
from .run_folder import RunFolder
from .split import Split
from .threads import Threads
from .timetable import corrected_in_time, timetable
from .verdict import FEW_IMAGES, Counts
from .work import LoopSettings, Work

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LEAST_PIXELS = 60_000
"""Batches are not halved below this for speed: crops must still show what is round an object."""


class Job:
    """One process's work on a run: everything but the steps themselves.

    Parameters
    ----------
    run : RunFolder
        Where it is kept.
    start : Start
        What it starts from.
    tell : callable
        Is told events.
    control : Control
        What is asked for from outside.
    fabric : Fabric
        Device, precision, company.
    watch : Stopwatch
        Counts the seconds of the run.
    """

    def __init__(
        self,
        run: RunFolder,
        start: Start,
        tell: Tell,
        control: Control,
        fabric: "Fabric",
        watch: Stopwatch,
    ) -> None:
        self._run, self._start, self.tell = run, start, tell
        self._control, self._fabric, self.watch = control, fabric, watch
        settings = start.settings
        self.held_out = self._held_out(start.split)
        minutes = settings.budget_minutes(fabric.device.type == "cuda")
        self._seconds = None if settings.steps else 60 * minutes
        self._is_stop_told = self._is_left = False
        self._pace = Pace()
        is_alone = fabric.device.type == "cpu" and fabric.world_size == 1
        self.threads = Threads(is_fixed=self._seconds is None or not is_alone)
        self._loop: TrainingLoop | None = None

    @property
    def device(self) -> str:
        """Where it computes, such as "cpu"."""
        return str(self._fabric.device)

    @property
    def is_stopped(self) -> bool:
        """Whether the run was told to stop before its time."""
        return self._control.is_stopped

    def train(self) -> TrainingLoop:
        """Score the base, train to the end or to the wish to stop; return the loop.

        Raises
        ------
        CancelledError, LeaveError
            If that was asked for; a checkpoint is written before leaving.
        """
        is_new = self._know_base()
        network = self._start.network
        work = Work(
            self._start.crops,
            self.validate,
            self.tell,
            self._start.groups,
            self._should_stop,
            Lightener(network, self._start.crops.shrink),
            insist=Patience(self._run.checkpoints, self.tell, self._waits_in_vain, self.watch),
        )
        loop = TrainingLoop(
            network,
            self._loop_settings(is_new),
            self._run.checkpoints,
            work,
            self._fabric,
            self.watch,
        )
        self._loop = loop
        self._tell_start(loop)
        if is_new:
            self._tell_base()
        try:
            loop.run()
        except LeaveError:
            self._is_left = True
            loop.save()
            raise
        return loop

    def model(self, network: nn.Module) -> Model:
        """Return a network as the predictor wants it."""
        return Model(self._start.card, network, self.device, self._run.path)

    def predict(self, network: nn.Module, indices: Sequence[int]) -> ClassMaps:
        """Return the class maps of some images of which a part is held out."""
        self._pace.pause()
        return self.held_out.predict(self.model(network), indices, self.interrupted)

    def validate(self, network: nn.Module) -> Mapping[str, Any]:
        """Return the scores of a network on the few images of the checks on the way."""
        mean, dice = self.held_out.scores(self.predict(network, self.held_out.quick))
        return {"score": mean, "dice": dice, "base": False}

    def counts_of_corrected(self, network: nn.Module) -> Counts:
        """Return what `verdict` counts, on all of some pairs, learnt from or held out."""
        pairs = self._corrected
        some, _ = corrected_in_time(self._seconds, self.held_out, pairs)
        return pairs.counts(pairs.predict(self.model(network), some, self.interrupted))

    @cached_property
    def _corrected(self) -> HeldOut:
        """All that was corrected, as if it were held out."""
        checked = tuple(pair.checked for pair in self._start.pairs)
        return self._held_out(replace(self._start.split, validation=checked))

    def _held_out(self, split: Split) -> HeldOut:
        start, settings = self._start, self._start.settings
        return HeldOut(
            start.pairs,
            split,
            settings.labels,
            start.classes,
            settings.seed,
            start.card.tile_size,
        )

    def interrupted(self) -> bool:
        """Answer wishes in the middle of a score; it is carried on unless the run ends at once."""
        self._control.check()
        self._tell_stop()
        self.threads.adapt()
        return False

    def _know_base(self) -> bool:
        """Score the base, or read how it scored before; return whether it was scored now."""
        if not self._fabric.is_global_zero:  # the first process alone validates
            return False
        path = self._run.checkpoints / "base.npz"
        is_new = not path.is_file()
        if is_new:
            network = self._start.network.eval().to(self._fabric.device)
            self.held_out.predict_base(self.model(network), self._seconds, self.interrupted)
            self.held_out.save_base(path)
        else:
            self.held_out.load_base(path)
        return is_new

    def _loop_settings(self, is_new: bool) -> LoopSettings:
        """Return how long to train, so that what comes afterwards fits into the time as well."""
        start = self._start
        steps = start.settings.steps
        common = LoopSettings(
            Budget(steps),
            start.learning_rate,
            WEIGHT_DECAY,
            validate_every=max(1, -(-steps // 4)),
            seed=start.settings.seed,
        )
        # The other processes have scored nothing; they check and end when the first one does.
        if self._seconds is None or not self._fabric.is_global_zero:
            return common
        budget, every, after = timetable(self._seconds, self.held_out, self._seconds_to_compare())
        late = budget.end(self.watch.seconds) + after - self._seconds
        if is_new and late >= 1:
            why = "Scoring what is held out takes long here. So that there is time to learn,"
            self.tell("lighter", what=f"{why} the run will take about {late:.0f} s longer.")
        return replace(common, budget=budget, validate_every=every)

    def _seconds_to_compare(self) -> float:
        """Return how long it takes to choose how near the base the new model is to be."""
        held_out = self.held_out
        if not self._start.may_stay_near:
            return 0.0
        if len(held_out.compared) < FEW_IMAGES:
            return corrected_in_time(self._seconds, held_out, self._corrected)[1]
        return SCORES * held_out.seconds_full * len(held_out.compared) / len(held_out.full)

    def _should_stop(self) -> bool:
        """Answer wishes between two steps; return whether to stop and keep the best."""
        self._control.check()
        while (path := self._control.next_preview()) is not None:
            self._pace.pause()
            self._preview(path)
        self._keep_pace()
        self.threads.adapt()
        self._tell_stop()
        return self._control.is_stopped

    def _waits_in_vain(self) -> bool:
        """Answer wishes while a checkpoint cannot be written; return whether to give up."""
        if self._is_left:  # nobody is there any more
            return True
        self._pace.pause()
        was_stopped = self._is_stop_told
        self.interrupted()
        return self._is_stop_told and not was_stopped

    def _keep_pace(self) -> None:
        """Make smaller crops where steps take too long; not where steps are counted."""
        self._pace.step()
        if self._seconds is None or not self._pace.is_slow:
            return
        crops = self._start.crops
        if crops.pixels // 2 >= LEAST_PIXELS and (what := crops.shrink()):
            self.tell("lighter", what=f"This machine is slow or busy. {what}")

    def _tell_stop(self) -> None:
        if self._control.is_stopped and not self._is_stop_told:
            self._is_stop_told = True
            self.tell("stopping")

    def _tell_start(self, loop: TrainingLoop) -> None:
        backend, _ = choose(torch.empty(1, device=self.device))
        self.tell(
            "started",
            step=loop.step,
            minutes=None if self._seconds is None else self._seconds / 60,
            device=self.device,
            processes=self._fabric.world_size,
            backend=backend,
            depth=self._start.depth,
            precision=self._fabric._precision.precision,
            model=self._start.base.name,
            seed=self._start.settings.seed,
            resumed=loop.is_resumed,
        )

    def _tell_base(self) -> None:
        """Tell the score of the model started from, on the images of the checks on the way."""
        held_out = self.held_out
        mean, dice = held_out.scores({index: held_out.base[index] for index in held_out.quick})
        self.tell(
            "validated",
            step=0,
            seconds=self.watch.seconds,
            score=mean,
            dice=dice,
            best=False,
            base=True,
        )

    def _preview(self, path: Path) -> None:
        """Segment the image in `path` with the average as it is; a fault ends only the preview."""
        if self._loop is None:
            return
        model, labels = self.model(self._loop.average), self._start.settings.labels
        try:
            write_preview(path, model, labels, self.interrupted)
        except (RwkvSegError, ValueError, EOFError) as error:
            self.tell("previewed", path=str(path), problem=str(error))
            return
        self.tell("previewed", path=str(path))
