"""Interface to the array libraries: namespaces, devices, dtypes, copies, and `leaf` functions.

Only this module imports array_api_compat. It imports no array library except NumPy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from types import ModuleType
from typing import Any, ParamSpec, TypeAlias, TypeVar

import array_api_compat
import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace as array_namespace
from array_api_compat import is_array_api_obj as is_array_api_obj
from array_api_compat import is_cupy_array, is_jax_array, is_torch_array
from array_api_compat import is_cupy_namespace as is_cupy_namespace
from array_api_compat import is_jax_namespace as is_jax_namespace
from array_api_compat import is_numpy_namespace as is_numpy_namespace
from array_api_compat import is_torch_namespace as is_torch_namespace
from array_api_compat import to_device as to_device

from ._texts import bounded, first_line

Array: TypeAlias = Any  # an array of any library that follows the array API standard
HostArray: TypeAlias = npt.NDArray[Any]
P = ParamSpec("P")
Result = TypeVar("Result")

_WIDER_THAN_FLOAT32 = ("int32", "uint32", "int64", "uint64", "float64", "longdouble", "float128")


class FastNamespace(ModuleType):
    """A library's namespace that may run functions marked as `leaf` in a faster form."""

    def __init__(self, own: ModuleType) -> None:
        super().__init__(own.__name__)
        vars(self).update({name: value for name, value in vars(own).items() if name not in vars(self)})
        self.class_numbers: dict[Any, Array] = {}

    def run(self, function: Callable[..., Any], arrays: tuple[Array | None, ...], fixed: Any) -> Any:
        """Return the result of ``function(*arrays, xp=…, **fixed)``, up to rounding."""
        raise NotImplementedError


def undisturbed(function: Callable[P, Result]) -> Callable[P, Result]:
    """Run a public function without NumPy's floating-point errors, whatever its caller has set.

    Other libraries do not have these errors, and an exponential that underflows is harmless. An overflow
    results in inf or nan, with NumPy's warning unless the caller ignores it.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        overflow: Any = "ignore" if np.geterr()["over"] == "ignore" else "warn"
        with np.errstate(all="ignore", over=overflow):
            return function(*args, **kwargs)

    return call


def leaf(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that has a fast form on some library (see `FastNamespace`).

    Except for `mathematics.product`, these functions compute element by element on arrays that broadcast
    together, and may end with a sum. Positional arguments are arrays, numbers or None. `mathematics.relu`,
    `through_relu` and the functions of training may write to them, so callers must not use them afterwards.
    Keyword arguments must be hashable, because CuPy keeps one kernel for each set of them.
    """

    @wraps(function)
    def call(*arrays: Array | None, xp: ModuleType, **fixed: Any) -> Any:
        if isinstance(xp, FastNamespace):
            return xp.run(function, arrays, fixed)
        return function(*arrays, xp=xp, **fixed)

    return call


def class_numbers(n_classes: int, y: Array, *, xp: ModuleType) -> Array:
    """Return 0, ..., C - 1 (1, C, 1) in the labels' dtype on their device; cached, so do not write to it."""
    cache = xp.class_numbers if isinstance(xp, FastNamespace) else {}
    key = n_classes, y.dtype, str(device(y))
    if key not in cache:
        cache[key] = xp.arange(n_classes, dtype=y.dtype, device=device(y))[None, :, None]
    return cache[key]


def standard_namespace(xp: ModuleType) -> ModuleType:
    """Return the array-API namespace for ``xp``, which is a library such as ``torch`` or a namespace.

    Raises
    ------
    TypeError
        If ``xp`` is not an array library.
    """
    name = getattr(xp, "__name__", "")
    if name in ("numpy", "cupy", "torch"):
        xp = __import__(f"{array_api_compat.__name__}.{name}", fromlist=["asarray"])
    elif name == "jax":
        xp = __import__("jax.numpy", fromlist=["asarray"])
    if not (isinstance(xp, ModuleType) and hasattr(xp, "asarray") and hasattr(xp, "matmul")):
        shown = name or type(xp).__name__
        if isinstance(xp, str) or shown in ("device", "Device"):  # as for PyTorch's `module.to("cpu")`
            shown = f"{xp!r}; pass the module, or a device as `device=`"
        raise TypeError(f"`xp` must be an array library such as numpy, cupy, torch or jax.numpy; got {shown}")
    return xp


def library_name(xp: ModuleType) -> str:
    """Return the name of a namespace's library, such as numpy, cupy, torch, jax or array_api_strict."""
    parts = xp.__name__.split(".")
    return parts[1] if parts[0] == "array_api_compat" and len(parts) > 1 else parts[0]


def device(array: Array) -> Any:
    """Return the device of an array, or None for a JAX tracer; `unsharded` converts a JAX sharding."""
    return unsharded(array_api_compat.device(array))


def unsharded(device: Any) -> Any:
    """Return a device unchanged, or the sharding of whole (replicated) arrays on a JAX sharding's mesh.

    If samples are divided over a mesh by rows, the network is whole on each device of the mesh. With this
    function, both are in the same place. For a mesh of one device, the result is that device.
    """
    if not hasattr(device, "mesh"):
        return device
    if device.mesh.size == 1:
        return device.mesh.devices.item()
    return type(device)(device.mesh, type(device.spec)())


def shown_device(device: Any) -> str:
    """Return a text for a device, or for the mesh of a JAX sharding."""
    if not hasattr(device, "mesh"):
        return str(device)
    axes = ", ".join(f"{name!r}: {size}" for name, size in device.mesh.shape.items())
    devices = device.mesh.devices.flat
    return f"the mesh ({axes}) of {devices[0]} to {devices[-1]}"


def divided_as(array: Array, X: Array, *, axis: int = 0) -> Array:
    """Divide an array over the mesh of X as the rows of X are; ``axis`` has an entry for each row."""
    sharding: Any = getattr(X, "sharding", None)
    if not hasattr(sharding, "spec"):  # on one device, or a tracer
        return array
    spec = type(sharding.spec)(*[None] * axis, *sharding.spec[:1])
    return to_device(array, type(sharding)(sharding.mesh, spec))


def current_device(xp: ModuleType) -> Any:
    """Return CuPy's current device, where it puts all results; None for other libraries."""
    if is_cupy_namespace(xp):
        return sys.modules["cupy"].cuda.Device()
    return None


def has_values(array: Array) -> bool:
    """Return whether the array's values can be read: False for JAX tracers and in `torch.func` transforms.

    Under `jax.jit`, even a computation with arrays that have values returns a tracer, so test its result.
    """
    if is_torch_array(array):
        torch = sys.modules["torch"]
        return not torch._C._functorch.is_functorch_wrapped_tensor(array)
    jax = sys.modules.get("jax")
    return jax is None or not isinstance(array, jax.core.Tracer)


def more_than_numbers(value: Any) -> tuple[str, str] | None:
    """Return the kind of a special array, and code that converts it to a plain one; None for other values.

    Special arrays have a mask, fields or a layout, which a computation would silently drop or fail on. In the
    code, "{}" stands for the array.
    """
    kind = type(value).__name__
    if isinstance(value, np.ma.MaskedArray):
        return (
            kind,
            "{}.filled(value)",
        )  # refused even without a masked value, because the next array may have one
    if isinstance(value, np.ndarray | np.generic) and value.dtype.names is not None:
        return "structured array", "numpy.lib.recfunctions.structured_to_unstructured(numpy.asarray({}))"
    if isinstance(value, np.matrix | np.recarray):
        return kind, "numpy.asarray({})"
    if is_torch_array(value):
        torch = sys.modules["torch"]
        if kind == "MaskedTensor":
            return kind, "{}.to_tensor(value)"
        if value.is_nested:
            return "nested tensor", "{}.to_padded_tensor(value)"
        if value.layout != torch.strided:
            return f"tensor of layout {value.layout}", "{}.to_dense()"
    return None


def dtype_name(dtype: Any) -> str:
    """Return the name, such as ``"float32"``, of a dtype of any library or of a string."""
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        return str(dtype).rpartition(".")[2]


def float_dtype(dtype: Any, *, xp: ModuleType, device: Any) -> Any:
    """Return the floating dtype of ``xp`` on ``device`` that ``dtype`` names.

    Raises
    ------
    TypeError
        If ``dtype`` is neither float32 nor float64, or is not available on the device.
    ValueError
        If the library has no such device.
    """
    name, device = dtype_name(dtype), unsharded(device)
    if name not in ("float32", "float64"):
        raise TypeError(f"`dtype` must be float32 or float64; got {name}")
    try:
        found = has_float(name, xp=xp, device=device)
        if not found:
            xp.empty(0, dtype=xp.uint8, device=device)  # fails if the device is missing, not only the dtype
    except Exception as error:  # each library raises another type for a missing device
        why = bounded(first_line(error), 200)
        if is_jax_namespace(xp) and isinstance(device, str):
            why = "JAX takes a device object, such as jax.devices('cpu')[0]"
        raise ValueError(
            f"`device` must be one that {library_name(xp)} has here; got {shown_device(device)} ({why})"
        ) from error
    if not found:
        where = library_name(xp) if device is None else f"{library_name(xp)} on {shown_device(device)}"
        hint = " (JAX has it after jax.config.update('jax_enable_x64', True))" if is_jax_namespace(xp) else ""
        raise TypeError(f"`dtype` must be one that {where} has{hint}; got {name}")
    return _floats(xp, device)[name]


def has_float(name: str, *, xp: ModuleType, device: Any) -> bool:
    """Return whether ``xp`` has the floating dtype of this name on ``device``."""
    found = _floats(xp, device)
    return name in found and dtype_name(xp.empty(0, dtype=found[name], device=device).dtype) == name


def _floats(xp: ModuleType, device: Any) -> dict[str, Any]:
    found: dict[str, Any] = xp.__array_namespace_info__().dtypes(device=device, kind="real floating")
    return found


def is_wider(array: Array, dtype: Any) -> bool:
    """Return whether a cast to ``dtype``, float32 or float64, may lose digits that float64 keeps."""
    return dtype_name(dtype) == "float32" and dtype_name(array.dtype) in _WIDER_THAN_FLOAT32


def cast(array: Array, dtype: Any, *, xp: ModuleType) -> Array:
    """Return the array in ``dtype``, without a copy if it has this dtype."""
    return xp.astype(array, dtype, copy=False)


def own_dtypes(array: Array) -> AbstractContextManager[Any]:
    """Return a context that keeps the arrays' dtypes on this array's device, even in `torch.autocast`."""
    if is_torch_array(array):
        torch, kind = sys.modules["torch"], array.device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            disabled: AbstractContextManager[Any] = torch.autocast(kind, enabled=False)
            return disabled
    return nullcontext()


def rows_of(array: Array, rows: Array, *, xp: ModuleType) -> Array:
    """Return rows (n,) of an array, with indices of at least 0."""
    if is_torch_namespace(xp):  # array-api-compat handles negative indices, with four more calls
        return array.index_select(0, rows)
    return xp.take(array, rows, axis=0)


def largest(array: Array, *, xp: ModuleType) -> Array:
    """Return the maximum, or nan if a value is nan; JAX's maximum over several devices may ignore nan."""
    if is_jax_namespace(xp):
        return xp.where(xp.any(xp.isnan(array)), xp.nan, xp.max(array))
    return xp.max(array)


def by_rows(array: Array, *, xp: ModuleType) -> Array:
    """Return the array in row-major order: a copy if its order differs, else the array or a view."""
    return xp.reshape(xp.reshape(array, (-1,)), array.shape)


def copied(array: Array, *, xp: ModuleType) -> Array:
    """Copy an array on its device in row-major order; a PyTorch tensor is detached from autograd."""
    if is_torch_array(array):
        return array.detach().contiguous().clone()
    return xp.asarray(by_rows(array, xp=xp), copy=True)


def to_host(array: Array) -> HostArray:
    """Copy an array of any library, on any device, to a NumPy array of the same dtype.

    Dtypes that NumPy lacks become wider: floating ones such as bfloat16 become float32, integer ones int8.
    """
    host = on_host(array)
    return host if is_cupy_array(array) else np.array(host)


def on_host(array: Array) -> HostArray:
    """Return the same as `to_host`, but share the array's memory if NumPy can read it."""
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    if is_torch_array(array):
        return np.asarray(_known_to_numpy(array.detach().cpu()).numpy())
    if is_cupy_array(array):
        return np.asarray(array.get())
    if is_jax_array(array):
        return np.asarray(_known_to_numpy(array))
    xp = array_namespace(array)
    info = xp.__array_namespace_info__()
    return np.from_dlpack(to_device(array, info.default_device()))


def _known_to_numpy(array: Array) -> Array:
    """Return the array, cast to a wider dtype if NumPy lacks its dtype."""
    if hasattr(np, dtype_name(array.dtype)):
        return array
    xp = array_namespace(array)
    return xp.astype(array, xp.int8 if xp.isdtype(array.dtype, "integral") else xp.float32)


def from_host(host: npt.ArrayLike, *, xp: ModuleType, device: Any) -> Array:
    """Copy host data to a new array of ``xp`` on ``device`` that shares no memory with the data.

    If ``device`` is a JAX sharding, the array is whole on every device of its mesh.
    """
    # A copy in C order, because PyTorch refuses negative strides, and warns of read-only memory.
    return xp.asarray(np.array(host, order="C"), device=unsharded(device))
