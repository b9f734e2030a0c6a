"""Refused command lines: the exit code, and the reason in one line or as JSON."""

# ruff: noqa: E501  # a command line and its message share one line

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.command_line import answered, clusters, files_in, refused

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")

# Command lines that are refused before data are read, and a part of the message.
USAGE = {
    "trian": "No such command 'trian'",
    "train --hiden 3": "--hidden",
    "train --lr 3": "No such option '--lr'. Did you mean '--learning-rate'? (see twolayer train --help)",
    "train --n_hidden 3": "Did you mean '--hidden'?",
    "train --learning-rate -0.1": "'--learning-rate': must be a number above 0; got '-0.1' (see twolayer train --help)",
    "train --learning-rate nan": "must be a number above 0; got 'nan'",
    "train --learning-rate fast": "must be a number above 0; got 'fast'",
    "train --learning-rate 0.1,0.2": "must be a number above 0; got '0.1,0.2'; `twolayer sweep` takes several (see",
    "train --momentum 0.1,0.2": "must be a number of at least 0 and below 1; got '0.1,0.2' (see",
    "train --reg -1": "'--reg': must be a number of at least 0; got '-1'",
    "train --reg inf": "must be a number of at least 0; got 'inf'",
    "train --batch-size 0": "'--batch-size': must be an integer of at least 1; got '0'",
    "train --hidden 2.5": "'--hidden': must be an integer of at least 1; got '2.5'",
    "train --epochs 0": "'--epochs': must be an integer of at least 1; got '0'",
    "train --seed -1": "'--seed': must be an integer of at least 0; got '-1'",
    "train --weight-scale xavier": "must be 'he', or a number above 0; got 'xavier'",
    "train --scale 0": "must be 'global', 'feature', 'channel', or a number above 0; got '0'",
    "train --dropout 1": "--dropout': must be a number of at least 0 and below 1; got '1'",
    "train --label-smoothing 2": "must be a number of at least 0 and at most 1; got '2'",
    "train --epochs 2 --steps 2": "--epochs or --steps must be given, not both; got both",
    "train --library matlab": "'matlab' is not one of 'numpy', 'cupy', 'torch', 'jax'",
    "train --dtype float16": "'float16' is not one of 'float32', 'float64'",
    "train --optimizer lion": "'lion' is not one of 'nesterov', 'momentum', 'sgd', 'adam', 'adamw'",
    "train --momentum 0.5 --optimizer adam": "`--momentum` must be left out unless --optimizer is nesterov or momentum; got it with adam",
    "train --weight-decay 0.1": "`--weight-decay` must be left out unless --optimizer is adamw; got it with sgd",
    "train --learning-rate-decay 0.9 --schedule cosine": "`--learning-rate-decay` must be left out unless --schedule is exponential; got it with cosine",
    "train --epsilon 0.1": "`--epsilon` must be left out unless --whiten is zca or pca; got it with none",
    "train --scale global --whiten pca": "`--scale` must be left out unless --whiten is none; got it with pca",
    "train --validation 10": "`--validation` must be left out except for .npz files, tables, folders of images, IDX files; got ",
    "train --label y": "`--label` must be left out except for tables; got it with digits",
    "train --grey": "`--grey` must be left out except for folders of images; got it with digits",
    "evaluate run digits --label y": "`--label` must be left out except for tables; got it with digits",
    "train --data mine.npz": "`--data` must be left out except for cifar10; got it with digits",
    "train --url mine.npz": "`--url` must be left out except for cifar10; got it with digits",
    "train cifar10 --validation 50000": "`--validation` must be below 50000; got 50000",
    "train --out=": "'--out': must not be empty",
    "train mnist": "or a folder of images or IDX files; got 'mnist'",
    "sweep mnist": "or a folder of images or IDX files; got 'mnist'",
    "train digit": "got 'digit'; did you mean digits? (see twolayer train --help)",
    "train mine": "got 'mine'; did you mean mine.npz?",
    "train cifar-10-batches-bin": "did you mean cifar10 --data cifar-10-batches-bin?",
    "evaluate run digit": "did you mean digits? (see twolayer evaluate --help)",
    "sweep --learning-rate 0.1,-1": "'--learning-rate': must be a number above 0; got '-1'",
    "sweep --hidden ,": "must hold at least one value; got none",
    "sweep --seeds ,": "must hold at least one value; got none",
    "sweep --seeds 0": "'--seeds': must be an integer of at least 1; got '0'",
    "sweep --seeds 1,x": "must be an integer of at least 0; got 'x'",
    "sweep --seed 1 --seeds 1,2": "--seed must be left out if --seeds lists the seeds; got both",
    "sweep --epochs 2 --steps 2": "--epochs or --steps must be given, not both; got both",
    "sweep --learning-rate 0.1 0.2": "to give a sweep several values, separate them with commas",
    "sweep --learning-rate 0.1 0.2,0.3": "to give a sweep several values, separate them with commas",
    "sweep --preset homework": "`--preset` must be one of cpu, no-augmentation, record, assignment; got 'homework'",
    "sweep digits --preset assignment": "`--preset` assignment must be used with cifar10; got digits",
    "train --resume run --epochs 3 --steps 4": "--epochs or --steps must be given, not both; got both",
    "train --resume run --reg 0.1 --hidden 9": "--resume uses the run's own settings: leave out --reg, --hidden",
    "train --resume run --config x mine.npz": "--resume uses the run's own settings: leave out DATASET, --config",
    "evaluate": "Missing argument 'NETWORK'",
    "evaluate mine.npz digits": "`NETWORK`, which is first, must be a .safetensors file or the folder of a run; got",
    "plot none": "Directory 'none' does not exist",
}  # fmt: skip

# Command lines that are refused for the data, files or folders that they name.
FAILURES = {
    "train none.npz": "No such file or directory: ",
    "train mien.npz": "mien.npz; did you mean mine.npz?",
    "train foreign.npz": "must be an .npz file",
    "train cut.npz": "must be an .npz file",
    "train others.npz": "must hold `X` and `y`; it holds images, labels",
    "train nan.npz": "must be finite; got nan, first in row 3, column 1 (counted from 0)",
    "train cifar10 --data empty": "must hold data_batch_1.bin and the other binary files",
    "train cifar10 --data none": "`--data` must be a folder or an archive that exists",
    "train --whiten pca --components 65": "`n_components` must be at most the number of features, 64; got 65",
    "train --shift 8": "`shift` must be smaller than the image, (height, width) = (8, 8)",
    "train --symmetrize-shift 9007199254740992": "`--symmetrize-shift` must be smaller than the image, (height, width) = (8, 8); got",
    "train mine.npz --flip": "`--flip` must be left out unless samples are images; those of mine are not",
    "train mine.npz --shift 1": "`--shift` must be left out unless samples are images; those of mine are not",
    "train mine.npz --symmetrize": "`--symmetrize` must be left out unless samples are images; those of mine are not",
    "train mine.npz --scale channel": "`--scale channel` must be left out unless samples are images; those of mine are not",
    "train --resume none": "`--resume` must be the folder of a run; none does not exist",
    "train --resume empty": "empty must be the folder of a run; it holds no settings.toml",
    "train --resume old": "it holds no settings.toml; its settings.json is from an older version",
    "train --resume sweep": "`--resume` must be the folder of a training; sweep/settings.toml is not from `train`",
    "evaluate none": "No such file or directory: none",
    "evaluate empty": "must be the folder of a run; it holds no network.safetensors",
    "evaluate cut.safetensors": "must be a safetensors file; it is truncated",
    "evaluate mine.npz": "`NETWORK`, which is first, must be a .safetensors file or the folder of a run; got",
    "evaluate run digits": "the network takes samples of 6 features; those of digits have 64",
    "predict none a.png": "No such file or directory: none",
    "predict run any.png": "the network was not trained on images of a known range",
    "predict run a.svg": "`INPUT` must be a table, an .npz or .npy file, image files or folders of images; got a.svg",
    "predict run none.csv": "No such file or directory: none.csv",
    "predict run new.csv": "got new.csv; the network was not trained on a table",
    "predict run X.npy X.npy": "got several files",
    "predict run X.npy --invert": "`--invert` must be left out except for image files",
    "predict run X.npy --output out.txt": "`--output` must end in .csv or .json or .npz or .parquet; got out.txt",
    "export none": "No such file or directory: none",
}  # fmt: skip


@pytest.fixture
def shelf(elsewhere: Path, run_of_npz: Path) -> set[str]:
    """The names in a folder with a run, data, and invalid files and folders."""
    for name in ("empty", "old", "sweep"):
        Path(name).mkdir()
    Path("old/settings.json").write_text("{}")
    Path("sweep/settings.toml").write_text('command = "sweep"')
    Path("any.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("a.svg", "new.csv"):
        Path(name).touch()
    Path("foreign.npz").write_text("X,y\n1,2\n")
    Path("cut.npz").write_bytes(b"PK\x03\x04 and no more")
    Path("cut.safetensors").write_bytes(b"short")
    X = np.ones((40, 6))
    np.save("X.npy", X)
    np.savez("others.npz", images=X, labels=np.arange(40))
    X[3, 1] = np.nan
    np.savez("nan.npz", X=X, y=np.arange(40) % 2)
    return files_in(elsewhere)


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [(code, *row) for code, table in ((2, USAGE), (1, FAILURES)) for row in table.items()],
)
def test_the_reason_of_a_refusal_is_one_line_and_in_json(
    shelf: set[str], code: int, line: str, message: str
) -> None:
    found = answered(*line.split())
    assert (found.code, set(found.data)) == (code, {"error"})
    assert found.data["error"] == {"message": found.data["error"]["message"], "exit_code": code}
    assert message in found.data["error"]["message"].replace("\\", "/")
    *before, last = found.errors.splitlines()
    assert last == f"Error: {found.data['error']['message']}"
    assert before == [] or code == 1
    assert files_in(".") == shelf


def test_a_refusal_without_a_similar_name_has_no_hint(elsewhere: Path) -> None:
    clusters(elsewhere / "mine.npz")
    line = refused("train", "other.npz")
    assert line == f"Error: No such file or directory: {elsewhere / 'other.npz'}"
    assert "(see app --help)" in refused("--bad", code=2)
    assert "Missing argument" in refused("completion", code=2)
    assert "'csh' is not one of 'bash', 'zsh', 'fish'" in refused("completion", "csh", code=2)


def test_json_after_two_dashes_is_an_argument() -> None:
    assert "got '--json'" in refused("train", "--", "--json", code=2)


@pytest.mark.parametrize("text", [str(2**53 + 1), str(2**63), "1" + "0" * 400, "1" + "0" * 5000], ids=len)
@pytest.mark.parametrize(
    "option", ["--warmup", "--seed", "--decay-every", "--patience", "--symmetrize-shift"]
)
def test_an_integer_above_2_to_the_53_is_wrong_usage(option: str, text: str) -> None:
    line = refused("train", option, text, "--out", "run", code=2)
    assert "must be an integer of at least " in line
    # By default Python converts at most 4,300 digits; the message for a longer number gives no upper bound.
    assert len(text) > 4300 or ", and at most 2**53; got '" in line
    assert len(line) < 300
    assert not Path("run").exists()
