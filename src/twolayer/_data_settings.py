"""Settings of data sets: the first rows of the table in `settings`."""

from __future__ import annotations

from functools import partial

from ._numbers import AMOUNT, COUNT, COUNT_OR_ZERO
from ._setting import REQUIRED, Setting

_CIFAR10, _TABLE = ("cifar10",), ("table",)
_of_table = partial(Setting, data=_TABLE)
_column = partial(_of_table, kind=str, default=None)
_columns = partial(_of_table, kind=list, default=None)
_of_images = partial(Setting, data=("images",))

OF_DATA_SETS = (
    Setting("dataset", str, REQUIRED),
    Setting("preset", str, None),
    Setting("data", str, None, data=_CIFAR10),
    Setting("url", str, None, data=_CIFAR10),
    Setting("n_train", COUNT_OR_ZERO, REQUIRED, label="training samples", data=_CIFAR10),
    Setting("n_validation", COUNT_OR_ZERO, REQUIRED, label="validation samples", data=_CIFAR10),
    Setting("n_test", COUNT_OR_ZERO, REQUIRED, label="test samples", data=_CIFAR10),
    _column("label", help="Column to predict; else label, target, class or y.", label="predicted column"),
    _columns("drop", help="Columns to ignore.", label="columns not used"),
    _columns("categorical", help="Columns whose numbers are categories.", label="columns of categories"),
    _columns(
        "missing",
        help="Texts that mark missing values: --missing=-999,unknown; with a comma: --missing='\"1,5\"'.",
        label="texts of gaps",
    ),
    _column("weight", help="Column with a weight for each row.", label="column of weights"),
    _of_table("dates", ("seconds", "parts"), "seconds", "Encode dates as seconds, or as year, … hour."),
    _column("group", help="Column of groups; rows of a group stay in one split.", label="split by groups of"),
    _column("time", help="Column of times; the latest rows are test samples.", label="split by time of"),
    _of_images("resize", COUNT, None, "Crop and scale images to N pixels in height and width."),
    _of_images("grey", bool, False, "Convert images to grey, or keep their colours."),
    _of_images("skip_unreadable", bool, False, "Skip images that cannot be used, or stop with an error."),
    Setting(
        "validation",
        AMOUNT,
        0.15,
        "Share or number of the samples to set aside for validation.",
        data=("npz", "table", "images", "idx"),
    ),
    Setting(
        "test",
        AMOUNT,
        0.15,
        "Share or number of the samples to set aside for the test.",
        data=("npz", "table", "images"),
    ),
)
