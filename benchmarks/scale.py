"""The cost of several processes, wide stacks and large files, and its growth with the data.

Usage: OPENBLAS_NUM_THREADS=1 python benchmarks/scale.py
       [--only processes,starting,sent,stacks,file,growth,devices] [--rounds 5] [--data FOLDER]
       [--folder FOLDER] [--gib 2] [--quick] [--out FOLDER]

The samples are random, so nothing is downloaded: 20,000 of 512 features and 10 classes unless stated
otherwise. Each case prints its table of docs/scale.md.

- processes: `twolayer sweep` of two parts, including its start and all files that it writes: in one process,
  and with `--workers 2`, where each process has one thread of the BLAS; and in one process with two threads.
  With `--data`, the folder of CIFAR-10's binary files, it trains on these. The networks of the runs with one
  thread per process must be the same to the bit.
- starting: a sweep of two very short parts: in this process, on fresh processes, and on processes that ran a
  part before.
- sent: the pickled sizes of the data sent to a worker and back, and the sizes of files.
- stacks: 1 to 1,000 candidates of 50 units on 4,000 training samples of 64 features, 100 steps, as divided by
  `sweep`, and as one stack in `train`; each runs in its own process, whose memory is measured.
- file: an epoch with `stream=True` on a file that is larger than the memory that the process may allocate
  (RLIMIT_DATA; Linux). Reading the file into memory must fail there.
- growth: the time of `train` when one size is doubled, and doubled again, and of `sweep` with more folds.
- devices: a training with JAX on rows that are divided among 1, 2, 4 and 8 simulated devices of the host.
  Each number of devices runs in its own process, after a first training that compiles. Needs JAX.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Contestant, in_turns, machine, ratios, spread, stored, table

import twolayer

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
ONE, TWO = "one process", "two processes"


def samples(n_samples: int, n_features: int, n_classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return random samples, with classes from a random linear map."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    return X, np.argmax(X @ rng.standard_normal((n_features, n_classes), dtype=np.float32), axis=1)


# ---- processes -------------------------------------------------------------------------------------------


def measure_processes(options: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Time the command line with one process and with two, and print the table."""
    sizes = ("--hidden", "16" if options.quick else "256", "--epochs", "2" if options.quick else "50")
    if options.data:
        given = ["cifar10", "--data", options.data, *sizes]
    else:
        X, y = samples(2_000 if options.quick else 20_000, 512)
        np.savez(folder / "samples.npz", X=X, y=y)
        given = [str(folder / "samples.npz"), *sizes]
    command = [sys.executable, "-m", "twolayer", "sweep", *given, "--learning-rate", "0.003,0.01,0.03"]
    command += ["--reg", "1e-4", "--seeds", "2", "--quiet"]
    ways: dict[str, tuple[list[str], str]] = {
        f"{ONE}, 1 thread": ([], "1"),
        f"{TWO}, 1 thread each": (["--workers", "2"], "1"),
        f"{ONE}, 2 threads": ([], "2"),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    found: set[tuple[bytes, str]] = set()
    for i in range(1 if options.quick else options.rounds):
        for k, (way, (more, n_threads)) in enumerate(ways.items()):
            out = folder / f"run-{i}-{k}"
            environment = os.environ | dict.fromkeys(THREADS, n_threads)
            start = time.perf_counter()
            given = [*command, "--out", str(out), *more]
            subprocess.run(given, env=environment, check=True, stdout=subprocess.DEVNULL)
            times[way].append(time.perf_counter() - start)
            parts = json.loads((out / "parts" / "plan.json").read_text(encoding="utf-8"))["parts"]
            if len(parts) != 2:
                raise SystemExit(f"the sweep must have two parts; got {len(parts)}")
            if n_threads == "1":
                runs = (out / "runs.csv").read_text(encoding="utf-8")
                found.add(((out / "network.safetensors").read_bytes(), runs))
    if len(found) > 1:
        raise SystemExit("the networks of one process and of two differ")
    first = f"{ONE}, 1 thread"
    rows = [
        [way, f"{statistics.median(own):.1f}", spread(ratios(times, way, first))]
        for way, own in times.items()
    ]
    print(table(["a sweep of two parts", "seconds", f"× {first}"], rows) + "\n", flush=True)
    return times


# ---- starting --------------------------------------------------------------------------------------------


def fresh() -> ProcessPoolExecutor:
    """Return an executor of two processes that have not started."""
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def measure_starting(options: argparse.Namespace) -> dict[str, list[float]]:
    """Time a sweep of two short parts in this process and on others, and print the table."""
    X, y = samples(20_000, 512)
    grid = {"n_hidden": [10], "seed": [0, 1]}
    sweep = partial(twolayer.sweep, X[1000:], y[1000:], validation=(X[:1000], y[:1000]), grid=grid, steps=1)
    with fresh() as used:
        ways = {
            "in this process": sweep,
            "two fresh processes": partial(sweep, executor=fresh),
            "two processes that ran a part before": partial(sweep, executor=used),
        }
        contestants = {way: Contestant(call) for way, call in ways.items()}
        times = in_turns(contestants, rounds=1 if options.quick else options.rounds, seconds=0.0)
    rows = [[way, spread(own)] for way, own in times.items()]
    print(table(["two parts of one step", "seconds"], rows) + "\n", flush=True)
    return times


# ---- sent ------------------------------------------------------------------------------------------------


def measure_sent(options: argparse.Namespace, folder: Path) -> dict[str, int]:
    """Print the sizes of the data sent to a worker and back."""
    X, y = samples(20_000, 512)
    grid = {"learning_rate": list(np.geomspace(1e-3, 1e-1, 9)), "n_hidden": [50], "seed": [0, 1]}
    arguments: dict[str, Any] = {"grid": grid, "epochs": 2, "max_networks": 9}
    validated: dict[str, Any] = {"X": X[2000:], "y": y[2000:], "validation": (X[:2000], y[:2000])}
    one = twolayer.TwoLayerNet.initialize(512, 50, 10, rng=0)
    found = {"the arrays: 20,000 samples of 512 features": X.nbytes + y.nbytes}
    found["a network: 50 hidden units, 10 classes"] = sum(array.nbytes for array in one)

    plan = twolayer.plan(**validated, **arguments)
    found["a part: 9 networks"] = size(plan.parts[0])
    whitened = twolayer.preprocessing.Whitener.fit(X, kind="pca", n_components=256)
    parts = twolayer.plan(**validated, **arguments, preprocessing=whitened).parts
    found["a part, with a whitener of 256 components"] = size(parts[0])
    found["a part, with 5 folds"] = size(twolayer.plan(X, y, folds=5, **arguments).parts[0])
    halved = twolayer.plan(**validated, **arguments, halving=2)
    halved = halved.join([part.run(**validated) for part in halved.parts])
    found["a part after the first rung of halving"] = size(halved.parts[0])

    sizes: dict[str, list[int]] = {"sent": [], "result": []}
    with recording(fresh(), sizes) as executor:
        twolayer.sweep(**validated, **arguments, executor=executor, resume=folder / "parts")
    found["sent with a part: to a process of this machine"] = max(sizes["sent"])
    sent = twolayer.sweeping.parts.Given(validated["X"], validated["y"], validated["validation"], None)
    found["sent with a part: to another executor"] = size(sent) + found["a part: 9 networks"]
    found["a part's result"] = max(sizes["result"])
    found["a part's checkpoint, of the folder `parts`"] = max(
        path.stat().st_size for path in (folder / "parts").glob("*.safetensors")
    )
    adam = twolayer.optimizers.AdamW()
    whole = arguments | {"optimizer": adam, "ema_decay": 0.9}
    twolayer.sweep(**validated, **whole, resume=folder / "averaged")
    found["a part's checkpoint, with AdamW and averaged weights"] = max(
        path.stat().st_size for path in (folder / "averaged").glob("*.safetensors")
    )
    rows = [[what, in_kilobytes(n)] for what, n in found.items()]
    print(table(["", "kB"], rows) + "\n", flush=True)
    return found


def size(what: object) -> int:
    """Return the pickled size of an object, in bytes."""
    return len(pickle.dumps(what, protocol=pickle.HIGHEST_PROTOCOL))


def in_kilobytes(n: int) -> str:
    return f"{n / 1e3:,.0f}" if n >= 10_000 else f"{n / 1e3:.1f}"


@contextmanager
def recording(executor: ProcessPoolExecutor, sizes: Mapping[str, list[int]]) -> Iterator[ProcessPoolExecutor]:
    """Yield the executor, which then records the sizes of its calls and of their results."""
    submit = executor.submit

    def recorded(call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        sizes["sent"].append(size((call, arguments)))
        future = submit(call, *arguments)
        future.add_done_callback(lambda future: sizes["result"].append(size(future.result())))
        return future

    executor.submit = recorded  # type: ignore[method-assign,assignment]
    with executor:
        yield executor


# ---- stacks ----------------------------------------------------------------------------------------------


def train_stack(n_networks: int, way: str, steps: int) -> None:
    """Train candidates as a sweep, or as one stack, and print the time and the memory."""
    X, y = samples(5_000, 64)
    rates = list(np.geomspace(1e-3, 1e-1, n_networks)) if n_networks > 1 else [1e-2]
    validated: dict[str, Any] = {"X": X[1000:], "y": y[1000:], "validation": (X[:1000], y[:1000])}
    twolayer.sweep(**validated, grid={"learning_rate": [1e-2]}, steps=5)  # the first call is slower
    forget_peak()
    before, n_parts, start = peak(), 1, time.perf_counter()
    if way == "sweep":
        grid = {"learning_rate": rates, "n_hidden": [50]}
        n_parts = len(twolayer.plan(**validated, grid=grid, steps=steps).parts)
        start = time.perf_counter()
        kept: object = twolayer.sweep(**validated, grid=grid, steps=steps)
    else:
        net = twolayer.TwoLayerNet.initialize(64, 50, 10, rng=0)
        kept = twolayer.train(
            twolayer.stack([net] * n_networks),
            **validated,
            learning_rate=np.asarray(rates),
            steps=steps,
            rng=0,
        )
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "parts": n_parts, "MB": peak() - before}))
    del kept  # only now, so that the peak includes the result


def measure_stacks(options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Time different numbers of candidates, and print the table."""
    numbers = (1, 10) if options.quick else (1, 10, 100, 1000)
    steps, rounds = ("20", 1) if options.quick else ("100", options.rounds)
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for n in numbers:
            for way in ("sweep", "train"):
                found.setdefault(f"{n} {way}", []).append(one("stack", str(n), way, steps))
    rows = []
    for n in numbers:
        own = found[f"{n} sweep"]
        row = [f"{n:,}", str(own[0]["parts"])]
        for way in ("sweep", "train"):
            own = found[f"{n} {way}"]
            milliseconds = statistics.median(one["seconds"] for one in own) / n * 1e3
            row += [f"{milliseconds:.0f}", f"{statistics.median(one['MB'] for one in own):.0f}"]
        rows.append(row)
    head = ["networks", "parts", "`sweep`: ms per network", "MB", "one stack: ms a network", "MB"]
    print(table(head, rows) + "\n", flush=True)
    return found


# ---- file ------------------------------------------------------------------------------------------------


def train_on_file(path: str, n_features: int, limit: int) -> None:
    """Train on a file under a limit on memory, and print the time and the memory."""
    X = np.memmap(path, np.float32, "r").reshape(-1, n_features)
    y = np.arange(len(X)) % 10
    net = twolayer.TwoLayerNet.initialize(n_features, 50, 10, rng=0)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        np.array(X)
    except MemoryError:
        pass
    else:
        raise SystemExit("the file must be larger than the allowed memory; it fits")
    most, done = {"RssAnon": 0, "RssFile": 0}, threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            # RssAnon is the process's own memory; RssFile is pages of files, which the system can drop.
            most.update({name: max(own, status(name)) for name, own in most.items()})

    before = status("RssAnon")
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.perf_counter()
    twolayer.train(net, X, y, epochs=1, batch_size=500, learning_rate=1e-3, stream=True, rng=0)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    print(json.dumps({"seconds": seconds, "before": before, **most}))


def measure_file(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Train on a large file, and print the table."""
    n_features = 512
    n_bytes = int((0.5 if options.quick else options.gib) * 2**30)
    limit = n_bytes // (1 if options.quick else 4)
    rows_at_once = 2**24 // (4 * n_features)
    rng, path = np.random.default_rng(0), folder / "samples.float32"
    with path.open("wb") as file:
        for _ in range(n_bytes // 2**24):
            rng.standard_normal((rows_at_once, n_features), dtype=np.float32).tofile(file)
    found = one("file", str(path), str(n_features), str(limit))
    own, mapped = found["RssAnon"], found["RssFile"]
    rows = [
        ["the file", f"{path.stat().st_size / 1e6:,.0f}"],
        ["the limit on the memory that the process may hold", f"{limit / 1e6:,.0f}"],
        ["held at most", f"{own / 1e6:,.0f}"],
        ["of which before the training", f"{found['before'] / 1e6:,.0f}"],
        ["pages of files, which the system can drop, at most", f"{mapped / 1e6:,.0f}"],
    ]
    path.unlink()
    print(table([f"an epoch, {found['seconds']:.0f} s", "MB"], rows) + "\n", flush=True)
    return found


# ---- growth ----------------------------------------------------------------------------------------------


def measure_growth(options: argparse.Namespace) -> dict[str, list[float]]:
    """Time runs with one size doubled at a time, and print the table."""
    base = {"N": 8_000, "D": 256, "H": 64, "C": 10}
    base |= {"N": 1_000} if options.quick else {}
    names = {"N": "samples", "D": "features", "H": "hidden units", "C": "classes"}
    contestants = {"base": Contestant(training(**base))}
    for name in names:
        for factor in (2, 4):
            contestants[f"{name} × {factor}"] = Contestant(training(**base | {name: base[name] * factor}))
    X, y = samples(base["N"], base["D"])
    folds = 5
    for factor in (1, 2, 4):
        contestants[f"folds × {factor}"] = Contestant(
            partial(twolayer.sweep, X, y, folds=factor * folds, grid={"n_hidden": [50]}, epochs=1, refit=None)
        )
    times = in_turns(contestants, rounds=3 if options.quick else max(options.rounds, 7), seconds=0.0)
    rows = [
        [f"{what}, {base[name]:,}", *(spread(ratios(times, f"{name} × {k}", "base")) for k in (2, 4))]
        for name, what in names.items()
    ]
    rows.append([f"folds, {folds}", *(spread(ratios(times, f"folds × {k}", "folds × 1")) for k in (2, 4))])
    print(table(["from", "doubled", "four times"], rows) + "\n", flush=True)
    return times


def training(N: int, D: int, H: int, C: int) -> Callable[[], object]:
    """Return a training of two epochs."""
    X, y = samples(N, D, C)
    net = twolayer.TwoLayerNet.initialize(D, H, C, rng=0)
    return partial(twolayer.train, net, X, y, epochs=2, rng=0)


# ---- devices ---------------------------------------------------------------------------------------------


def train_on_devices(n_devices: int, n_samples: int) -> None:
    """Train on rows that are divided among devices of this host, and print the seconds and a loss."""
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={n_devices}"
    import jax

    mesh = jax.make_mesh((n_devices,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    by_rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    X, y = (jax.device_put(array, by_rows) for array in samples(n_samples, 512))
    net = twolayer.TwoLayerNet.initialize(512, 512, 10, rng=0, xp=jax.numpy, device=by_rows)
    for _ in range(2):  # the first one compiles
        start = time.perf_counter()
        run = twolayer.train(net, X, y, epochs=2, batch_size=1024, rng=0)
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "loss": float(run.history.loss[-1])}))


def measure_devices(options: argparse.Namespace) -> dict[str, list[float]]:
    """Time a training on different numbers of devices, and print the table."""
    numbers, rounds = ((1, 8), 1) if options.quick else ((1, 2, 4, 8), options.rounds)
    times: dict[str, list[float]] = {str(n): [] for n in numbers}
    losses: list[float] = []
    for _ in range(rounds):
        for n in numbers:
            found = one("devices", str(n), "2048" if options.quick else "20480")
            times[str(n)].append(found["seconds"])
            losses.append(found["loss"])
    if not np.allclose(losses, losses[0], rtol=1e-3):
        raise SystemExit(f"the losses differ with the number of devices: {losses}")
    rows = [[n, f"{statistics.median(own):.2f}", spread(ratios(times, n, "1"))] for n, own in times.items()]
    print(table(["devices", "seconds", "× one"], rows) + "\n", flush=True)
    return times


# ----------------------------------------------------------------------------------------------------------


def one(kind: str, *arguments: str) -> dict[str, float]:
    """Run a case in its own process, and return its figures."""
    command = [sys.executable, __file__, "--one", kind, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def forget_peak() -> None:
    """Reset `peak` to the current memory of this process, if the system can (Linux)."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> float:
    """Return the largest resident size of this process so far, in MB."""
    if sys.platform == "linux":  # ru_maxrss begins there with the size of the parent process
        return status("VmHWM") / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def status(name: str) -> int:
    """Return a field of this process's status, in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = "processes,starting,sent,stacks,file,growth"
    every += ",devices" if importlib.util.find_spec("jax") else ""
    parser.add_argument("--only", default=every)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", help="the folder cifar-10-batches-bin")
    parser.add_argument("--folder", type=Path, help="an existing folder for temporary large files")
    parser.add_argument("--gib", type=float, default=2.0, help="the size of the file to train on, in GiB")
    parser.add_argument("--quick", action="store_true", help="run small cases, to try the program")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, *arguments = options.one
        if kind == "stack":
            train_stack(int(arguments[0]), arguments[1], int(arguments[2]))
        elif kind == "devices":
            train_on_devices(*map(int, arguments))
        else:
            train_on_file(arguments[0], int(arguments[1]), int(arguments[2]))
        return
    print(machine() + "\n", flush=True)
    results: dict[str, object] = {}
    for name in options.only.split(","):
        with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
            folder = Path(temporary)
            results[name] = {
                "processes": partial(measure_processes, options, folder),
                "starting": partial(measure_starting, options),
                "sent": partial(measure_sent, options, folder),
                "stacks": partial(measure_stacks, options),
                "file": partial(measure_file, options, folder),
                "growth": partial(measure_growth, options),
                "devices": partial(measure_devices, options),
            }[name]()
        stored(options.out, "scale", results)


if __name__ == "__main__":
    main()
