"""The encoding of a table as part of an ONNX graph."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ._frames import DATES, TEXTS
from ._texts import listed
from .encoding import CategoryColumn, NumberColumn, TableEncoder

GAP = -(2**63)  # what stands for a gap in int64, as in pandas and NumPy
ML_OPSET = 2  # of the operators for machine learning, whose LabelEncoder finds the place of a text
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
# Days from 1 March of the year 0 to 1 January 1970: in this count no date in use is negative.
_DAYS_BEFORE_1970 = 719_468
_NODES = "encoding/"  # how the names of the outputs begin


class EncodingGraph:
    """Nodes that make the features (N, D) of a table's columns, each of which is an input (N, 1).

    Numbers, booleans and durations are float64, nan for a gap; dates are int64, microseconds since 1970 in
    UTC, and `GAP`; texts are strings, "" for a gap.

    Parameters
    ----------
    encoder : TableEncoder
        The encoder.
    dtype : str
        The dtype of the features.
    onnx : module
        The package.
    """

    def __init__(self, encoder: TableEncoder, dtype: str, onnx: ModuleType) -> None:
        taken = {"W1", "b1", "W2", "b2", "Z1", "H1", "logits", "probabilities", "label"}
        by_name = {one.name: one for one in encoder.columns}  # the parts of a date share an input
        clashing = sorted(one for one in by_name if one in taken or not one or one.startswith(_NODES))
        if clashing:
            raise ValueError(f"`encoder` must have no column of the name of a tensor; got {listed(clashing)}")
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
        """Add a node, and return the name of its output."""
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
        """Return the features of a column of numbers or dates."""
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
        """Return the features of a column of categories, side by side."""
        width = len(column.categories)
        if column.kind == TEXTS:
            if {"", None} <= {*column.categories, *column.infrequent}:
                raise ValueError(
                    f"the column {column.name!r:.80} must not have both gaps and empty texts, which are "
                    "one in an ONNX model"
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
        axis = self._constant([1], np.int64)
        others = self._node("Sub", self._constant(1.0), self._node("ReduceSum", features, axis, keepdims=1))
        return self._node("Concat", features, others, axis=1)

    def _date_part(self, moments: str, part: str) -> str:
        """Return a part of dates: the calendar's arithmetic in whole numbers."""

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
        # Eras of 400 years, each of which has 146,097 days and begins on a 1 March.
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
        return whole("Add", year, whole("Div", month, 10))  # January and February are of the next year
