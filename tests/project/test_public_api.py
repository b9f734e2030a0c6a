"""The public API: its names, signatures, fields, docstrings and reference."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import subprocess
import sys
from typing import Any

import pytest
from support import ROOT

import twolayer

# Users see each change here, so it must be in CHANGELOG.md too.
NAMES = {
    "DivergenceWarning",
    "History",
    "Importance",
    "NothingLearntWarning",
    "Progress",
    "Run",
    "SweepPlan",
    "SweepResult",
    "TwoLayerNet",
    "augmentation",
    "calibrate",
    "datasets",
    "load",
    "load_encoder",
    "load_metadata",
    "merge",
    "onnx",
    "optimizers",
    "permutation_importance",
    "plan",
    "preprocessing",
    "save",
    "schedules",
    "search",
    "stack",
    "sweep",
    "symmetrize",
    "train",
    "unroll",
}

CALLS = """
TwoLayerNet(W1, b1, W2, b2)
TwoLayerNet.initialize(n_features, n_hidden, n_classes, *, rng=None, weight_scale='he', xp=numpy,
    dtype='float32', device=None)
TwoLayerNet.logits(X)
TwoLayerNet.predict_proba(X)
TwoLayerNet.predict(X)
TwoLayerNet.accuracy(X, y)
TwoLayerNet.loss(X, y, *, reg=0.0, sample_weight=None, label_smoothing=0.0)
TwoLayerNet.loss_and_gradients(X, y, *, reg=0.0, sample_weight=None, label_smoothing=0.0)
TwoLayerNet.select(k)
TwoLayerNet.to(xp=None, device=None)
TwoLayerNet.astype(dtype)
stack(nets)
merge(nets)
calibrate(net, X, y, *, sample_weight=None)
symmetrize(net, image_shape, *, flip=True, shifts=0, border='reflect')
unroll(filters, b1, W2, b2, *, image_shape, stride=1, padding=0)
train(net, X, y, *, validation=None, sample_weight=None, class_weight=None, preprocessing=None,
    augmentation=None, teacher=None, temperature=1.0, teacher_weight=0.5,
    reg=0.0, dropout=0.0, input_dropout=0.0, label_smoothing=0.0,
    optimizer=SGD(momentum=0.9, nesterov=True), learning_rate=0.01, schedule=Cosine(), batch_size=200,
    epochs=None, steps=None, replacement=False, ema_decay=None, patience=None, monitor='accuracy',
    judge='best', stream=False, rng=None, resume=None, callbacks=())
sweep(X, y, *, validation=None, folds=None, refit='all', grid, candidates=None, n_classes=None,
    dtype='float32', rng=0, max_networks=None, halving=None, sample_weight=None, class_weight=None,
    preprocessing=None, augmentation=None, teacher=None, temperature=1.0, teacher_weight=0.5,
    optimizer=SGD(momentum=0.9, nesterov=True), schedule=Cosine(),
    epochs=None, steps=None, replacement=False, ema_decay=None, patience=None, monitor='accuracy',
    judge=None, stream=False, xp=None, device=None, executor=None, retries=2, resume=None,
    checkpoint_seconds=60.0, callbacks=())
plan(X, y, *, validation=None, folds=None, refit='all', grid, candidates=None, n_classes=None,
    dtype='float32', rng=0, max_networks=None, halving=None, sample_weight=None, class_weight=None,
    preprocessing=None, augmentation=None, teacher=None, temperature=1.0, teacher_weight=0.5,
    optimizer=SGD(momentum=0.9, nesterov=True), schedule=Cosine(),
    epochs=None, steps=None, replacement=False, ema_decay=None, patience=None, monitor='accuracy',
    judge=None, stream=False, xp=None, device=None)
SweepPlan.join(results)
sweeping.Part.run(X, y, *, validation=None, sample_weight=None, callbacks=(), checkpoint=None)
History.select(k)
History.until(step)
schedules.Constant()
schedules.Exponential(factor, every=None, first=None)
schedules.Step(factor=0.1, epochs=10)
schedules.Cosine()
schedules.Warmup(schedule=Cosine(), epochs=None, steps=None)
search.LogUniform(low, high)
search.LogUniform.rvs(size=None, random_state=None)
search.Uniform(low, high)
search.Integers(low, high, *, log=False)
search.Choice(values)
optimizers.SGD(momentum=0.0, nesterov=False)
optimizers.SGD.init(net)
optimizers.SGD.update(net, gradients, state, *, learning_rate)
optimizers.Adam(beta1=0.9, beta2=0.999, eps=1e-08)
optimizers.AdamW(beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.01)
optimizers.OptimizerState(step, moments)
augmentation.FlipAndShift(image_shape, flip=True, shift=2, border='reflect')
augmentation.FlipAndShift.draw(rng, n)
augmentation.FlipAndShift.apply(X, T, draws, *, xp)
augmentation.Mixup(alpha=0.2)
augmentation.Chain(*parts)
preprocessing.Standardizer(mean, scale)
preprocessing.Standardizer.fit(X, *, center=True, scale='global', n_channels=None)
preprocessing.Standardizer.apply(X, *, dtype='float32')
preprocessing.Standardizer.fold(net)
preprocessing.Whitener(mean, matrix)
preprocessing.Whitener.fit(X, *, epsilon=0.1, kind='zca', n_components=None)
preprocessing.Whitener.apply(X, *, dtype='float32')
preprocessing.Whitener.fold(net)
preprocessing.TableEncoder(columns, left_out=<factory>)
preprocessing.TableEncoder.fit(frame, *, categorical=(), max_categories=30, dates='seconds')
preprocessing.TableEncoder.apply(frame)
preprocessing.TableEncoder.unseen(frame)
preprocessing.TableEncoder.get_feature_names_out()
preprocessing.TableEncoder.groups()
preprocessing.TableEncoder.to_json()
preprocessing.TableEncoder.from_json(text)
permutation_importance(net, X, y, *, columns=None, n_repeats=5, rng=0)
datasets.load_digits()
datasets.load_cifar10(folder=None, *, n_train=45000, n_validation=5000, n_test=10000, url=None, progress=None)
datasets.load_npz(path, *, validation=0.15, test=0.15, seed=0)
datasets.load_table(source, *, label=None, drop=(), categorical=(), weight=None, group=None, time=None,
    missing=(), dates='seconds', validation=0.15, test=0.15, seed=0)
datasets.load_images(folder, *, resize=None, grey=False, skip_unreadable=False, validation=0.15, test=0.15,
    seed=0, progress=None)
datasets.read_table(source, *, missing=(), categorical=(), encoder=None)
datasets.load_idx(folder, *, validation=0.15, seed=0)
datasets.Dataset(name, train, validation, test, classes, image_shape, rows=None, encoder=None,
    sample_weight=None, test_ids=None)
datasets.Split(X, y)
save(net, path, *, classes=None, image_shape=None, preprocessing=None, information=None, encoder=None)
load(path, xp=numpy, device=None)
load_encoder(path)
load_metadata(path)
onnx.export(net, path, *, classes=None, image_shape=None, input_dtype=None, encoder=None)
checkpoints.Checkpointer(path, *, seconds=None, steps=None, preprocessing=None,
    clock=<built-in function monotonic>)
callbacks.ProgressBar()
callbacks.ProgressBar.on_end()
checkpoints.save_run(run, path, *, preprocessing=None)
checkpoints.load_run(path, xp=numpy, device=None)
sklearn.TwoLayerClassifier(hidden_layer_size=100, *, solver='adam', learning_rate_init=0.01,
    learning_rate='cosine', reg=0.003, dropout=0.0, label_smoothing=0.0, batch_size='auto', max_iter=60,
    tol=0.0001, n_iter_no_change=20, early_stopping=False, monitor='accuracy', validation_fraction=0.1,
    class_weight=None, warm_start=False, random_state=None)
sklearn.TwoLayerClassifier.fit(X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None)
sklearn.TwoLayerClassifier.partial_fit(X, y, classes=None, sample_weight=None)
sklearn.TwoLayerClassifier.predict(X)
sklearn.TwoLayerClassifier.predict_proba(X)
sklearn.TwoLayerClassifier.predict_log_proba(X)
sklearn.TwoLayerClassifier.decision_function(X)
plotting.plot_loss(history, *, ax=None)
plotting.plot_accuracy(history, *, ax=None)
plotting.plot_heat_map(table, *, x='learning_rate', y='reg', value='validation_accuracy', mark_best=True,
    ax=None)
plotting.plot_parallel_coordinates(table, *, value='validation_accuracy', mark_best=True, ax=None)
plotting.plot_weights(net, image_shape, *, max_units=100, columns=None, ax=None)
plotting.plot_confusion(confusion, classes, *, percentages=False, ax=None)
plotting.plot_mistakes(X, y, probs, classes, image_shape, *, max_images=24, columns=None, ax=None)
plotting.plot_calibration(y, probs, *, n_bins=10, ax=None)
report.grid_ends(table)
report.confusion_matrix(y_true, y_pred, n_classes)
report.calibration_bins(y, probs, n_bins=10)
report.expected_calibration_error(y, probs, n_bins=10)
"""
SIGNATURES = dict(
    re.fullmatch(r"([\w.]+)(.*)", re.sub(r"\s+", " ", call), re.DOTALL).groups()
    for call in re.split(r"\n(?=\S)", CALLS.strip())
)

# Fields and properties.
FIELDS = {
    "History": "loss batch_accuracy step learning_rate train_accuracy validation_loss validation_accuracy",
    "Run": "net best last average history diverged stopped train_accuracy validation_accuracy best_step seed "
    "preprocessing validation_loss teacher_seconds n_steps folded",
    "Progress": "step steps epoch epochs epoch_ended history net run snapshot stop stage stages",
    "SweepResult": "best table runs histories complete folds monitor",
    "sweeping.PartResult": "number epochs run preprocessing complete stopped place",
    "sweeping.Best": "settings net history row candidate preprocessing folded",
    "report.CalibrationBins": "edges n_samples confidence accuracy expected_calibration_error",
    "TwoLayerNet": "W1 b1 W2 b2 n_features n_hidden n_classes n_networks",
}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("augmentation", "FlipAndShift"),
        ("callbacks", "ProgressBar"),
        ("checkpoints", "Checkpointer"),
        ("datasets", "load_digits"),
        ("onnx", "export"),
        ("optimizers", "SGD"),
        ("plotting", "plot_loss"),
        ("preprocessing", "Standardizer"),
        ("report", "confusion_matrix"),
        ("schedules", "Cosine"),
        ("search", "LogUniform"),
        ("sklearn", "TwoLayerClassifier"),
        ("storage", "load_metadata"),
    ],
)
def test_a_module_is_imported_by_its_name_and_reached_from_the_package(module: str, name: str) -> None:
    imported = importlib.import_module(f"twolayer.{module}")
    assert getattr(twolayer, module) is imported
    assert callable(getattr(imported, name))


LATER = ["callbacks", "checkpoints", "plotting", "sklearn"]


@pytest.mark.parametrize("name", LATER)
def test_a_lazy_module_is_imported_on_first_use(name: str) -> None:
    code = (
        f"import sys, twolayer; assert 'twolayer.{name}' not in sys.modules; "
        f"assert twolayer.{name} is sys.modules['twolayer.{name}']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["optimizers", "schedules"])
def test_modules_of_training_are_also_modules_of_the_package(name: str) -> None:
    public = importlib.import_module(f"twolayer.{name}")
    own = importlib.import_module(f"twolayer.training.{name}")
    assert getattr(twolayer, name) is public
    assert getattr(twolayer.training, name) is own
    defined = {key for key, value in vars(own).items() if getattr(value, "__module__", "") == own.__name__}
    assert set(public.__all__) == {
        key for key in defined if key[0] != "_" and inspect.isclass(vars(own)[key])
    }
    for key in public.__all__:
        assert getattr(public, key) is getattr(own, key)


def test_an_unknown_attribute_raises_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'twolayer' has no attribute 'keras'$"):
        _ = twolayer.keras


def test_the_public_names_are_those_listed() -> None:
    assert set(twolayer.__all__) == NAMES
    assert set(dir(twolayer)) >= NAMES


def test_modules_are_listed_before_they_are_imported() -> None:
    code = (
        f"import sys, twolayer; names = dir(twolayer); later = {LATER}; assert {{*later}} <= {{*names}}; "
        "assert not [name for name in later if f'twolayer.{name}' in sys.modules]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_is_that_listed(name: str) -> None:
    signature = inspect.signature(named(name))
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "self"]
    bare = str(signature.replace(parameters=parameters, return_annotation=signature.empty))
    assert re.sub(r"<module '(\w+)' from [^>]*>", r"\1", bare) == SIGNATURES[name]


@pytest.mark.parametrize("name", FIELDS)
def test_the_fields_of_a_class_are_those_listed(name: str) -> None:
    kind = named(name)
    fields = getattr(kind, "_fields", None) or [field.name for field in dataclasses.fields(kind)]
    properties = [key for key, value in vars(kind).items() if isinstance(value, property)]
    assert {field for field in (*fields, *properties) if field[0] != "_"} == set(FIELDS[name].split())


@pytest.mark.parametrize("name", sorted({*NAMES, *SIGNATURES, *FIELDS}))
def test_a_docstring_begins_with_a_sentence(name: str) -> None:
    assert (inspect.getdoc(named(name)) or "").partition("\n")[0].endswith(".")


@pytest.fixture
def api() -> Any:
    """The module docs/api.py, which is not part of a package."""
    spec = importlib.util.spec_from_file_location("api", ROOT / "docs" / "api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_api_reference_lists_the_public_names(api: Any) -> None:
    listed = {name.removeprefix("twolayer.") for name in api.names(page("docs/api.md"))}
    modules = {name for name in NAMES if inspect.ismodule(named(name))}
    assert listed >= {*NAMES, *SIGNATURES, *FIELDS} - modules


def test_the_api_reference_quotes_the_docstrings(api: Any) -> None:
    text = page("docs/api.md")
    assert api.with_sentences(text) == text, "run: python docs/api.py"


def test_the_api_reference_becomes_directives(api: Any) -> None:
    text = api.with_directives("# A\n\n- `twolayer.Run`\n  - `n_steps`\n  - `folded`\n- `twolayer.stack`\n")
    assert re.findall(r"^(?:\.\.| ).*$", text, re.MULTILINE) == [
        ".. autoclass:: twolayer.Run",
        "   :members: n_steps, folded",
        ".. autofunction:: twolayer.stack",
    ]


def test_the_version_is_the_same_everywhere() -> None:
    assert importlib.metadata.version("twolayer") == twolayer.__version__
    assert re.search(r"^version: (.*)$", page("CITATION.cff"), re.MULTILINE)[1] == twolayer.__version__
    assert f"## [{twolayer.__version__}] - 20" in page("CHANGELOG.md")  # and its date


@pytest.mark.parametrize("tool", ["ruff", "zizmor"])
def test_a_tool_has_the_same_version_everywhere(tool: str) -> None:
    pinned = re.search(rf"{tool}==([\d.]+)", page("pyproject.toml"))[1]
    assert f"rev: v{pinned} " in page(".pre-commit-config.yaml")


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def named(name: str) -> Any:
    """Return the object of a name: `train`, `plotting.plot_loss`, `TwoLayerNet.logits`."""
    first, *rest = name.split(".")
    found = getattr(twolayer, first, None) or importlib.import_module(f"twolayer.{first}")
    for part in rest:
        found = getattr(found, part)
    return found
