"""Tasks of a fit. scikit-learn calls an estimator's callbacks at their beginning and end."""

from __future__ import annotations

from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn 1.7 and 1.8 have no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replacement for the mixin without callbacks."""

    def with_callbacks(method: Any) -> Any:
        """Return the method unchanged."""
        return method


__all__ = ["CallbackSupportMixin", "NoContext", "Task", "begin_fit", "with_callbacks"]


class NoContext:
    """Replacement for `sklearn.callback.CallbackContext` in a task without callbacks."""

    def subcontext(self, **_: Any) -> NoContext:
        """Return the context of a part of the task."""
        return self

    def call_on_fit_task_begin(self, **_: Any) -> NoContext:
        """Return this context."""
        return self

    def call_on_fit_task_end(self, **_: Any) -> bool:
        """Return False, because no callback requests to stop."""
        return False


class Task:
    """A task of a fit, which begins when it is created.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext or NoContext
        The context of the task.
    **given
        The arguments ``estimator``, ``X``, ``y`` and ``metadata`` for callbacks.
    """

    def __init__(self, context: Any, **given: Any) -> None:
        self.context, self._given = context.call_on_fit_task_begin(**given), given

    def part(self, name: str, **options: Any) -> Task:
        """Begin a part of the task."""
        return Task(self.context.subcontext(task_name=name, **options), **self._given)

    def end(self, attributes: Any = None) -> bool:
        """End the task, and return whether a callback requests to stop the enclosing task.

        ``attributes`` is a dict of the attributes that the estimator would have if its fit ended now, or a
        function that returns this dict.
        """
        return bool(self.context.call_on_fit_task_end(**self._given, reconstruction_attributes=attributes))


def begin_fit(model: Any, X: Any, y: Any, sample_weight: Any, n_epochs: int) -> Task:
    """Begin the task of fitting an estimator for ``n_epochs`` epochs."""
    context = NoContext()
    if hasattr(model, "_init_callback_context"):
        # Create the context even without callbacks, because a search adds it to its own tree of tasks.
        begun = model._init_callback_context(max_subtasks=n_epochs)
        context = begun if hasattr(model, "_skl_callbacks") else context
    metadata = None if sample_weight is None else {"sample_weight": sample_weight}
    return Task(context, estimator=model, X=X, y=y, metadata=metadata)
