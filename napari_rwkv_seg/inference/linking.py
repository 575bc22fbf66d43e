"""Give objects of neighbouring planes or time points one number where they overlap.

Pairs are chosen so that the sum of their IoU is largest (Hungarian assignment,
Kuhn 1955), each object having at most one partner on either side; pairs below
the least overlap stay apart. Objects that split or merge keep the better half.
Pure NumPy and SciPy.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int32]


def link_labels(labels: Labels, axes: str, along: str, overlap: float) -> Labels:
    """Return `labels` with linked objects, counted from 1 in reading order.

    Parameters
    ----------
    labels : int32 array (..., Y, X)
        Every number in one plane only, as `label_planes` makes them.
    axes : str
        Of the labels, such as "TZYX".
    along : str
        Of "Z" and "T"; Z comes first, so that what is followed in time is whole.
    overlap : float
        The least IoU of a pair.
    """
    linked = labels
    for letter in "ZT":
        if letter in along and letter in axes:
            linked = _linked(linked, axes, letter, overlap)
    return linked


def _linked(labels: Labels, axes: str, letter: str, overlap: float) -> Labels:
    """Return labels with objects joined along one axis."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    moved = np.moveaxis(labels, axes.index(letter), 0)
    total = int(labels.max(initial=0)) + 1
    firsts, seconds = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for before, after in pairwise(moved):
        for one, two in _parts(before, after, letter):
            first, second = _partners(one, two, overlap)
            firsts.append(first)
            seconds.append(second)
    rows, columns = np.concatenate(firsts), np.concatenate(seconds)
    links = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(total, total))
    _, roots = connected_components(links, directed=False)
    return _renumbered(roots[labels], background=int(roots[0]))


def _parts(before: Labels, after: Labels, letter: str) -> list[tuple[Labels, Labels]]:
    """Return what is compared: along T whole volumes, along Z the planes of each time point."""
    if letter == "T" or before.ndim == 2:
        return [(before, after)]
    return list(zip(before, after, strict=True))


def _partners(
    before: Labels, after: Labels, overlap: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the objects that belong together."""
    both = (before > 0) & (after > 0)
    pairs, shared = np.unique(np.stack([before[both], after[both]]), axis=1, return_counts=True)
    first, second = pairs.astype(np.int64)
    sizes_before, sizes_after = np.bincount(before.ravel()), np.bincount(after.ravel())
    union = sizes_before[first] + sizes_after[second] - shared
    iou = shared / union
    kept = iou >= overlap
    return _assigned(first[kept], second[kept], iou[kept])


def _assigned(
    first: NDArray[np.int64], second: NDArray[np.int64], iou: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of largest sum in which no object occurs twice.

    Objects that overlap nothing in common are assigned on their own, so that tables stay small.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(first):
        return first, second
    names_first, rows = np.unique(first, return_inverse=True)
    names_second, columns = np.unique(second, return_inverse=True)
    count = len(names_first) + len(names_second)
    graph = coo_array((iou, (rows, columns + len(names_first))), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    chosen = []
    order = np.argsort(group[rows], kind="stable")
    borders = np.flatnonzero(np.diff(group[rows][order])) + 1
    for places in np.split(order, borders):
        if len(places) > 1:
            ups, row = np.unique(rows[places], return_inverse=True)
            downs, column = np.unique(columns[places], return_inverse=True)
            table = np.zeros((len(ups), len(downs)))
            table[row, column] = iou[places]
            partner = np.full(len(ups), -1)
            best = linear_sum_assignment(table, maximize=True)
            partner[best[0]] = best[1]
            places = places[partner[row] == column]
        chosen.append(places)
    found = np.concatenate(chosen)
    return first[found], second[found]


def _renumbered(labels: NDArray[np.int32], background: int) -> Labels:
    """Return labels counted from 1 in reading order."""
    names, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    is_object = names != background
    order = np.argsort(np.where(is_object, first, -1), kind="stable")
    table = np.zeros(len(names), dtype=np.int32)
    table[order] = np.arange(len(names)) + (0 if not is_object.all() else 1)
    numbered: Labels = table[inverse.reshape(labels.shape)]
    return numbered
