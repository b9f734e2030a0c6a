"""The first paragraph of the page: how good the network is, beside simple classifiers."""

from __future__ import annotations

import math

from ...report.formatting import count, format_percent, is_finite
from ..comparisons import BASELINES
from ..stored_run import StoredRun
from .content import listed


def in_plain_words(run: StoredRun) -> str:
    """Return how good the network is, without statistical terms; empty without test samples."""
    results, test = run.results, run.results.test
    if test is None or not test.confusion.n_samples:
        return ""
    noun = "row" if results.columns else "sample"
    n_right, n_samples = test.confusion.n_right, test.confusion.n_samples
    accuracy = n_right / n_samples
    sentences = [
        f"The network predicted the right class for {n_right:,} of {count(n_samples, noun)} that it had "
        f"never seen: {format_percent(accuracy)}."
    ]
    constant = BASELINES["commonest class"]
    others = {**BASELINES, "logistic regression": "logistic regression, a simpler method,"}
    known = {others.get(name, name): it for name, it in results.baselines.items() if is_finite(it)}
    if known:
        words = listed(
            [f"{name} is right for {format_percent(baseline)}" for name, baseline in known.items()]
        )
        sentences.append(f"On the same {noun}s, {words}.")
        # Two equally good classifiers differ by more than this in at most one case of twenty. As in Agresti's
        # and Coull's interval, two more right and two wrong: otherwise, no chance would be left at 100 %.
        smoothed = (n_right + 2) / (n_samples + 4)
        chance = min(1.96 * math.sqrt(2 * smoothed * (1 - smoothed) / n_samples), 1.0)
        if accuracy <= known.get(constant, -1.0):
            how = "worse" if accuracy - known.pop(constant) < -chance else "not better"
            sentences.insert(0, f"By accuracy, the network is {how} than {constant}.")
            sentences.extend(_effect_of_weights(run))
        best = max(known, key=lambda name: known[name], default=constant)
        gain = accuracy - known.get(best, -1.0)
        if gain < -chance:
            sentences.append(f"The network is worse than {best.partition(',')[0]}.")
        elif gain <= chance:
            how = "not clearly better" if gain > 0 else "not better"
            sentences.append(
                f"A difference of up to {100 * chance:.1f} percentage points may be chance on "
                f"{count(n_samples, noun)}: the network is {how} than {best.partition(',')[0]}."
            )
    loss, constant_loss = test.loss, results.baseline_losses.get("class shares")
    if is_finite(loss) and is_finite(constant_loss):
        # As in the warning that nothing was learnt, a gain of less than 5 % may be chance.
        how = "better" if loss < 0.95 * constant_loss else "not clearly better"
        how = how if loss < constant_loss else "not better"
        sentences.append(
            f"By the test loss, the network's probabilities are {how} than always "
            f"predicting the class shares of the training {noun}s: {loss:.3f} against "
            f"{constant_loss:.3f}. A lower loss is better."
        )
    first = results.columns[0] if results.columns else {"lost": None}
    if is_finite(first["lost"]) and first["lost"] > 0:
        sentences.append(
            f"The most important column is {first['column']}: with its values shuffled among the rows, the "
            f"network is right for {format_percent(accuracy - first['lost'])}."
        )
    return " ".join(sentences)


def _effect_of_weights(run: StoredRun) -> list[str]:
    """Return a sentence if weights in the training may have lowered the accuracy; else nothing."""
    if run.setting("class_weight") == "balanced":
        return [
            "It was trained with balanced class weights, which usually lower the accuracy and raise the "
            "recall of rare classes: compare the recall of each class."
        ]
    if run.setting("weight") is not None:
        return ["It was trained on weighted rows, but rows of the test all count the same here."]
    return []
