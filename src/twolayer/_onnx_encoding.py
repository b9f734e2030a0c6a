"""ONNX nodes that encode the columns of a table as features."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ._frames import DATES, TEXTS
from ._texts import listed
from .encoding import CategoryColumn, NumberColumn, TableEncoder

GAP = -(2**63)  # a missing date, the int64 value of NaT in pandas and NumPy
ML_OPSET = 2  # version of ai.onnx.ml; since version 2 its LabelEncoder maps strings to int64
_SECOND = 1_000_000  # microseconds
_DAY = 86_400 * _SECOND
# Days from 1 March of year 0 to 1 January 1970. Counted from there, dates in use are positive, so that
# integer division, which truncates in ONNX, rounds down.
_DAYS_BEFORE_1970 = 719_468
_NODES = "encoding/"  # prefix of the names of the nodes' outputs


class EncodingGraph:
    """Nodes that compute the features (N, D) from a table's columns; each column is an input (N, 1).

    Numbers, booleans (0 and 1) and durations (seconds) are float64, with nan for a gap. Dates are int64,
    microseconds since 1970 in UTC, with `GAP` for a gap. Text columns are strings, with "" for a gap.

    Parameters
    ----------
    encoder : TableEncoder
        The encoder.
    dtype : str
        The dtype of the features.
    onnx : module
        The package onnx.
    """

    def __init__(self, encoder: TableEncoder, dtype: str, onnx: ModuleType) -> None:
        taken = {"W1", "b1", "W2", "b2", "Z1", "H1", "logits", "probabilities", "label"}
        by_name = {one.name: one for one in encoder.columns}  # the parts of a date share one input
        clashing = sorted(one for one in by_name if one in taken or not one or one.startswith(_NODES))
        if clashing:
            raise ValueError(f"`encoder` must have no column named like a tensor; got {listed(clashing)}")
        self._onnx = onnx
        self.inputs = [self._input(one) for one in by_name.values()]
        self.nodes: list[Any] = []
        features = []
        for column in encoder.columns:
            if isinstance(column, CategoryColumn):
                features.append(self._categories(column))
            else:
                features += self._numbers(column)
        together = self._node("Concat", *features, axis=1)
        self.output = self._node("Cast", together, to=self._kind(dtype))

    def _kind(self, dtype: Any) -> Any:
        return self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def _input(self, column: NumberColumn | CategoryColumn) -> Any:
        kind = self._kind({TEXTS: object, DATES: np.int64}.get(column.kind, np.float64))
        says = f"The column {column.name!r}: {column.kind}."
        return self._onnx.helper.make_tensor_value_info(column.name, kind, ["N", 1], doc_string=says)

    def _node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        output = f"{_NODES}{len(self.nodes)}"
        node = self._onnx.helper.make_node(operator, inputs, [output], domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def _constant(self, value: Any, dtype: Any = np.float64) -> str:
        array = np.asarray(value, dtype=dtype)
        return self._node("Constant", value=self._onnx.numpy_helper.from_array(array))

    def _float(self, name: str) -> str:
        return self._node("Cast", name, to=self._kind(np.float64))

    def _numbers(self, column: NumberColumn) -> list[str]:
        """Return the names of the features of a column of numbers or dates."""
        if column.kind == DATES:
            gaps = self._node("Equal", column.name, self._constant(GAP, np.int64))
            moments = self._node("Where", gaps, self._constant(0, np.int64), column.name)
            if column.part:
                numbers = self._float(self._date_part(moments, column.part))
            else:
                numbers = self._node("Div", self._float(moments), self._constant(_SECOND))
        else:
            gaps, numbers = self._node("IsNaN", column.name), column.name
        features = []
        if column.varies:
            filled = self._node("Where", gaps, self._constant(column.mean), numbers)
            features.append(self._node("Sub", filled, self._constant(column.centre)))
        return features + ([self._float(gaps)] if column.has_gaps else [])

    def _categories(self, column: CategoryColumn) -> str:
        """Return the name of the features of a category column, side by side."""
        width = len(column.categories)
        if column.kind == TEXTS:
            if {"", None} <= {*column.categories, *column.infrequent}:
                raise ValueError(
                    f"the column {column.name!r:.80} must not have both gaps and empty strings, which are "
                    "the same in an ONNX model; got both"
                )
            texts = ["" if one is None else str(one) for one in column.categories]
            code = {"keys_strings": texts, "values_int64s": range(width), "default_int64": width}
            places = self._node("LabelEncoder", column.name, domain="ai.onnx.ml", **code)
            found = self._node("Equal", places, self._constant([range(width)], np.int64))
        else:
            known = [category for category in column.categories if category is not None]
            found = self._node("Equal", column.name, self._constant([known]))
            if None in column.categories:
                found = self._node("Concat", found, self._node("IsNaN", column.name), axis=1)
        features = self._float(found)
        if not column.infrequent:
            return features
        # A category without a feature of its own, seen in training or not, counts as infrequent.
        axis = self._constant([1], np.int64)
        others = self._node("Sub", self._constant(1.0), self._node("ReduceSum", features, axis, keepdims=1))
        return self._node("Concat", features, others, axis=1)

    def _date_part(self, moments: str, part: str) -> str:
        """Return a part of dates, by integer arithmetic on the Gregorian calendar.

        The algorithm is ``civil_from_days`` of https://howardhinnant.github.io/date_algorithms.html.
        """

        def whole(operator: str, name: str, other: str | int) -> str:
            if isinstance(other, int):
                other = self._constant(other, np.int64)
            return self._node(operator, name, other)

        moved = whole("Add", moments, _DAYS_BEFORE_1970 * _DAY)
        if part == "hour":
            return whole("Div", whole("Mod", moved, _DAY), 3600 * _SECOND)
        days = whole("Div", moved, _DAY)
        if part == "weekday":  # 1 March of the year 0 was a Wednesday
            return whole("Add", whole("Mod", whole("Add", days, 2), 7), 1)
        # An era is 400 years. It has 146,097 days and begins on 1 March, so a leap day ends a year.
        era, of_era = whole("Div", days, 146_097), whole("Mod", days, 146_097)
        leap_days, skipped, last = (whole("Div", of_era, n) for n in (1460, 36_524, 146_096))
        counted = whole("Sub", whole("Add", of_era, skipped), whole("Add", leap_days, last))
        year_of_era = whole("Div", counted, 365)
        leap = whole("Sub", whole("Div", year_of_era, 4), whole("Div", year_of_era, 100))
        of_year = whole("Sub", of_era, whole("Add", whole("Mul", year_of_era, 365), leap))
        month = whole("Div", whole("Add", whole("Mul", of_year, 5), 2), 153)  # 0 is March
        if part == "day":
            before = whole("Div", whole("Add", whole("Mul", month, 153), 2), 5)
            return whole("Add", whole("Sub", of_year, before), 1)
        if part == "month":
            return whole("Add", whole("Mod", whole("Add", month, 2), 12), 1)
        year = whole("Add", whole("Mul", era, 400), year_of_era)
        return whole("Add", year, whole("Div", month, 10))  # January and February belong to the next year
