"""Checks of the devices, and JAX meshes, on which arrays are."""

from __future__ import annotations

from typing import Any

from ._namespace import Array, array_namespace, current_device, device, library_name, shown_device
from ._texts import variable_of


def check_axes(name: str, array: Array) -> None:
    """Raise if ``array`` is on a JAX mesh that has an axis of a type other than Auto."""
    sharding: Any = getattr(array, "sharding", None)
    types = {kind.name for kind in sharding.mesh.axis_types} if hasattr(sharding, "mesh") else set()
    if not types <= {"Auto"}:
        raise ValueError(
            f"`{name}` must be on one device, or on a mesh whose axes are all of type Auto; got "
            f"{shown_device(sharding)}, with axes of type {' and '.join(sorted(types))}; `jax.make_mesh` "
            "makes such a mesh with `axis_types=(jax.sharding.AxisType.Auto,)`, with one entry for each axis"
        )


def check_current_device(name: str, array: Array) -> None:
    """Raise if the library computes on its current device only (CuPy), and ``array`` is on another."""
    xp = array_namespace(array)
    current = current_device(xp)
    if current is not None and current != device(array):
        raise ValueError(
            f"`{name}` must be on {library_name(xp)}'s current device, {current}, where it puts every "
            f"result; got {device(array)}"
        )


def check_one_place(name: str, array: Array, other_name: str, other: Array) -> None:
    """Raise unless two arrays are on the same device or mesh."""
    here, there = device(array), device(other)
    if here == there or here is None or there is None:  # a JAX tracer has no device
        return
    variable, cure = variable_of(name), ""
    if hasattr(here, "mesh") and other_name == "W1":
        cure = f"; `net.to(jax.numpy, {variable}.sharding)` copies the network to its mesh"
    elif hasattr(there, "mesh"):
        cure = f"; `jax.device_put({variable}, {variable_of(other_name)}.sharding)` copies it there"
    raise ValueError(
        f"`{name}` must be on the device of `{other_name}`, {shown_device(there)}; "
        f"got {shown_device(here)}{cure}"
    )
