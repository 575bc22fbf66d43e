"""Between the loop and the world: wishes, previews, checks on what is held out."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_rwkv_seg.errors import RwkvSegError
from napari_rwkv_seg.files import read_bytes, write_atomically
from napari_rwkv_seg.inference.labels import label_probabilities
from napari_rwkv_seg.inference.loading import Model
from napari_rwkv_seg.inference.predictor import predict_steps
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.inference.steps import drained
from napari_rwkv_seg.ops.backends import choose

from .between import SCORES
from .budget import Budget, Stopwatch
from .control import Control, LeaveError
from .events import Tell
from .hardware import Lightener
from .held_out import FULL_SHARE, ClassMaps, HeldOut
from .loop import TrainingLoop
from .pace import Pace
from .patience import Patience
from .preparation import WEIGHT_DECAY, Start
from .run_folder import RunFolder
from .verdict import Counts
from .work import LoopSettings, Work

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_CHECK_SHARE = 0.12  # of the time, for the checks on the way
_CHECKS = 8  # at most
_WRITING_S = 2.0  # for the model and the differences, at the end
_MOST_CORRECTED = 6  # pairs; they tell what the base knows
_PREVIEW_LIMIT = 2**32

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
        self.held_out = HeldOut(
            start.pairs, start.split, settings.labels, start.classes, settings.seed
        )
        minutes = settings.budget_minutes(fabric.device.type == "cuda")
        self._seconds = None if settings.steps else 60 * minutes
        self._is_stop_told = self._is_left = False
        self._pace = Pace()
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
            self._loop_settings(),
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

    def predict_quick(self, network: nn.Module) -> ClassMaps:
        """Return the class maps of the few images of the checks on the way."""
        self._pace.pause()
        return self.held_out.predict(self.model(network), self.held_out.quick, self.interrupted)

    def validate(self, network: nn.Module) -> Mapping[str, Any]:
        """Return the scores of a network on the few images of the checks on the way."""
        scores = self.held_out.scores(self.predict_quick(network))
        return {"score": scores.mean, "dice": scores.by_class, "base": False}

    def counts_of_corrected(self, network: nn.Module) -> Counts:
        """Return what `verdict` counts, on all of some pairs, learnt from or held out."""
        start, settings = self._start, self._start.settings
        whole = replace(start.split, validation=tuple(pair.checked for pair in start.pairs))
        pairs = HeldOut(start.pairs, whole, settings.labels, start.classes, settings.seed)
        some = pairs.order[: self._corrected_count()]
        return pairs.counts(pairs.predict(self.model(network), some, self.interrupted))

    def _corrected_count(self) -> int:
        """Return of how many pairs there is time to see what the base knows of them."""
        most = min(_MOST_CORRECTED, len(self._start.pairs))
        if self._seconds is None:
            return most
        each = max(self.held_out.seconds_full / len(self.held_out.full), 1e-3)
        return max(1, min(most, int(FULL_SHARE * self._seconds / each)))

    def interrupted(self) -> bool:
        """Answer wishes in the middle of a score; it is carried on unless the run ends at once."""
        self._control.check()
        self._tell_stop()
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

    def _loop_settings(self) -> LoopSettings:
        """Return how long to train, so that what comes afterwards fits into the time as well."""
        start, held_out = self._start, self.held_out
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
        after = held_out.seconds_quick + 1.1 * held_out.seconds_full + _WRITING_S
        if start.is_base_trained:
            of_corrected = self._corrected_count() * held_out.seconds_full / len(held_out.full)
            after += max(of_corrected, SCORES * held_out.seconds_quick)
        end = max(self._seconds - after, 0.5 * self._seconds)
        checks = _CHECK_SHARE * self._seconds / max(held_out.seconds_quick, 1e-3)
        every = end / max(1, min(_CHECKS, int(checks)))
        return replace(common, budget=Budget(seconds=end), validate_every=every)

    def _should_stop(self) -> bool:
        """Answer wishes between two steps; return whether to stop and keep the best."""
        self._control.check()
        while (path := self._control.next_preview()) is not None:
            self._pace.pause()
            self._preview(path)
        self._keep_pace()
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
        if self._start.crops.pixels > LEAST_PIXELS and (what := self._start.crops.shrink()):
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
        scores = held_out.scores({index: held_out.base[index] for index in held_out.quick})
        self.tell(
            "validated",
            step=0,
            seconds=self.watch.seconds,
            score=scores.mean,
            dice=scores.by_class,
            best=False,
            base=True,
        )

    def _preview(self, path: Path) -> None:
        """Segment the image in `path` with the average as it is; a fault ends only the preview."""
        if self._loop is None:
            return
        try:
            labels = self._segmented(path, self._loop.average)
        except (RwkvSegError, ValueError, EOFError) as error:
            self.tell("previewed", path=str(path), problem=str(error))
            return
        write_atomically(
            Path(f"{path}.labels.npy"), lambda file: np.save(file, labels, allow_pickle=False)
        )
        self.tell("previewed", path=str(path))

    def _segmented(self, path: Path, network: nn.Module) -> np.ndarray[Any, Any]:
        image = np.load(io.BytesIO(read_bytes(path, _PREVIEW_LIMIT)), allow_pickle=False)
        steps = predict_steps(image, self.model(network), axes="YXC"[: image.ndim])
        settings = LabelSettings.for_model(self._start.card, self._start.settings.labels)
        prediction = drained(steps, lambda _: self.interrupted())
        return label_probabilities(prediction.probabilities, settings)
