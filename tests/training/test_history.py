"""The recorder of a run, and the methods of its history."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.small_runs import assert_same_history

from twolayer import History
from twolayer.training.history import Recorder, no_history


def recorded(n_networks: int, sizes: list[int], earlier: History | None = None) -> Recorder:
    """A recorder of chunks of these sizes, with an entry after each chunk; all values are distinct."""
    recorder = Recorder(earlier or no_history(n_networks))
    for size in sizes:
        number = 100.0 * recorder.n_steps + np.arange(size * n_networks).reshape(size, n_networks)
        recorder.add_steps(number, -number)
        entry = recorder.n_steps + np.arange(n_networks)
        recorder.add_entry(entry + 0.1, entry + 0.2, entry + 0.3, entry + 0.4)
    return recorder


def history_of(recorder: Recorder, stacked: bool) -> History:
    history = recorder.history()
    return history if stacked else history.select(0)


def test_only_the_history_of_a_stack_has_an_axis_of_networks():
    recorder = recorded(2, [3, 2])
    history = recorder.history()
    assert [array.shape for array in history] == [(2, 5), (2, 5), (2,), *[(2, 2)] * 4]
    assert history.loss.tolist() == [[0, 2, 4, 300, 302], [1, 3, 5, 301, 303]]
    assert history.batch_accuracy.tolist() == (-history.loss).tolist()
    assert history.step.tolist() == [3, 5]
    entries = zip(history[3:], (0.1, 0.2, 0.3, 0.4), strict=True)
    for found, part in entries:
        assert found.tolist() == [[3 + part, 5 + part], [4 + part, 6 + part]]
    single = recorded(1, [3, 2]).history().select(0)
    assert {array.shape for array in single} == {(5,), (2,)}
    assert single.loss.tolist() == [0, 1, 2, 300, 301]
    assert single.validation_accuracy.tolist() == [3.4, 5.4]


def test_dtypes_are_float64_and_int64_for_any_input():
    recorder = Recorder(no_history(1))
    recorder.add_steps(np.ones((2, 1), np.float32), np.ones((2, 1), np.float32))
    recorder.add_entry(*np.ones((4, 1), np.float32))
    history = recorder.history().select(0)
    assert [array.dtype for array in history] == [
        np.dtype(np.int64 if name == "step" else np.float64) for name in History._fields
    ]


@pytest.mark.parametrize("stacked", [False, True])
def test_a_history_is_empty_before_anything_is_recorded(stacked):
    history = history_of(Recorder(no_history(1)), stacked)
    assert all(array.shape[-1] == 0 for array in history)
    assert history.loss.ndim == history.learning_rate.ndim == (2 if stacked else 1)
    assert_same_history(history_of(Recorder(history), stacked), history)


@given(
    n_networks=st.integers(1, 3),
    before=st.lists(st.integers(1, 4), max_size=3),
    after=st.lists(st.integers(1, 4), max_size=3),
    data=st.data(),
)
def test_a_resumed_recorder_gives_the_same_history(n_networks, before, after, data):
    stacked = n_networks > 1 or data.draw(st.booleans())
    whole = recorded(n_networks, before + after)
    half = history_of(recorded(n_networks, before), stacked)
    copies = [array.copy() for array in half]
    resumed = recorded(n_networks, after, half)
    assert_same_history(history_of(resumed, stacked), history_of(whole, stacked))
    assert resumed.n_steps == whole.n_steps
    for array, copy in zip(half, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    if whole.n_steps:
        start = data.draw(st.integers(0, whole.n_steps - 1))
        expected = -np.atleast_2d(whole.history().loss)[:, start:].T
        np.testing.assert_array_equal(whole.batch_accuracies(start), expected)
        np.testing.assert_array_equal(resumed.batch_accuracies(start), expected)
        for recorder in (whole, resumed):  # the rounding of a sum depends on the memory order
            assert recorder.batch_accuracies(start).flags.c_contiguous


def test_history_returns_a_copy():
    recorder = recorded(1, [2])
    first = recorder.history().select(0)
    for array in first:
        array[...] = 77
    assert_same_history(recorder.history().select(0), recorded(1, [2]).history().select(0))


def test_select_returns_the_history_of_one_network():
    history = recorded(3, [2, 2]).history()
    for k in range(3):
        one = history.select(k)
        assert isinstance(one, History)
        for name, array in one._asdict().items():
            expected = getattr(history, name)
            np.testing.assert_array_equal(array, expected if name == "step" else expected[k])
        assert_same_history(history.select(k - 3), one)


@pytest.mark.parametrize(
    ("method", "number", "error", "message"),
    [
        ("select", 3, ValueError, "`k` must be below the number of networks, 3; got 3"),
        ("select", -4, ValueError, "`k` must be at least -3; got -4"),
        ("select", 1.0, TypeError, "`k` must be an integer; got float"),
        ("select", True, TypeError, "`k` must be an integer; got bool"),
        ("until", -1, ValueError, "`step` must be at least 0; got -1"),
        ("until", 1.0, TypeError, "`step` must be an integer; got float"),
        ("until", True, TypeError, "`step` must be an integer; got bool"),
        ("until", None, TypeError, "`step` must be an integer; got NoneType"),
    ],
)
def test_networks_and_steps_that_do_not_exist_are_refused(method, number, error, message):
    with pytest.raises(error, match=re.escape(message) + "$"):
        getattr(recorded(3, [5]).history(), method)(number)


@given(n_networks=st.integers(1, 3), sizes=st.lists(st.integers(1, 4), max_size=4), stop=st.integers(0, 20))
def test_until_returns_the_record_up_to_a_step(n_networks, sizes, stop):
    stacked = n_networks > 1
    whole = history_of(recorded(n_networks, sizes), stacked)
    copies = [array.copy() for array in whole]
    ends = np.cumsum(sizes, dtype=int)
    part = whole.until(stop)
    n_entries = int(sum(end <= stop for end in ends))
    n_steps = min(stop, sum(sizes))
    assert isinstance(part, History)
    for name, array in part._asdict().items():
        n = n_steps if name in ("loss", "batch_accuracy") else n_entries
        np.testing.assert_array_equal(array, getattr(whole, name)[..., :n], err_msg=name)
        assert array.dtype == getattr(whole, name).dtype
        assert array.shape == (*getattr(whole, name).shape[:-1], n)
    if stop in ends:  # as if the run had ended there
        same = history_of(recorded(n_networks, sizes[:n_entries]), stacked)
        assert_same_history(part, same)
        assert_same_history(whole.until(np.int64(stop)), same)
    assert_same_history(whole.until(sum(sizes)), whole)
    for array, copy in zip(whole, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_entries_after_a_step_are_counted():
    recorder = recorded(2, [3, 2, 4])  # entries after 3, 5 and 9 steps
    assert [recorder.entries_after(step) for step in (0, 2, 3, 4, 5, 8, 9, 10)] == [3, 3, 2, 2, 1, 1, 0, 0]
    nothing = Recorder(no_history(1))
    assert nothing.entries_after(0) == 0
    assert (nothing.last_entry, recorder.last_entry) == (0, 9)
    resumed = recorded(2, [1], recorder.history())
    assert [resumed.entries_after(step) for step in (3, 9, 10)] == [3, 1, 0]


def test_select_needs_a_stack():
    with pytest.raises(ValueError, match=r"`select` needs the history of a stack; got that of one network$"):
        recorded(1, [2]).history().select(0).select(0)


def test_repr_shows_sizes_and_no_contents():
    assert repr(recorded(1, [3, 2]).history().select(0)) == "History(5 steps, 2 entries)"
    assert repr(recorded(3, [3]).history()) == "History(3 networks, 3 steps, 1 entries)"
