"""Hypothesis strategies: shapes, and host arrays of them from which each library's arrays are made."""

from __future__ import annotations

import unicodedata
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from support.backends import Backend
from twolayer import TwoLayerNet


class Sizes(NamedTuple):
    """Networks, samples, features, hidden units and classes."""

    K: int
    N: int
    D: int
    H: int
    C: int


# JAX compiles every operation again for every shape, so only these few are drawn where it is tested.
FEW_SIZES = (Sizes(1, 1, 1, 1, 1), Sizes(2, 5, 3, 4, 3), Sizes(3, 3, 4, 2, 2))
few_sizes_only = False


def sizes() -> st.SearchStrategy[Sizes]:
    """Any small sizes."""
    anything = st.builds(
        Sizes, st.integers(1, 3), st.integers(1, 7), st.integers(1, 5), st.integers(1, 6), st.integers(1, 5)
    )
    return st.deferred(lambda: st.sampled_from(FEW_SIZES) if few_sizes_only else anything)


# Some with harmful characters: commands of a terminal, ends of lines, marks of direction, surrogates.
any_texts = st.text(max_size=9) | st.text("aé健ש🙂\u200d=<&\x1b\n\t\x9b\u202e\u2066\ud800\ufffe", max_size=9)


# Unicode's property Bidi_Control consists of the embeddings, the overrides, the isolates and three marks.
BIDI_CLASSES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
BIDI_MARKS = {"\N{ARABIC LETTER MARK}", "\N{LEFT-TO-RIGHT MARK}", "\N{RIGHT-TO-LEFT MARK}"}
NO_CHARACTERS_OF_XML = {"\ufffe", "\uffff"}


def is_dangerous(character: str) -> bool:
    """Whether a character may command a terminal, forge or reverse a line, or break a file."""
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in BIDI_CLASSES
        or character in BIDI_MARKS | NO_CHARACTERS_OF_XML
    )


def is_printable(text: str) -> bool:
    """Whether a text has no dangerous character."""
    return not any(map(is_dangerous, text))


class Problem(NamedTuple):
    """A network or stack, a batch and its targets, as host arrays in float64."""

    net: TwoLayerNet
    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None
    reg: object  # a number, or (K,)

    @property
    def probabilities(self) -> bool:
        return self.y.ndim == 2

    def on(self, backend: Backend, dtype: str | None = None) -> tuple[TwoLayerNet, Any, Any, Any]:
        """The network, X, y and the weights as arrays of the backend, by default in its widest dtype."""
        net = TwoLayerNet(*(backend.array(array, dtype) for array in self.net))
        y = backend.array(self.y, dtype if self.probabilities else None)
        weight = None if self.sample_weight is None else backend.array(self.sample_weight, dtype)
        return net, backend.array(self.X, dtype), y, weight


def floats(shape: tuple[int, ...], bound: float = 3.0) -> st.SearchStrategy[np.ndarray]:
    """Arrays of moderate float32 values (exact in both dtypes), many of them distinct."""
    entries = st.floats(-bound, bound, width=32, allow_subnormal=False)
    return hnp.arrays(np.float64, shape, elements=entries)


@st.composite
def problems(
    draw: st.DrawFn, *, stacked: bool | None = None, weights: bool | None = None, soft: bool | None = None
) -> Problem:
    """Any small network or stack with data that fit it."""
    K, N, D, H, C = draw(sizes())
    if stacked is None:
        stacked = draw(st.booleans())
    lead = (K,) if stacked else ()
    net = TwoLayerNet(*(draw(floats((*lead, *shape))) for shape in ((D, H), (H,), (H, C), (C,))))
    X = draw(floats((N, D)))
    if soft is None:
        soft = draw(st.booleans())
    if soft:
        raw = draw(hnp.arrays(np.float64, (N, C), elements=st.floats(0, 1, width=16))) + 1e-3
        y = raw / raw.sum(axis=1, keepdims=True)
    else:
        y = draw(hnp.arrays(np.int64, (N,), elements=st.integers(0, C - 1)))
    if weights is None:
        weights = draw(st.booleans())
    sample_weight = None
    if weights:
        entries = st.one_of(st.just(0.0), st.floats(0.125, 4, width=16))
        sample_weight = draw(hnp.arrays(np.float64, (N,), elements=entries))
        sample_weight[draw(st.integers(0, N - 1))] = 1.0
    number = st.floats(0, 1, width=16)
    reg = (
        draw(st.one_of(number, st.lists(number, min_size=lead[0], max_size=lead[0])))
        if lead
        else draw(number)
    )
    return Problem(net, X, y, sample_weight, reg)


def smoothings(problem: Problem) -> st.SearchStrategy:
    """A share of label smoothing for all, or one for each network of a stack."""
    share = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=16))
    K = problem.net.n_networks
    return share if K is None else st.one_of(share, st.lists(share, min_size=K, max_size=K))
