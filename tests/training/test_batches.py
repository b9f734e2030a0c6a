"""The batches of an epoch, the random numbers of each step, and prefetching."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.slow_mixes import bytes_of, generator

from twolayer.augmentation import Mixup
from twolayer.training import batches as module
from twolayer.training.batches import Batches, Draws, prefetch
from twolayer.training.trees import tree_leaves, tree_map


def rows(batches: Batches, epoch: int, start: int = 0, stop: int | None = None) -> list[list[int]]:
    """The samples of each step, taken from all chunks."""
    stop = batches.steps_per_epoch if stop is None else stop
    return [row.tolist() for chunk in batches.rows(epoch, start, stop) for row in chunk]


any_batches = st.builds(Batches, st.integers(0, 2**40), st.integers(1, 40), st.integers(1, 50), st.booleans())


def test_the_batches_of_a_seed_never_change():
    assert rows(Batches(7, 7, 3, replacement=False), 2) == [[5, 0, 3], [4, 2, 6], [1]]
    assert rows(Batches(7, 7, 3, replacement=True), 2) == [[4, 3, 2], [0, 0, 6], [1, 1, 6]]


@given(batches=any_batches, epoch=st.integers(0, 5))
def test_an_epoch_has_each_sample_once_or_with_replacement_full_batches(batches, epoch):
    taken = rows(batches, epoch)
    n_samples, size = batches.n_samples, batches.batch_size
    assert len(taken) == batches.steps_per_epoch == -(-n_samples // size)
    last = size if batches.replacement else n_samples - (len(taken) - 1) * size
    assert [len(row) for row in taken] == [*[size] * (len(taken) - 1), last]
    samples = [i for row in taken for i in row]
    assert set(samples) <= set(range(n_samples))
    assert batches.replacement or sorted(samples) == list(range(n_samples))


def test_batches_with_replacement_repeat_samples_and_reach_all_of_them():
    taken = np.asarray(rows(Batches(0, 50, 50, replacement=True), 0)).ravel()
    assert 20 < len(set(taken)) < 45  # 63 % of 50 samples are expected
    many = Batches(0, 50, 50, replacement=True)
    assert {i for epoch in range(20) for row in rows(many, epoch) for i in row} == set(range(50))


@given(batches=any_batches, epoch=st.integers(0, 3), data=st.data())
def test_any_part_of_an_epoch_can_be_drawn_alone(batches, epoch, data):
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
def test_chunks_are_int32_and_hold_a_few_steps_of_one_batch_size(batches, length, data):
    start = data.draw(st.integers(0, batches.steps_per_epoch - 1))
    whole = rows(batches, 1, start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_STEPS", length)
        chunks = list(batches.rows(1, start, batches.steps_per_epoch))
    assert [row.tolist() for chunk in chunks for row in chunk] == whole
    for chunk in chunks:
        assert chunk.ndim == 2
        assert 1 <= len(chunk) <= length
        assert chunk.dtype == np.int32
    full = [len(chunk) for chunk in chunks if chunk.shape[1] == batches.batch_size]
    assert full.count(length) >= len(full) - 1  # only the last chunk may hold fewer steps


def test_epochs_and_seeds_draw_different_batches():
    one = Batches(0, 30, 10, replacement=False)
    others = replace(one, seed=1), replace(one, replacement=True)
    drawn = [rows(one, 0), rows(one, 1), *(rows(other, 0) for other in others)]
    assert len({str(taken) for taken in drawn}) == 4


@pytest.mark.parametrize(("n_samples", "dtype"), [(2**31, np.int32), (2**31 + 1, np.int64)])
def test_row_numbers_are_int64_where_int32_is_too_small(monkeypatch, n_samples, dtype):
    class Last:
        def integers(self, high: int, *, size: tuple[int, int]) -> np.ndarray:
            assert size == (2, n_samples // 2 + 1)
            return np.full((2, 3), high - 1)  # a few rows, as all of them would take gigabytes

    monkeypatch.setattr(module, "stream", lambda *_: Last())
    (chunk,) = Batches(0, n_samples, n_samples // 2 + 1, replacement=True).rows(0, 0, 2)
    assert chunk.dtype == dtype
    assert (chunk == n_samples - 1).all()


# ---------------------------------------------------------------------------------------------------------
# The random numbers of a step


class Everything:
    """An augmentation that draws nested tuples of arrays of several dtypes."""

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Any, ...]:
        return rng.random((n, 2)), (rng.integers(9, size=n, dtype=np.int16), (), rng.random(n) < 0.5)

    def apply(self, X: Any, T: Any, draws: Any, *, xp: Any) -> tuple[Any, Any]:
        raise AssertionError("nothing is applied here")


def divided(tree: Any, n: int) -> list[Any]:
    return [tree_map(lambda array, i=i: array[i], tree) for i in range(n)]


def steps_of(source: Batches, start: int, stop: int) -> list[Draws]:
    """The draws of each step, taken from all chunks."""
    found = []
    for draws in source.draws(start, stop):
        n = len(draws.rows)
        assert isinstance(draws, Draws)
        found += divided(draws, n)
    return found


def listed(tree: Any) -> Any:
    """Nested tuples of arrays as nested lists of dtypes and values, which can be compared."""
    if isinstance(tree, tuple):
        return [listed(part) for part in tree]
    return None if tree is None else [str(tree.dtype), tree.tolist()]


any_source = st.builds(
    Batches,
    st.integers(0, 2**40),
    st.integers(1, 40),
    st.integers(1, 50),
    st.booleans(),
    n_inputs=st.sampled_from([0, 1, 7, 8]),
    n_hidden=st.sampled_from([0, 1, 3]),
    augmentation=st.sampled_from([None, Everything(), Mixup(0.5)]),
    sample_bytes=st.sampled_from([0, 100]),
)


# The draws of steps 0 to 3, two in each epoch.
FROZEN: dict[str, Any] = {
    "rows": [[2, 1, 4], [3, 0], [1, 0, 4], [3, 2]],
    "input_bytes": [
        [[189, 202, 15], [172, 165, 190], [230, 133, 172]],
        [[23, 162, 18], [118, 159, 209]],
        [[25, 229, 241], [98, 123, 235], [247, 183, 202]],
        [[94, 248, 22], [129, 112, 46]],
    ],
    "hidden_bytes": [
        [[83, 38], [43, 126], [61, 87]],
        [[201, 247], [70, 192]],
        [[254, 60], [232, 169], [37, 188]],
        [[55, 238], [238, 200]],
    ],
    "mixup": [
        ([0.9395288184912877, 0.981031032384492, 0.6039971743837974], [2, 0, 1]),
        ([0.4536731533615371, 0.49152175828009015], [0, 1]),
        ([0.7875321141284669, 0.013727318409133138, 0.9969272893142911], [2, 1, 0]),
        ([0.007357705563540956, 0.9369515904994709], [0, 1]),
    ],
}


def test_the_draws_of_a_seed_never_change():
    """They must be these on every machine and in every version."""
    source = Batches(7, 5, 3, replacement=False, n_inputs=3, n_hidden=2, augmentation=Mixup(0.5))
    steps = steps_of(source, 0, 4)
    assert [one.rows.tolist() for one in steps] == FROZEN["rows"]
    assert [one.input_bytes.tolist() for one in steps] == FROZEN["input_bytes"]
    # These bytes are drawn sample by sample, but stored unit by unit.
    assert [one.hidden_bytes.T.tolist() for one in steps] == FROZEN["hidden_bytes"]
    for one, (lam, partner) in zip(steps, FROZEN["mixup"], strict=True):
        np.testing.assert_allclose(one.augmentation[0], lam, rtol=1e-12)
        assert one.augmentation[1].tolist() == partner
    arrays = [array for one in steps for array in (one.input_bytes, one.hidden_bytes)]
    assert {array.dtype for array in arrays} == {np.dtype(np.uint8)}


@given(source=any_source, start=st.integers(0, 12), n=st.integers(1, 5))
def test_each_step_draws_from_its_own_streams(source, start, n):
    per_epoch, seed = source.steps_per_epoch, source.seed
    for step, draws in enumerate(steps_of(source, start, start + n), start=start):
        place = divmod(step, per_epoch)
        assert draws.rows.tolist() == rows(source, place[0])[place[1]]
        size = len(draws.rows)
        for found, purpose, width in (
            (draws.input_bytes, 2, source.n_inputs),
            (draws.hidden_bytes, 3, source.n_hidden),
        ):
            if width:
                expected = bytes_of(seed, purpose, *place, size, width)
                np.testing.assert_array_equal(found, expected if purpose == 2 else expected.T)
                assert found.flags.c_contiguous
            else:
                assert found is None
        if source.augmentation is None:
            assert draws.augmentation is None
        else:
            expected = source.augmentation.draw(generator(seed, 4, *place), size)
            assert listed(draws.augmentation) == listed(expected)


@given(
    source=any_source,
    start=st.integers(0, 30),
    length=st.integers(0, 30),
    chunk_steps=st.integers(1, 5),
    chunk_bytes=st.sampled_from([1, 50, 500, 2**26]),
    data=st.data(),
)
def test_any_part_of_a_run_can_be_drawn_alone_in_chunks_of_any_length(
    source, start, length, chunk_steps, chunk_bytes, data
):
    whole = [listed(one) for one in steps_of(source, 0, start + length)]
    assert len(whole) == start + length
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_STEPS", chunk_steps)
        patch.setattr(module, "CHUNK_BYTES", chunk_bytes)
        part = [listed(one) for one in steps_of(source, start, start + length)]
        chunks = list(source.draws(start, start + length))
    assert part == whole[start:]
    step = start
    for draws in chunks:
        n, size = draws.rows.shape
        assert 1 <= n <= chunk_steps
        first, last = (divmod(at, source.steps_per_epoch)[0] for at in (step, step + n - 1))
        assert first == last  # a chunk never crosses the end of an epoch
        step += n
        n_bytes = [
            sum(array.nbytes for array in tree_leaves(one)) + source.sample_bytes * size
            for one in divided(draws, n)
        ]
        if source.noisy:
            assert sum(n_bytes[:-1]) < chunk_bytes  # only the last step may reach the limit
    assert step == start + length


def test_chunks_are_as_long_as_the_limit_allows(monkeypatch):
    source = Batches(0, 20, 2, replacement=False, n_hidden=6)
    one = 2 * 4 + 2 * 6  # bytes of a step: two int32 rows, and 6 units for each
    for limit, sizes in (
        (1, [1] * 10),
        (one, [1] * 10),
        (one + 1, [2] * 5),
        (3 * one, [3, 3, 3, 1]),
        (10**6, [10]),
    ):
        monkeypatch.setattr(module, "CHUNK_BYTES", limit)
        assert [len(draws.rows) for draws in source.draws(0, 10)] == sizes
    # Samples that are copied from the host count too.
    monkeypatch.setattr(module, "CHUNK_BYTES", 3 * (one + 2 * 100))
    assert [len(d.rows) for d in replace(source, sample_bytes=100).draws(0, 10)] == [3, 3, 3, 1]


def test_purposes_steps_and_seeds_draw_different_bytes():
    source = Batches(0, 6, 3, replacement=False, n_inputs=40, n_hidden=40)
    first, second, third = steps_of(source, 0, 3)
    (other,) = steps_of(replace(source, seed=1), 0, 1)
    drawn = [first.input_bytes, *(step.hidden_bytes for step in (first, second, third, other))]
    assert len({array.tobytes() for array in drawn}) == len(drawn)


def test_bytes_have_all_256_values_equally_often():
    (draws,) = steps_of(Batches(0, 256, 256, replacement=False, n_hidden=1000), 0, 1)
    counts = np.bincount(draws.hidden_bytes.ravel(), minlength=256)
    assert counts.shape == (256,)
    assert abs(counts - 1000).max() < 6 * np.sqrt(1000)


# ---------------------------------------------------------------------------------------------------------
# Prefetching


def test_prefetch_keeps_all_items_in_order():
    assert list(prefetch(iter(range(100)))) == list(range(100))
    assert list(prefetch(iter([]))) == []


def test_prefetch_makes_the_next_item_while_one_is_used():
    making = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        making.set()
        yield 1

    found = prefetch(items())
    assert next(found) == 0
    assert making.wait(timeout=20)
    assert list(found) == [1]


def test_prefetch_makes_at_most_one_item_in_advance():
    made = []

    def items() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            yield i

    for i in prefetch(items()):
        assert max(made) <= i + 1
    assert made == list(range(10))


def test_prefetch_raises_an_error_after_the_items_before_it():
    def items() -> Iterator[int]:
        yield 0
        yield 1
        raise KeyError("mine")

    n_threads, found = threading.active_count(), prefetch(items())
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(KeyError, match="mine"):
        next(found)
    assert threading.active_count() == n_threads


def test_prefetch_leaves_no_thread_when_it_is_not_used_up():
    n_threads = threading.active_count()
    found = prefetch(iter(range(10)))
    next(found)
    assert threading.active_count() == n_threads + 1
    found.close()
    assert threading.active_count() == n_threads
    for i in prefetch(iter(range(10))):
        if i == 3:
            break
    gc.collect()
    assert threading.active_count() == n_threads


def test_trees_of_the_same_form_are_mapped_together():
    tree = Draws(np.arange(6).reshape(2, 3), None, (np.ones((2, 1)), ()), ((), np.zeros(2)))
    doubled = tree_map(lambda a: 2 * a, tree)
    assert isinstance(doubled, Draws)
    assert doubled.rows.tolist() == [[0, 2, 4], [6, 8, 10]]
    assert doubled.input_bytes is None
    joined = tree_map(lambda *arrays: np.stack(arrays), *divided(tree, 2))
    assert isinstance(joined, Draws)
    assert listed(joined) == listed(tree)
    assert tree_map(len, ()) == ()
    assert tree_map(len, None) is None
    with pytest.raises(ValueError, match="zip"):
        tree_map(lambda *arrays: arrays, (np.ones(1),), (np.ones(1), np.ones(1)))


def test_the_leaves_of_a_tree_are_its_arrays_in_order():
    arrays = [np.ones((2, 1)), np.zeros(2), np.arange(2)]
    found = tree_leaves(Draws(None, None, (arrays[0], ()), ((), *arrays[1:])))
    assert [a is b for a, b in zip(found, arrays, strict=True)] == [True] * 3
    assert tree_leaves(arrays[0]) == [arrays[0]]
    assert tree_leaves((None, ())) == []
