"""The end of a run: what the new model is worth, where it differs, and the model itself."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import RunError
from napari_rwkv_seg.images.writers import write_labels
from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.store import write_model
from napari_rwkv_seg.zoo.weights import packed_state

from .between import Weights, between, choose_share, in_words
from .checkpoints import BEST, LATEST, PREVIOUS, load_checkpoint_file
from .clean_up import what_differs
from .events import Event, read_events
from .pixel_sizes import common_size
from .preparation import Start
from .run_folder import RunFolder
from .verdict import Counts, luck_of_best, verdict

if TYPE_CHECKING:
    from torch import nn

    from .held_out import ClassMaps, HeldOut
    from .job import Job
    from .loop import TrainingLoop

SAME, NOW_RIGHT, NOW_WRONG = 0, 1, 2
"""Pixels of a difference image."""


def publish(run: RunFolder, start: Start, job: "Job", loop: "TrainingLoop") -> Event:
    """Score the best weights, write differences, model and result; return the event `finished`.

    A run that was stopped early is scored on the few images of its checks, so
    that its user need not wait; another one on all that the base was scored on.

    Raises
    ------
    RunError
        If there are no weights to keep.
    OutputError
        If something cannot be written.
    """
    best = run.checkpoints / BEST
    if not best.is_file():
        raise RunError(_why_nothing(job.is_stopped, loop.step))
    network = loop.average
    share, words = _near_base(start, job, network, load_checkpoint_file(best))
    held_out = job.held_out
    after = _predicted(job, network)
    before = {index: held_out.base[index] for index in after}
    cleaned = what_differs(start.base.objects, start.card.objects)
    facts = verdict(
        held_out.counts(before),
        held_out.counts(after),
        start.classes[1:],
        start.known,
        luck_of_best(_checks(run)),
    )
    _write_differences(run, held_out, before, after)
    result = facts | {
        "sentence": " ".join(each for each in (facts["sentence"], words, cleaned) if each),
        "regions": len(after),
        "images": len(start.pairs),
        "steps": loop.step,
        "best_step": loop.best_step,
        "share": share,
        "seconds": round(job.watch.seconds, 1),
        "model": run.model.name,
        "stopped_early": job.is_stopped,
    }
    card = _card(start, result, job)
    write_model(run.model, network.cpu(), card, _description(start, result), overwrite=True)
    run.write_json(run.result, result)
    for name in (LATEST, PREVIOUS):
        (run.checkpoints / name).unlink(missing_ok=True)
    return job.tell("finished", **result)


def _near_base(
    start: Start, job: "Job", network: "nn.Module", learnt: Weights
) -> tuple[float, str]:
    """Give the network the weights to publish; return how far they are from the base, and words.

    They are scored as they are written: in half precision where they fit.
    """

    def take(share: float) -> None:
        network.load_state_dict(between(start.weights, learnt, share))
        network.load_state_dict(packed_state(network))

    def corrected() -> Counts:
        take(0.0)
        return job.counts_of_corrected(network)

    def counts(share: float) -> Counts:
        take(share)
        return held_out.counts(job.predict(network, images))

    held_out, share = job.held_out, 1.0
    images = held_out.quick if job.is_stopped else held_out.compared
    base = held_out.counts({index: held_out.base[index] for index in images})
    if start.may_stay_near:
        share = choose_share(base, corrected, counts)
    take(share)
    return share, in_words(share, base, len(held_out.order))


def _why_nothing(is_stopped: bool, steps: int) -> str:
    """Return why there are no weights to keep, and what to do."""
    if is_stopped:
        return "The run was stopped before it learnt anything; there is no new model."
    if not steps:
        return "No time was left to learn anything: start a new run with more minutes."
    return (
        "What was learnt gave no finite answer at any check: look at the images for extreme "
        "values, or train less of the network (depth 'head')."
    )


def _checks(run: RunFolder) -> list[float]:
    """Return the scores of the checks on the way, in order, over all processes of the run."""
    events = read_events(run.events)[0]
    checks = [each for each in events if each["event"] == "validated" and not each.get("base")]
    # None stands for a score that was not finite.
    return [float(each["score"]) for each in checks if each["score"] is not None]


def _predicted(job: "Job", network: "nn.Module") -> "ClassMaps":
    """Return the class maps of the new model; of few images once the run is told to stop."""
    held_out = job.held_out
    maps: ClassMaps = {}
    for index in held_out.full:  # which begins with the few
        if index not in held_out.quick and job.is_stopped:
            break
        maps |= held_out.predict(job.model(network), [index], job.interrupted)
    return maps


def difference(
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    region: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Return where a new class map is right and the old one was not, and the other way round.

    All arrays are (Y, X); outside `region` nothing differs.
    """
    changed = np.full(truth.shape, SAME, np.uint8)
    changed[region & (after == truth) & (before != truth)] = NOW_RIGHT
    changed[region & (after != truth) & (before == truth)] = NOW_WRONG
    return changed


def _write_differences(
    run: RunFolder, held_out: "HeldOut", before: "ClassMaps", after: "ClassMaps"
) -> None:
    run.held_out.mkdir(exist_ok=True)
    for index, labels in after.items():
        changed = difference(before[index], labels, held_out.truths[index], held_out.regions[index])
        facts = {"pair": held_out.names[index], "0": "same", "1": "now right", "2": "now wrong"}
        write_labels(run.held_out / f"{index:03d}_difference.tif", changed, provenance=facts)


def _card(start: Start, result: dict[str, Any], job: "Job") -> ModelCard:
    """Return the card of the new model."""
    settings, base = start.settings, start.base
    images = f"{len(start.pairs)} image{'s' * (len(start.pairs) != 1)}"
    scores = {f"Dice of {name}, held out": x for name, x in result["after"]["classes"].items()}
    return start.card.model_copy(
        update={
            "name": settings.name,
            "title": settings.name[:80],
            "purpose": f"{', '.join(start.classes[1:])}, fine-tuned from {base.name}",
            "parent": base.name,
            "training_data": f"{images} of the user with {start.labelled} labelled pixels learnt "
            f"from ({start.split.sentence}) Before that: {base.training_data}",
            "trained_by": f"napari-rwkv-seg finetune, seed {settings.seed}, {start.depth}: "
            f"{result['steps']} steps in {result['seconds'] / 60:.1f} minutes on {job.device}; "
            f"weights {result['share']:.0%} of the way from the base to what was learnt",
            "test_scores": {"Dice, held out": result["after"]["mean"] or 0.0, **scores},
            "pixel_size_um": common_size([pair.pixel_size_um for pair in start.pairs]),
            "untrained": False,
            "note": "",
            "weights_sha256": "",
        }
    )


def _description(start: Start, result: dict[str, Any]) -> str:
    """Return the page for people."""
    rows = [
        f"| {name} | {result['before']['classes'].get(name, '–')} | {score} |"
        for name, score in result["after"]["classes"].items()
    ]
    return "\n".join(
        [
            f"Fine-tuned from `{start.base.name}` on {len(start.pairs)} image(s): "
            f"{result['sentence']}",
            "",
            f"{start.split.sentence} The held-out part also chose which of the checked weights "
            "were kept, so its scores are a little too good; images of your own that the run has "
            "never seen are the better test.",
            "",
            "| class | Dice before | Dice after |",
            "|---|---|---|",
            *rows,
        ]
    )
