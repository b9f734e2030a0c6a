from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twolayer.training import batches as module
from twolayer.training.batches import Batches


def rows(batches: Batches, epoch: int, start: int = 0, stop: int | None = None) -> list[list[int]]:
    """The samples of each step, however they were chunked."""
    stop = batches.steps_per_epoch if stop is None else stop
    return [row.tolist() for chunk in batches.chunks(epoch, start, stop) for row in chunk]


any_batches = st.builds(Batches, st.integers(0, 2**40), st.integers(1, 40), st.integers(1, 50), st.booleans())


def test_the_batches_of_a_seed_never_change():
    assert rows(Batches(7, 7, 3, replacement=False), 2) == [[5, 0, 3], [4, 2, 6], [1]]
    assert rows(Batches(7, 7, 3, replacement=True), 2) == [[4, 3, 2], [0, 0, 6], [1, 1, 6]]


@given(batches=any_batches, epoch=st.integers(0, 5))
def test_an_epoch_without_replacement_takes_each_sample_once(batches, epoch):
    batches = batches._replace(replacement=False)
    taken = rows(batches, epoch)
    assert sorted(i for row in taken for i in row) == list(range(batches.n_samples))
    assert len(taken) == batches.steps_per_epoch
    assert all(len(row) == batches.batch_size for row in taken[:-1])
    assert 1 <= len(taken[-1]) <= batches.batch_size


@given(batches=any_batches, epoch=st.integers(0, 5))
def test_batches_with_replacement_are_all_full(batches, epoch):
    batches = batches._replace(replacement=True)
    taken = rows(batches, epoch)
    assert len(taken) == batches.steps_per_epoch == batches._replace(replacement=False).steps_per_epoch
    assert all(len(row) == batches.batch_size for row in taken)
    assert all(0 <= i < batches.n_samples for row in taken for i in row)


def test_batches_with_replacement_repeat_samples_and_reach_all_of_them():
    taken = np.asarray(rows(Batches(0, 50, 50, replacement=True), 0)).ravel()
    assert 20 < len(set(taken)) < 45  # 63 % of 50 are expected
    many = Batches(0, 50, 50, replacement=True)
    assert {i for epoch in range(20) for row in rows(many, epoch) for i in row} == set(range(50))


@given(batches=any_batches, epoch=st.integers(0, 3), data=st.data())
def test_any_part_of_an_epoch_can_be_drawn_by_itself(batches, epoch, data):
    start = data.draw(st.integers(0, batches.steps_per_epoch))
    stop = data.draw(st.integers(start, batches.steps_per_epoch))
    assert rows(batches, epoch, start, stop) == rows(batches, epoch)[start:stop]


@given(batches=any_batches, data=st.data())
def test_the_size_of_a_step_is_its_number_of_samples(batches, data):
    per_epoch = batches.steps_per_epoch
    step = data.draw(st.integers(0, 4 * per_epoch - 1))
    epoch, within = divmod(step, per_epoch)
    assert batches.size(step) == len(rows(batches, epoch)[within])


@given(batches=any_batches, length=st.integers(1, 7), data=st.data())
def test_chunks_hold_few_steps_of_one_size_as_small_integers(batches, length, data):
    start = data.draw(st.integers(0, batches.steps_per_epoch - 1))
    whole = rows(batches, 1, start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_STEPS", length)
        chunks = list(batches.chunks(1, start, batches.steps_per_epoch))
    assert [row.tolist() for chunk in chunks for row in chunk] == whole
    for chunk in chunks:
        assert chunk.ndim == 2
        assert 1 <= len(chunk) <= length
        assert chunk.dtype == np.int32
    full = [len(chunk) for chunk in chunks if chunk.shape[1] == batches.batch_size]
    assert full.count(length) >= len(full) - 1  # only the last may hold fewer


def test_epochs_and_seeds_differ():
    one = Batches(0, 30, 10, replacement=False)
    drawn = [
        rows(one, 0),
        rows(one, 1),
        rows(one._replace(seed=1), 0),
        rows(one._replace(replacement=True), 0),
    ]
    assert len({str(taken) for taken in drawn}) == 4


@pytest.mark.parametrize(("n_samples", "dtype"), [(2**31, np.int32), (2**31 + 1, np.int64)])
def test_rows_beyond_32_bits_are_kept(monkeypatch, n_samples, dtype):
    class Last:
        def integers(self, high: int, *, size: tuple[int, int]) -> np.ndarray:
            assert size == (2, n_samples // 2 + 1)
            return np.full((2, 3), high - 1)  # a few of them: all would take gigabytes

    monkeypatch.setattr(module, "stream", lambda *_: Last())
    (chunk,) = Batches(0, n_samples, n_samples // 2 + 1, replacement=True).chunks(0, 0, 2)
    assert chunk.dtype == dtype
    assert (chunk == n_samples - 1).all()
