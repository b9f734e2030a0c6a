"""Tables on the command line: training, predictions, evaluation, the page, and export."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.command_line import answered, done, refused, settings_in
from support.own_tables import COLUMNS, STATES, people, write

import twolayer
from twolayer.cli.commands import app
from twolayer.cli.page.settings import command_line

polars = pytest.importorskip("polars", reason="tables need the extra `tables`")

QUICK = ("--label", "outcome", "--epochs", 10, "--hidden", 8)
ROWS = people(400)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table and a run that was trained on it."""
    folder = tmp_path_factory.mktemp("people")
    write(folder / "people.csv", ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twolayer.cli.figure_files.draw", lambda *_, **__: [])
        done("train", folder / "people.csv", *QUICK, "--out", folder / "run", "-q")
    return folder


@pytest.fixture
def run(trained: Path) -> Path:
    shutil.copy(trained / "people.csv", "people.csv")
    return Path(shutil.copytree(trained / "run", "run"))


def predicted(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file)]


# Training


def test_train_reads_the_labels_from_a_named_column(run: Path) -> None:
    metadata = twolayer.storage.load_metadata(run)
    assert metadata.classes == ("no", "yes")
    assert metadata.encoder is not None
    assert [column.name for column in metadata.encoder.columns] == [
        *("age", "income", "state", "since", "member")
    ]
    assert settings_in(run)["label"] == "outcome"
    assert settings_in(run)["dataset"].endswith("people.csv")
    results = json.loads((run / "results.json").read_text())
    assert results["test"]["accuracy"] > results["baselines"]["commonest class"] + 0.1
    assert results["columns"][0]["column"] == "age"


def test_rows_and_columns_left_out_and_importances_are_reported() -> None:
    rows = people(200)
    for row in rows[:7]:
        row["outcome"] = ""
    output = done("train", write("people.csv", rows), *QUICK)
    assert "Warning: 7 of 200 rows have no outcome, and are left out" in output
    assert "Warning: columns left out: customer (different in most rows)" in output
    assert "Test accuracy of simple classifiers: always predicting the commonest class 0." in output
    assert "(± SD; a value below zero is chance), the largest losses: age 0." in output
    assert "people-train-001" in output


def test_numbers_with_separators_and_unused_texts_of_gaps_are_reported() -> None:
    """As on the command line, --missing=1,177.09 is two texts."""
    rows = [{**row, "age": "1,177.09" if i == 9 else row["age"]} for i, row in enumerate(people(200))]
    output = done("train", write("people.csv", rows), *QUICK, "--missing=-9,177.09", "--out", "run")
    assert "people.csv contains '-9', '177.09', which are in `missing`" in output
    assert "without thousands separators and units" in output
    done("train", "people.csv", *QUICK, "--missing", '"1,177.09"', "--out", "other")
    assert "age" in twolayer.load_encoder("other").get_feature_names_out()


def test_by_default_a_column_with_a_usual_name_has_the_labels() -> None:
    rows = [{**row, "target": row["outcome"]} for row in people(100)]
    table = write("people.csv", rows, ("age", "state", "target"))
    done("train", table, *QUICK[2:], "--out", "run", "-q")
    assert "it has the columns customer, age" in refused("train", write("other.csv", rows))
    assert "must have the columns nothing; it has" in refused("train", "other.csv", "--label", "nothing")


def test_columns_are_named_by_options_and_in_the_settings_file() -> None:
    rows = [{**row, "zip, code": i % 5, "w": 1 + i % 3} for i, row in enumerate(people(200))]
    write("people.csv", rows, [*COLUMNS, "zip, code", "w"])
    options = ("--categorical", '"zip, code"', "--drop", "customer,since", "--drop", "income")
    more = ("--weight", "w", "--missing", "false", "--validation", 30, "--test", 0.25)
    done("train", "people.csv", *QUICK, *options, *more, "--out", "run", "-q")
    encoder = twolayer.load_encoder("run")
    assert "zip, code_4" in encoder.get_feature_names_out()
    settings = settings_in("run")
    assert settings["drop"] == ["customer", "since", "income"]
    assert (settings["weight"], settings["validation"], settings["test"]) == ("w", 30, 0.25)
    samples = json.loads(Path("run/results.json").read_text())["samples"]
    assert samples == {"train": 120, "validation": 30, "test": 50}
    done("train", "--config", "run/settings.toml", "--out", "again", "-q")
    words = shlex.split(str(command_line(settings)))
    assert words[words.index("--categorical") + 1] == '"zip, code"'
    assert words[words.index("--drop") + 1] == "customer,since,income"
    first, second = (twolayer.load(folder) for folder in ("run", "again"))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("n_networks", [1, 2])
def test_validation_uses_sample_weights(n_networks: int) -> None:
    rows = [{**row, "w": 0.001 if row["outcome"] == "no" else 1} for row in people(200)]
    write("people.csv", rows, [*COLUMNS, "w"])
    done(
        "train",
        "people.csv",
        *QUICK,
        "--weight",
        "w",
        "--drop",
        "customer",
        "--networks",
        n_networks,
        "--out",
        "run",
        "-q",
    )
    data = twolayer.datasets.load_table("people.csv", label="outcome", weight="w", drop=["customer"])
    assert data.validation is not None
    assert data.sample_weight is not None
    right = twolayer.load("run").predict(data.validation.X.astype("float32")) == data.validation.y
    expected = np.average(right, weights=data.sample_weight["validation"])
    found = json.loads(Path("run/results.json").read_text())["validation_accuracy"]
    assert found == pytest.approx(expected, abs=1e-6)


def test_training_uses_sample_weights() -> None:
    rows = [{**row, "w": 0.02 if row["outcome"] == "no" else 1} for row in people(200)]
    write("people.csv", rows, [*COLUMNS, "w"])
    done("train", "people.csv", *QUICK, "--weight", "w", "--out", "weighted", "-q")
    done("train", "people.csv", *QUICK, "--drop", "w", "--out", "equal", "-q")
    weighted, equal = (twolayer.load(name) for name in ("weighted", "equal"))
    assert not np.array_equal(weighted.W2, equal.W2)
    encoder, test = twolayer.load_encoder("weighted"), twolayer.datasets.read_table("people.csv")
    X = encoder.apply(test).astype("float32")
    assert (weighted.predict(X) == 1).mean() > (equal.predict(X) == 1).mean() + 0.1


@pytest.mark.parametrize(("option", "column"), [("--group", "member"), ("--time", "since")])
def test_rows_are_split_by_groups_and_by_time(option: str, column: str) -> None:
    rows = [{**row, "member": f"M{i // 10}"} for i, row in enumerate(people(300))]
    write("people.csv", rows)
    done("train", "people.csv", *QUICK, option, column, "--out", "run", "-q")
    done("report", "run")
    page = Path("run/report.html").read_text(encoding="utf-8")
    words = {
        "--group": "Rows with the same member are in the same split",
        "--time": "The latest rows by since",
    }
    assert words[option] in page


def test_standard_input_gzip_and_parquet_give_the_same_results() -> None:
    content = write("people.csv", ROWS).read_bytes()
    Path("packed.csv.gz").write_bytes(gzip.compress(content, mtime=0))
    polars.read_csv("people.csv", try_parse_dates=True, null_values=["", "NA"]).write_parquet("p.parquet")
    found = []
    for name, source in (("a", "-"), ("b", "packed.csv.gz"), ("c", "p.parquet")):
        arguments = ["train", source, *map(str, QUICK), "--out", name, "-q"]
        result = CliRunner().invoke(app, arguments, input=content, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        found.append(json.loads(Path(name, "results.json").read_text())["test"]["accuracy"])
    assert len(set(found)) == 1


def test_a_run_is_repeated_with_other_options_of_its_table() -> None:
    write("people.csv", ROWS)
    done("train", "people.csv", *QUICK, "--out", "run", "-q")
    done("train", "--config", "run/settings.toml", "--drop", "age", "--test", 0.3, "--out", "other", "-q")
    assert "age" not in twolayer.load_encoder("other").get_feature_names_out()


def test_names_with_unprintable_characters_are_refused() -> None:
    write("people.csv", ROWS)
    line = refused("train", "people.csv", "--label", "out\ncome", code=2)
    assert "--label must hold printable characters only" in line


def test_ctrl_c_during_importances_keeps_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def shuffled(*arguments: object, **more: object) -> object:
        calls.append(more)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return twolayer.permutation_importance(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("twolayer.cli.comparisons.permutation_importance", shuffled)
    write("people.csv", ROWS)
    output = done("train", "people.csv", *QUICK, "--out", "run")
    assert "Warning: interrupted: the importance of some columns was not computed" in output
    columns = json.loads(Path("run/results.json").read_text())["columns"]
    assert [row["lost"] is None for row in columns] == [False, True, True, True, True]
    done("report", "run")


def test_a_resumed_training_on_a_table_keeps_its_encoder() -> None:
    write("people.csv", ROWS)
    done("train", "people.csv", *QUICK, "--out", "whole", "-q")
    done("train", "people.csv", *QUICK[:2], "--epochs", 4, "--hidden", 8, "--out", "parts", "-q")
    done("train", "--resume", "parts", "--epochs", 10, "-q")
    encoders = [twolayer.load_encoder(folder) for folder in ("whole", "parts")]
    assert encoders[0] == encoders[1]


def test_dates_are_encoded_as_parts() -> None:
    write("people.csv", ROWS)
    done("train", "people.csv", *QUICK, "--dates", "parts", "--out", "run", "-q")
    names = twolayer.load_encoder("run").get_feature_names_out()
    assert {"since_year", "since_month", "since_weekday"} <= {*names}
    assert settings_in("run")["dates"] == "parts"


def test_a_sweep_reads_a_table() -> None:
    write("people.csv", ROWS)
    options = ("--reg", "1e-3,1e-2", "--dropout", 0, "--seeds", 2)
    output = done("sweep", "people.csv", *QUICK, *options, "--out", "run")
    assert "Accuracy lost when a column is shuffled" in output
    data = json.loads(Path("run/results.json").read_text())
    assert len(data["runs"]) == 4
    assert twolayer.load_encoder("run").n_outputs == data["n_features"]


# Predictions


def test_columns_are_found_by_their_names(run: Path) -> None:
    new = [{**row, "note": "hello"} for row in people(60, seed=1, states=("Jura", "Wallis", "Uri"))]
    write("new.csv", new, ("since", "note", "state", "member", "income", "age", "customer"))
    output = done("predict", run, "new.csv", "--id-columns", "customer", "--output", "p.csv")
    assert "Columns that the network does not use: note" in output
    n_unseen = sum(row["state"] == "Wallis" for row in new)
    assert f"values of categories that are not in the training data, by column: state ({n_unseen})" in output
    found = predicted("p.csv")
    assert [*found[0]] == ["sample", "customer", "class", "probability", "no", "yes"]
    assert [row["customer"] for row in found] == [row["customer"] for row in new]
    encoder, net = twolayer.load_encoder(run), twolayer.load(run)
    frame = twolayer.datasets.read_table("new.csv", encoder=encoder)
    probs = net.predict_proba(encoder.apply(frame).astype("float32"))
    assert np.allclose([float(row["yes"]) for row in found], probs[:, 1], atol=1e-6)
    write("ordered.csv", new)
    done("predict", run, "ordered.csv", "--output", "q.csv", "-q")
    assert [row["yes"] for row in predicted("q.csv")] == [row["yes"] for row in found]


def test_ids_are_written_unchanged(run: Path) -> None:
    ids = [
        "000299",
        "12345678901234567890",
        "12345678901234567891",
        "1e5",
        "NA",
        "1.10",
        "true",
        "=1+1",
        "a,b",
    ]
    write("new.csv", [{**row, "customer": one} for row, one in zip(people(9, seed=5), ids, strict=True)])
    done("predict", run, "new.csv", "--id-columns", "customer", "--output", "p.csv", "-q")
    assert [row["customer"] for row in predicted("p.csv")] == ids


def test_ids_of_the_test_rows_stay_strings() -> None:
    write("people.csv", [{**row, "customer": f"{i:07d}"} for i, row in enumerate(ROWS)])
    with pytest.warns(UserWarning, match=r"columns left out: customer"):
        data = twolayer.datasets.load_table("people.csv", label="outcome")
    assert data.rows is not None
    assert data.test_ids is not None
    assert data.test_ids["customer"].tolist() == [f"{i:07d}" for i in data.rows["test"]]


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".npz"])
def test_predictions_are_written_in_other_formats(run: Path, suffix: str) -> None:
    path = f"p[1]{suffix}"  # a name, not a pattern
    done("predict", run, "people.csv", "--id-columns", "customer,age", "--output", path, "-q")
    if suffix == ".parquet":
        frame = polars.read_parquet(path, glob=False)
        assert frame.columns == ["sample", "customer", "age", "class", "probability", "no", "yes"]
        assert frame["age"].null_count() == sum(row["age"] == "" for row in ROWS)
    elif suffix == ".json":
        ids = [row["ids"] for row in json.loads(Path(path).read_text())["predictions"]]
        assert [row["customer"] for row in ids] == [row["customer"] for row in ROWS]
        assert [row["age"] for row in ids] == [float(row["age"]) if row["age"] else None for row in ROWS]
    else:
        with np.load(path) as stored:
            assert stored["probabilities"].shape == (400, 2)
            assert stored["ids"][:, 0].tolist() == [row["customer"] for row in ROWS]
    done("predict", run, "people.csv", "--output", path, "-q")  # predict replaces a file that it wrote
    if suffix == ".parquet":
        frame[["age"]].write_parquet(path)
        assert "--overwrite replaces it" in refused("predict", run, "people.csv", "--output", path)


def test_tables_of_one_row_or_of_missing_values_are_predicted(run: Path) -> None:
    empty = dict.fromkeys(COLUMNS, "")
    for rows in ([people(1, seed=3)[0]], [empty], [empty | {"age": "NA", "since": "2021-05-01"}]):
        write("new.csv", rows, COLUMNS[:-1])
        assert done("predict", run, "new.csv").count("0.") >= 1


def without(column: str) -> list[str]:
    """The names of all columns but one."""
    return [name for name in COLUMNS if name != column]


def test_columns_and_files_that_do_not_fit_are_refused(run: Path) -> None:
    write("new.csv", ROWS, without("state"))
    assert "must have the columns state; it has customer, age" in refused("predict", run, "new.csv")
    write("new.csv", [{**row, "age": "old"} for row in ROWS])
    line = refused("predict", run, "new.csv")
    assert "the column 'age' must hold numbers" in line
    assert line.endswith("400 of its 400 values are not numbers, first 'old' in row 0 (counted from 0)")
    line = refused("predict", run, "people.csv", "--id-columns", "nothing")
    assert "people.csv` must have the columns nothing" in line
    assert "`--resize` must be left out except for image files" in refused(
        "predict", run, "people.csv", "--resize"
    )
    line = refused("predict", run, "people.csv", "people.csv")
    assert "must be one table, one .npz or .npy file, or image files only" in line


# Evaluation


def test_the_test_rows_of_the_training_table_are_evaluated(run: Path) -> None:
    _, data, _ = answered("evaluate", run, "people.csv")
    results = json.loads((run / "results.json").read_text())
    assert (data["split"], data["n_samples"]) == ("test", results["samples"]["test"])
    assert data["accuracy"] == results["test"]["accuracy"]


def test_all_rows_of_another_table_are_evaluated(run: Path) -> None:
    new = people(100, seed=2)
    write("new.csv", new, reversed(COLUMNS))
    _, data, _ = answered("evaluate", run, "new.csv")
    assert (data["split"], data["n_samples"]) == ("all", 100)
    done("predict", run, "new.csv", "--output", "p.csv", "-q")
    right = [row["class"] == true["outcome"] for row, true in zip(predicted("p.csv"), new, strict=True)]
    assert data["accuracy"] == pytest.approx(np.mean(right))
    assert "`--split` must be all, because new.csv is not known to be the training data" in refused(
        "evaluate", run, "new.csv", "--split", "test"
    )
    write("new.csv", [{**row, "outcome": "perhaps"} for row in new])
    line = refused("evaluate", run, "new.csv")
    assert "must hold labels of the network's classes, no, yes; got a label of perhaps" in line
    write("new.csv", [{**row, "result": row["outcome"]} for row in new], [*without("outcome"), "result"])
    line = refused("evaluate", run, "new.csv")
    assert "must have the columns outcome; it has" in line
    assert line.endswith("; `twolayer predict` needs no labels")
    _, data, _ = answered("evaluate", run, "new.csv", "--label", "result")
    assert data["accuracy"] == pytest.approx(np.mean(right))


@pytest.mark.parametrize(("no", "maybe", "yes"), [("false", "maybe", "true"), ("FALSE", "MAYBE", "TRUE")])
def test_a_table_with_some_of_the_classes_is_evaluated(no: str, maybe: str, yes: str) -> None:
    """Without `maybe`, the labels look like booleans."""
    kinds = {"yes": yes, "no": no}
    rows = [{**row, "outcome": maybe if i % 9 == 0 else kinds[row["outcome"]]} for i, row in enumerate(ROWS)]
    done("train", write("people.csv", rows), *QUICK, "--out", "run", "-q")
    some = [row for row in rows if row["outcome"] != maybe]
    _, data, _ = answered("evaluate", "run", write("new.csv", some))
    assert data["n_samples"] == len(some)
    assert data["classes"] == [no, maybe, yes]


def test_evaluate_has_no_options_of_the_split() -> None:
    assert "No such option" in refused("evaluate", "run", "people.csv", "--test", 0.5, code=2)


# The page


def test_the_page_describes_a_table(run: Path) -> None:
    done("report", run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'class="plain">The network predicted the right class for ' in page
    assert "always predicting the commonest class is right for " in page
    assert "; in a CSV file with one line for each row, row N is line N + 2." in page
    assert "<dt>Area under the ROC curve</dt>" in page
    assert "without the penalty; always predicting the class shares has 0." in page
    assert "; logistic regression has 0." in page
    assert (
        "Columns that are left out, as they cannot help: <bdi>customer</bdi> (different in most rows)."
        in page
    )
    assert "Weights of the first layer" not in page
    assert "split at random, with each class in proportion" in page
    wrong = page.partition("The test samples most wrong")[2].partition("</table>")[0]
    assert '<th scope="col"><bdi>customer</bdi></th>' in wrong
    assert "<td><bdi>C00" in wrong


def test_the_page_states_that_a_network_is_not_clearly_better() -> None:
    rows = [{**row, "outcome": "yes" if i % 3 else "no"} for i, row in enumerate(people(200, seed=7))]
    done("train", write("people.csv", rows), *QUICK, "--out", "run", "-q")
    done("report", "run")
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert re.search("the network is not (clearly )?better than ", page)


def test_the_page_names_standard_input() -> None:
    content = write("people.csv", ROWS).read_bytes()
    arguments = ["train", "-", *map(str, QUICK), "--out", "run", "-q"]
    assert CliRunner().invoke(app, arguments, input=content, catch_exceptions=False).exit_code == 0
    done("report", "run")
    assert "Training on <bdi>standard input</bdi>" in Path("run/report.html").read_text(encoding="utf-8")


def test_importances_that_would_take_long_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Both computations now count as too long.
    monkeypatch.setattr("twolayer.cli.comparisons._MOST_OPERATIONS", 1.0)
    monkeypatch.setattr("twolayer.report.baselines._MOST_OPERATIONS", 1.0)
    done("train", write("people.csv", ROWS), *QUICK, "--out", "run", "-q")
    done("report", "run")
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "The importance of columns was not computed: it would take long, or was interrupted." in page
    assert "logistic regression" not in page


# Export


def test_the_exported_model_has_an_input_for_each_column(run: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the exported model is run by onnxruntime")
    output = done("export", run)
    assert "Input: the columns of the table, (N, 1) each: age (float64), income (float64), " in output
    assert "since (int64, microseconds since 1970)" in output
    model = onnxruntime.InferenceSession(str(run / "network.onnx"))
    new = people(1000, seed=4, states=("Jura", "Wallis", "Uri"))
    write("new.csv", new)
    done("predict", run, "new.csv", "--output", "p.csv", "-q")
    feeds = {
        "age": np.array([[float(row["age"] or "nan")] for row in new]),
        "income": np.array([[float(row["income"].replace("NA", "nan"))] for row in new]),
        "state": np.array([[row["state"]] for row in new], dtype=object),
        "since": np.array([[row["since"]] for row in new], "M8[us]").astype(np.int64),
        "member": np.array([[float(row["member"] == "true")] for row in new]),
    }
    assert [one.name for one in model.get_inputs()] == [*feeds]
    (probs,) = model.run(["probabilities"], feeds)
    assert np.allclose(probs[:, 1], [float(row["yes"]) for row in predicted("p.csv")], atol=1e-5)
    done("export", run, "--flat")
    (one,) = onnxruntime.InferenceSession(str(run / "network.onnx")).get_inputs()
    assert one.shape[1] == twolayer.load_encoder(run).n_outputs
    assert "must be left out where `encoder` is given" in refused("export", run, "--input", "float32")


def test_each_state_is_a_category() -> None:
    data = twolayer.datasets.load_table(write("people.csv", ROWS), label="outcome", drop=["customer"])
    assert data.encoder is not None
    assert [name for name in data.encoder.get_feature_names_out() if name.startswith("state_")] == [
        *(f"state_{state}" for state in STATES),
        "state_None",
    ]
