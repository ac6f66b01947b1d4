"""Suspected labels: planted swaps stand first on the list."""

from __future__ import annotations

import numpy as np

from tasks.suspects import suspects


def test_swapped_labels_stand_first_and_name_the_likely_class() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["cat", "dog", "hen"] * 100)
    centres = {"cat": 0.0, "dog": 1.0, "hen": 2.0}
    embeddings = np.stack([rng.normal(centres[label], 1.2, 24) for label in labels]).astype(np.float32)
    swapped = rng.permutation(300)[:6]
    said = labels.copy()
    said[swapped] = np.where(labels[swapped] == "cat", "hen", "cat")

    found = suspects(embeddings, said)

    first = {one.row: one for one in found[:6]}
    assert len(first.keys() & set(swapped.tolist())) >= 5
    assert all(one.given == said[row] and one.likely == labels[row] for row, one in first.items())
    assert [one.margin for one in found] == sorted((one.margin for one in found), reverse=True)


def test_a_class_too_small_to_judge_is_left_out() -> None:
    embeddings = np.random.default_rng(0).normal(size=(13, 4)).astype(np.float32)
    labels = np.array(["cat"] * 10 + ["dog"] * 3)

    assert suspects(embeddings, labels) == []
