"""Results as data and as text: files, rows of tables, summaries of predictions, numbers in few digits.

Everything here works on host values: Python's own, and NumPy arrays.
"""

from __future__ import annotations

from ..settings import label
from .certainty import certainty_in_words, grid_end_in_words, grid_ends
from .files import format_json, read_json, write_csv, write_json
from .formatting import format_accuracy, format_number, format_numbers, is_finite
from .metrics import (
    CalibrationBins,
    calibration_bins,
    checked_predictions,
    classification_summary,
    confusion_counts,
    confusion_matrix,
    expected_calibration_error,
    most_wrong,
    wilson_interval,
)
from .tables import (
    Row,
    format_difference,
    has_diverged,
    history_rows,
    one_network,
    ranked,
    shown_settings,
    step_rows,
    steps_of_divergence,
    sweep_table_rows,
    varying,
    winner,
)

__all__ = [
    "CalibrationBins",
    "Row",
    "calibration_bins",
    "certainty_in_words",
    "checked_predictions",
    "classification_summary",
    "confusion_counts",
    "confusion_matrix",
    "expected_calibration_error",
    "format_accuracy",
    "format_difference",
    "format_json",
    "format_number",
    "format_numbers",
    "grid_end_in_words",
    "grid_ends",
    "has_diverged",
    "history_rows",
    "is_finite",
    "label",
    "most_wrong",
    "one_network",
    "ranked",
    "read_json",
    "shown_settings",
    "step_rows",
    "steps_of_divergence",
    "sweep_table_rows",
    "varying",
    "wilson_interval",
    "winner",
    "write_csv",
    "write_json",
]
