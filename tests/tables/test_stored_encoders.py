"""Table encoders in network files and in ONNX models."""

from __future__ import annotations

import datetime
import json

import numpy as np
import onnx
import onnxruntime
import polars
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import twolayer
from twolayer._onnx_encoding import GAP
from twolayer.preprocessing import Standardizer, TableEncoder

N = 1000
RNG = np.random.default_rng(0)
EPOCH = datetime.date(1970, 1, 1)


def with_gaps(values, share=0.1):
    return [
        None if gap else value for value, gap in zip(values, RNG.random(len(values)) < share, strict=True)
    ]


def table(letters):
    """A table with a column of each kind, all with gaps."""
    days = RNG.integers(-20_000, 40_000, N).tolist()
    seconds = RNG.integers(0, 3 * 10**9, N).tolist()
    return polars.DataFrame(
        {
            "age": with_gaps(RNG.normal(40, 10, N).tolist()),
            "state": with_gaps(RNG.choice(list(letters), N).tolist()),
            "zip": with_gaps(RNG.integers(1000, 1000 + len(letters), N).tolist()),
            "ok": with_gaps([bool(value) for value in RNG.integers(0, 2, N)]),
            "born": with_gaps([EPOCH + datetime.timedelta(days=day) for day in days]),
            "seen": with_gaps(
                [datetime.datetime(1950, 1, 1) + datetime.timedelta(seconds=s) for s in seconds]
            ),
            "took": with_gaps([datetime.timedelta(milliseconds=k) for k in range(N)]),
        }
    )


TRAINING, NEW = table("abcdefgh"), table("abcdefghijkl")


@pytest.fixture(scope="module", params=["seconds", "parts"])
def encoder(request):
    return TableEncoder.fit(TRAINING, categorical=["zip"], max_categories=5, dates=request.param)


@pytest.fixture(scope="module")
def net(encoder):
    """A network with its scaling folded in, so that its inputs are the encoder's own features."""
    scaler = Standardizer.fit(encoder.apply(TRAINING), scale="feature")
    return scaler.fold(twolayer.TwoLayerNet.initialize(encoder.n_outputs, 20, 3, rng=0, dtype="float64"))


def test_an_encoder_is_stored_with_a_network(encoder, net, tmp_path):
    path = tmp_path / "network.safetensors"
    twolayer.save(net, path, encoder=encoder)
    assert twolayer.load_encoder(path) == encoder
    assert twolayer.load_encoder(tmp_path) == encoder
    assert twolayer.storage.load_metadata(path).encoder == encoder
    twolayer.save(net, path)
    assert twolayer.storage.load_metadata(path).encoder is None
    with pytest.raises(
        ValueError, match=r"must hold a network that was trained on a table; it has no encoder"
    ):
        twolayer.load_encoder(path)


def test_an_encoder_that_does_not_fit_is_refused(encoder, net, tmp_path):
    path = tmp_path / "network.safetensors"
    other = TableEncoder(encoder.columns[1:])
    wanted = (
        rf"`encoder` must make the {net.n_features} features that the network takes; got {other.n_outputs}"
    )
    for write in (twolayer.save, twolayer.onnx.export):
        with pytest.raises(ValueError, match=wanted):
            write(net, path, encoder=other)
        with pytest.raises(TypeError, match=r"`encoder` must be a TableEncoder; got dict"):
            write(net, path, encoder={})
    twolayer.save(net, path, encoder=encoder)
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    for text, message in {
        "{": r"`encoder` in the metadata of .* must be JSON",
        other.to_json(): wanted,
        json.dumps(json.loads(encoder.to_json()) | {"version": 2}): r"must be of version 1; got version 2",
    }.items():
        save_file(load_file(path), path, metadata=metadata | {"encoder": text})
        with pytest.raises(ValueError, match=message):
            twolayer.load(path)


def inputs_of(frame):
    """The columns of a table as inputs of the ONNX model."""
    inputs = {}
    for column in frame.iter_columns():
        if column.dtype == polars.String:
            values = [["" if text is None else text] for text in column]
            inputs[column.name] = np.asarray(values, dtype=object)
        elif column.dtype in (polars.Date, polars.Datetime):
            moments = column.cast(polars.Datetime("us")).dt.timestamp("us").to_list()
            inputs[column.name] = np.asarray([[GAP if moment is None else moment] for moment in moments])
        else:
            if column.dtype == polars.Duration:
                column = column.dt.total_milliseconds() / 1000
            inputs[column.name] = column.cast(polars.Float64).to_numpy()[:, None]
    return inputs


def test_an_onnx_model_reads_columns_and_predicts_the_same(encoder, net, tmp_path):
    path = tmp_path / "table.onnx"
    classes = ["x", "y", "z"]
    twolayer.onnx.export(net, path, classes=classes, encoder=encoder)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(path)
    assert [model_input.name for model_input in session.get_inputs()] == TRAINING.columns
    for frame in (TRAINING, NEW):
        probabilities, label = session.run(["probabilities", "label"], inputs_of(frame))
        X = encoder.apply(frame)
        np.testing.assert_allclose(probabilities, net.predict_proba(X), atol=1e-9)
        np.testing.assert_array_equal(label, net.predict(X))
    assert encoder.unseen(NEW)["state"] > 100


def test_export_refuses_options_and_columns_that_conflict(encoder, net, tmp_path):
    path = tmp_path / "table.onnx"
    for more in ({"input_dtype": "float64"}, {"image_shape": (1, net.n_features)}):
        with pytest.raises(ValueError, match=r"must be left out where `encoder` is given"):
            twolayer.onnx.export(net, path, encoder=encoder, **more)
    refused = {
        r"`encoder` must have no column named like a tensor; got b1, logits": ["logits", "b1"],
        r"`encoder` must have no column named like a tensor; got , encoding/0": ["", "encoding/0"],
    }
    small = twolayer.TwoLayerNet.initialize(2, 3, 2, rng=0)
    for message, names in refused.items():
        clashing = TableEncoder.fit(polars.DataFrame({name: [1.0, 2.0 + i] for i, name in enumerate(names)}))
        with pytest.raises(ValueError, match=message):
            twolayer.onnx.export(small, path, encoder=clashing)
    both = TableEncoder.fit(polars.DataFrame({"s": ["", None]}))
    with pytest.raises(
        ValueError, match=r"the column 's' must not have both gaps and empty strings, which are the same"
    ):
        twolayer.onnx.export(small, path, encoder=both)
    assert not path.exists()
