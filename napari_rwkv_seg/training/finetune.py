"""One fine-tuning run, from its folder to a new model: the work behind dock, command and library.

`run_finetune` begins a run or goes on with it. It looks at its `Control` between
steps and between tiles, tells everything it does as events, and leaves a run
folder that is never half a model.
"""

import contextlib
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from napari_rwkv_seg.errors import CancelledError, OutputError, RwkvSegError
from napari_rwkv_seg.files import write_atomically

from .budget import Stopwatch
from .control import Control, LeaveError
from .events import Event, EventLog, Report, Tell
from .run_folder import RunFolder, locked
from .run_settings import RunSettings
from .torchrun import is_first

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def run_finetune(
    folder: Path, report: Report = lambda _: None, control: Control | None = None
) -> Event:
    """Begin a run, or go on with it, and return its last event.

    Parameters
    ----------
    folder : Path
        From `prepare_run`.
    report : callable
        Gets every event when it happens.
    control : Control, optional
        Through which the run can be stopped and asked for previews.

    Returns
    -------
    dict
        The event `finished`, with the content of `result.json`.

    Raises
    ------
    RwkvSegError
        If the run cannot begin or go on; the event `failed` has the same sentence.
    CancelledError
        If the run was cancelled.
    LeaveError
        If the run wrote a checkpoint and left, to be resumed later.
    """
    watch = Stopwatch()
    run = RunFolder(Path(folder))
    settings = run.settings()
    if is_first():
        return _lead(run, settings, report, control or Control(), watch)
    if run.result.is_file():
        return {}
    from .hardware import company

    with company(settings) as fabric:
        return _work(run, lambda _, **__: {}, Control(), fabric, watch)


def _lead(
    run: RunFolder, settings: RunSettings, report: Report, control: Control, watch: Stopwatch
) -> Event:
    """Do a run in the process that writes and tells."""
    with locked(run):  # before torch is imported, which takes seconds: the run is this one's
        log = EventLog(run.events, report)
        if run.result.is_file():  # finished before: nothing is left to be done
            return log("finished", **run.read_json(run.result))
        try:
            from .hardware import company

            with company(settings) as fabric:
                return _work(run, log, control, fabric, watch)
        except CancelledError:
            log("cancelled")
            raise
        except RwkvSegError as error:
            log("failed", sentence=str(error))
            raise
        except LeaveError:
            raise
        except Exception as error:  # the boundary of a job: whatever it is, it must be told
            log("failed", sentence=f"Unexpected {type(error).__name__}: {error}. Please report it.")
            text = traceback.format_exc().encode()
            with contextlib.suppress(OutputError):  # what went wrong must not be hidden by this
                write_atomically(run.path / "fault.txt", lambda file: file.write(text))
            raise


def _work(
    run: RunFolder,
    tell: Tell,
    control: Control,
    fabric: "Fabric",
    watch: Stopwatch,
) -> Event:
    """Do a run, whichever process this is; raises whatever goes wrong."""
    from .job import Job
    from .preparation import prepare
    from .publish import publish

    start = prepare(run, tell, fabric)
    job = Job(run, start, tell, control, fabric, watch)
    with job.threads:
        loop = job.train()
        return publish(run, start, job, loop) if fabric.is_global_zero else {}
