"""Rows N: what is kept of labels is what they are, deletions too."""

import numpy as np

from napari_rwkv_seg.controllers.journal import Journal
from napari_rwkv_seg.controllers.journal_folders import list_entries, read_entry
from napari_rwkv_seg.controllers.journal_snapshot import Facts


def test_a_deleted_object_stays_deleted_in_what_is_kept(tmp_path):
    labels = np.random.default_rng(0).integers(0, 9, (3, 300, 280)).astype(np.int32)
    journal = Journal(tmp_path / "journal")
    layer = journal.follow()
    layer.edited(None)
    layer.flush(labels, lambda: Facts("cells", labels.shape, labels.dtype.str))
    labels[labels == 4] = 0  # as napari's fill does it
    layer.edited(None)
    layer.flush(labels, lambda: Facts("cells", labels.shape, labels.dtype.str))
    journal.close()

    [entry] = list_entries(journal.home)
    kept = read_entry(entry)[1]
    assert set(np.unique(kept)) == {0, 1, 2, 3, 5, 6, 7, 8}
    np.testing.assert_array_equal(kept, labels)
