"""The tests and benchmarks on a GPU, in one command and within nine minutes.

Usage: python benchmarks/gpu.py OUT [--minutes 9] [--tiny] [--libraries cupy,torch,jax] [--cpu]

For the installed libraries, runs all tests on CuPy and the main tests on PyTorch and JAX at the same time.
Then runs steps.py, sweeps.py and training.py, one after another, the most important stages first. Each stage
is a separate process with a share of the time: if it crashes or hangs, only its own results are lost. OUT
must be a new or empty folder. It always contains all results so far, as data in gpu.json and as text for
docs/performance.md in gpu.md, and the output of each stage in a file STAGE.log. `--tiny` uses small sizes,
and `--cpu` uses NumPy and the CPU: both are for trying this program. The exit status is 0 if all stages ended
in time without an error and all tests passed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from measuring import ratios, spread, table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
GRACE = 10.0  # seconds for a stage to report and end after an interrupt
LEAST = 2.0  # seconds; with less time left, no stage is started
REFRESH = 2.0  # seconds between two reports while a stage runs
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # by default, JAX reserves most of the memory
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",  # float32 instead of TF32, as in the other libraries
}

# Sizes and numbers of candidates are measured in this order, the most important first.
FULL = {
    "steps": {"sizes": "50x200,8192x500,1024x500,512x200", "rounds": 9},
    "sweeps": {"networks": "1,100,9", "steps": 300, "looped": 5, "rounds": 3},
    "data": {"samples": 10_000, "features": 3_072},
    "training": {"images": 50_000, "hidden": 1_024, "epochs": 6},
}
TINY = {
    "steps": {"sizes": "4x8", "rounds": 1},
    "sweeps": {"networks": "1,2", "steps": 3, "looped": 1, "rounds": 1},
    "data": {"samples": 300, "features": 12},
    "training": {"images": 200, "hidden": 4, "epochs": 2},
}

TITLES = {"numpy": "NumPy", "cupy": "CuPy", "torch": "PyTorch", "jax": "JAX"}
BACKENDS = {"cupy": "cupy", "torch": "torch-cuda", "jax": "jax-gpu"}  # for pytest's `--backend`, on a GPU
# The files of the main tests; a library without a list runs all. JAX runs the fewest, because it compiles
# for every shape.
FEW = ("namespace", "execution", "mathematics", "stacks", "equivalence", "step", "network")
MORE = ("training", "preprocessing", "resuming", "sklearn", "storage", "gradients", "optimizers")
CORE = {"torch": (*FEW, *MORE, "regularisation", "augmentation"), "jax": FEW}
TINY_TESTS = ("namespace", "mathematics")
# Shares of the cores, because the tests of three libraries run at the same time; CuPy gets the rest.
CORES = {"torch": 0.25, "jax": 0.45}

# Contestants of steps.py to show with a library's step, and those to compare the step with.
OTHERS = {
    "numpy": (("NumPy, products", "NumPy, by hand"), ("NumPy, by hand",)),
    "cupy": (("CuPy, products", "CuPy, by hand"), ("CuPy, by hand",)),
    "torch": (("PyTorch, eager", "PyTorch, compiled"), ("PyTorch, eager", "PyTorch, compiled")),
    "jax": (("JAX, jit", "JAX, scan"), ("JAX, jit",)),
}
LOOPS = ("PyTorch, a loop", "PyTorch, a loop, compiled")  # contestants of sweeps.py


class Stage(NamedTuple):
    """A Python process: its name, its share of the time, and its arguments."""

    name: str
    share: float
    arguments: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--libraries", help="default: cupy,torch,jax; with --cpu numpy,torch,jax")
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    start = time.monotonic()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        parser.error(f"OUT must be a new or an empty folder; got {options.out}, which contains files")
    # A shell lets background programs ignore interrupts, and the stages would inherit this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    asked = (options.libraries or ("numpy,torch,jax" if options.cpu else "cupy,torch,jax")).split(",")
    asked = [name.strip() for name in asked]
    if unknown := set(asked) - set(TITLES):
        parser.error(f"--libraries must name some of {', '.join(TITLES)}; got {', '.join(unknown)}")
    if options.minutes <= 0:
        parser.error(f"--minutes must be above 0; got {options.minutes}")
    sizes = TINY if options.tiny else FULL
    report: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "minutes": options.minutes,
        "tiny": options.tiny,
        "cpu": options.cpu,
        "machine": machine(),
        "sizes": sizes,
        "libraries": dict.fromkeys(asked),
        "stages": {},
    }
    descriptions: dict[str, Any] = {}
    stages = [Stage(f"describe-{library}", 1, [str(HERE / "measuring.py"), library]) for library in asked]
    run_beside(stages, out, 10 * options.minutes, descriptions, lambda: None)
    report["libraries"] = {library: descriptions[f"describe-{library}"]["results"] for library in asked}
    able = [library for library, it in report["libraries"].items() if it and (it["gpu"] or options.cpu)]
    groups = plan(able, sizes, out, tiny=options.tiny, cpu=options.cpu) if able else []
    run(groups, out, start, report)
    print(markdown(report))
    if not groups or any(stage["state"] != "ended" for stage in report["stages"].values()):
        sys.exit(f"some stages did not run or failed: see the logs in {out}")


def machine() -> dict[str, Any]:
    """Return the versions of Python, NumPy and the GPU's driver, and the number of processors."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    driver = None
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        with contextlib.suppress(subprocess.SubprocessError):
            done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
            driver = next(iter(done.stdout.split()), None)
    numpy = importlib.metadata.version("numpy")
    return {"python": platform.python_version(), "numpy": numpy, "processors": here, "driver": driver}


def plan(
    libraries: list[str], sizes: dict[str, dict[str, Any]], out: Path, *, tiny: bool, cpu: bool
) -> list[list[Stage]]:
    """Return the stages in groups, the most important first; the stages of a group run at the same time."""
    common = [*([] if cpu else ["--gpu"]), f"--out={out}"]

    def options(*kinds: str) -> list[str]:
        return common + [f"--{name}={value}" for kind in kinds for name, value in sizes[kind].items()]

    def sweeps(library: str, share: float, contestants: str) -> list[Stage]:
        more = [f"--library={library}", f"--only={contestants}"]
        return [
            Stage(f"sweeps-{library}", share, [str(HERE / "sweeps.py"), *options("sweeps", "data"), *more])
        ]

    def training(library: str, share: float) -> list[Stage]:
        more = [*options("training"), f"--library={library}"]
        return [Stage(f"training-{library}", share, [str(HERE / "training.py"), *more])]

    names = ",".join(name for library in libraries for name in (library, TITLES[library]))
    steps = [str(HERE / "steps.py"), *options("steps", "data"), "--whole=0", f"--only={names}"]
    first, *others = libraries
    loop = ",PyTorch" if "torch" in libraries else ""
    groups = [
        [tests(library, tiny=tiny, cpu=cpu) for library in libraries],
        [Stage("steps", 30, steps)],
        sweeps(first, 16, f"one after another,sweep{loop}"),
        training(first, 8),
    ]
    for library in others:
        groups += [sweeps(library, 7, "one after another,sweep"), training(library, 5)]
    return groups


def tests(library: str, *, tiny: bool, cpu: bool) -> Stage:
    """Return the stage of a library's tests, with one process for each core of its share."""
    names = TINY_TESTS if tiny else CORE.get(library)
    files = ["tests"]
    if names is not None:
        files = [str(path) for name in names for path in Path("tests").rglob(f"test_{name}.py")]
    few = tiny or names is not None
    options = [f"--backend={library if cpu else BACKENDS[library]}", "--only-backends", "--verbose"]
    options += ["--color=no", f"--hypothesis-profile={'few' if few else 'fewer'}"]
    # A new release of one library may deprecate functions that another uses, and pytest-benchmark warns
    # about xdist.
    options += ["-Wignore::DeprecationWarning", "-pno:benchmark", "-pno:cacheprovider"]
    if importlib.util.find_spec("xdist"):
        options.append(f"--numprocesses={max(1, round(machine()['processors'] * CORES.get(library, 0.3)))}")
    return Stage(f"tests-{library}", 30, ["-m", "pytest", *options, *files])


def run(groups: list[list[Stage]], out: Path, start: float, report: dict[str, Any]) -> None:
    """Run groups one after another within the time, and report during and after each.

    Each group gets its share of the remaining time, so later groups share the time that it does not use.
    """
    deadline = start + 60 * report["minutes"] - GRACE

    def write() -> None:
        report["seconds"] = round(time.monotonic() - start, 1)
        written(report, out)

    write()
    for i, group in enumerate(groups):
        share = group[0].share / sum(later[0].share for later in groups[i:])
        seconds = share * (deadline - time.monotonic())
        if seconds > LEAST:
            run_beside(group, out, seconds, report["stages"], write)
        else:
            report["stages"] |= {stage.name: {"state": "not begun"} for stage in group}
            write()


def run_beside(
    stages: list[Stage], out: Path, seconds: float, records: dict[str, Any], write: Callable[[], None]
) -> None:
    """Run stages at the same time, for at most ``seconds``, and put their states and results in ``records``.

    A stage that exceeds its time is interrupted, as by Ctrl-C, so that it can report; if it does not end, it
    is killed.
    """
    start = shown = time.monotonic()
    running = {}
    try:
        for stage in stages:
            running[stage.name] = started(stage, out)
            records[stage.name] = {"state": "running"}
        while running:
            time.sleep(0.1)
            now = time.monotonic()
            for name, process in list(running.items()):
                record = records[name]
                over = now - start - seconds
                if over > 0 and record["state"] == "running" and process.poll() is None:
                    record["state"] = "cut"
                    process.send_signal(signal.SIGINT)
                if process.poll() is not None or over > GRACE:
                    end(running.pop(name))
                    if record["state"] == "running":
                        record["state"] = "failed" if process.returncode else "ended"
                record |= stage_record(name, out, now - start)
            if now - shown > REFRESH or not running:
                write()
                shown = now
    finally:  # if this program itself is stopped
        for name, process in running.items():
            end(process)
            records[name] |= {"state": "cut"} | stage_record(name, out, time.monotonic() - start)
        if running:
            write()


def started(stage: Stage, out: Path) -> subprocess.Popen[bytes]:
    """Start a stage in a new process group, with the package of this checkout."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": path}
    if stage.name.startswith("tests"):  # many processes, each with one core
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (out / f"{stage.name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, *stage.arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def stage_record(name: str, out: Path, seconds: float) -> dict[str, Any]:
    """Return the results and the last output of a stage after ``seconds``."""
    last_lines = text_of(out / f"{name}.log").splitlines()[-20:]
    return {"seconds": round(seconds, 1), "results": results(name, out), "last_lines": last_lines}


def results(name: str, out: Path) -> Any:
    """Return the results of a stage so far; None if it has none yet."""
    log = text_of(out / f"{name}.log")
    if name.startswith("tests"):
        return counts(log)
    with contextlib.suppress(ValueError):
        if name.startswith("describe"):  # the log may contain warnings as well
            return next((json.loads(line) for line in log.splitlines() if line.startswith("{")), None)
        return json.loads(text_of(out / f"{name}.json"))["results"]
    return None


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


# A line of `pytest --verbose`, with processes of xdist or with a single process.
OUTCOME = re.compile(
    r"^(?:\[gw\d+\] \[ *(\d+)%\] (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (.+?)"
    r"|(\S.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)(?: \(.*\))? +\[ *(\d+)%\])\s*$",
    re.MULTILINE,
)


def counts(log: str) -> dict[str, Any]:
    """Count the tests in the output of `pytest --verbose`; "percent" is the share of tests that have run."""
    found: dict[str, list[str]] = {"PASSED": [], "FAILED": [], "SKIPPED": []}
    done = 0
    for match in OUTCOME.finditer(log):
        outcome, test = (match[2] or match[5]), (match[3] or match[4])
        outcome = {"ERROR": "FAILED", "XPASS": "FAILED", "XFAIL": "PASSED"}.get(outcome, outcome)
        found[outcome].append(test)
        done = int(match[1] or match[6])
    failed = sorted(set(found["FAILED"]))
    passed, skipped = len(found["PASSED"]), len(found["SKIPPED"])
    return {"passed": passed, "failed": failed, "skipped": skipped, "percent": done}


def written(report: dict[str, Any], out: Path) -> None:
    """Write gpu.json and gpu.md under temporary names and move them, so that they are always complete."""
    try:
        shown = markdown(report)
    except Exception:  # noqa: BLE001  # an error in a table must not stop the stages
        shown = traceback.format_exc()
    for name, text in (("gpu.json", json.dumps(report, indent=1) + "\n"), ("gpu.md", shown)):
        beside = out / f".{name}"
        beside.write_text(text, encoding="utf-8")
        beside.replace(out / name)


def markdown(report: dict[str, Any]) -> str:
    """Return the report as text and tables without a heading, one sentence per line."""
    parts = [summary(report), tests_table(report), steps_table(report), sweeps_table(report)]
    parts += [training_table(report), problems(report)]
    return "\n\n".join(filter(None, parts)) + "\n"


def summary(report: dict[str, Any]) -> str:
    """Return the date, the machine, the versions, the time taken, and the libraries left out."""
    libraries, machine = report["libraries"], report["machine"]
    there = {name: it for name, it in libraries.items() if it}
    used = {name: it for name, it in there.items() if it["gpu"] or report["cpu"]}
    gpu = next((it["gpu"] for it in used.values() if it["gpu"]), None)
    cuda = {it["cuda"]: None for it in used.values() if it["cuda"]}
    where = [gpu or "No GPU"]
    where += [f"driver {machine['driver']}"] if machine["driver"] else []
    where += [f"CUDA {' and '.join(cuda)}"] if cuda else []
    where += [f"{TITLES[name]} {it['version']}" for name, it in used.items()]
    where += [] if "numpy" in used else [f"NumPy {machine['numpy']}"]
    where += [f"Python {machine['python']}", f"{machine['processors']} processors"]
    command = "python benchmarks/gpu.py OUT" + " --tiny" * report["tiny"] + " --cpu" * report["cpu"]
    lines = [
        f"{report['date']}: {', '.join(where)}.",
        f"`{command}` took {report['seconds'] / 60:.1f} minutes.",
    ]
    for name in (name for name in libraries if name not in used):
        why = "found no GPU" if name in there else "is not installed, or could not be imported"
        lines.append(f"{TITLES[name]} was left out: it {why}.")
    return "\n".join(lines)


def results_of_kind(report: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the results of the stages of a kind, by library, without those that have no results."""
    stages = report["stages"].items()
    found = {name.partition("-")[2]: it.get("results") for name, it in stages if name.startswith(kind)}
    return {library: it for library, it in found.items() if it}


def tests_table(report: dict[str, Any]) -> str:
    rows, failures = [], []
    for library, found in results_of_kind(report, "tests").items():
        what = "all that use an array library" if library not in CORE else "the main ones"
        what = "a few" if report["tiny"] else what
        numbers = [found["passed"], len(found["failed"]), found["skipped"]]
        seconds = report["stages"][f"tests-{library}"].get("seconds", 0)
        rows.append([f"{TITLES[library]}, {what}", *(f"{number:,}" for number in numbers), f"{seconds:.0f}"])
        failures += [f"`{test}` failed." for test in found["failed"]]
    head = ["tests", "passed", "failed", "skipped", "seconds"]
    return "\n\n".join(filter(None, [rows and table(head, rows), "\n".join(failures)]))


def steps_table(report: dict[str, Any]) -> str:
    found = report["stages"].get("steps", {}).get("results")
    if not found:
        return ""
    sizes = sorted(found, key=lambda size: [int(number) for number in size.split("x")])
    rows = []

    def row(name: str, cell: Callable[[dict[str, list[float]]], str]) -> None:
        cells = [cell(found[size]) for size in sizes]
        if any(cells):
            rows.append([name, *cells])

    for library in report["libraries"]:
        own, (by_hand, against) = f"twolayer, {library}", OTHERS[library]
        for name in by_hand:
            row(name, lambda times, name=name: median_of(times.get(name), 1e6, 0))
        row(f"**twolayer on {TITLES[library]}**", lambda times, own=own: median_of(times.get(own), 1e6, 0))
        for other in against:
            row(f"× {other}", lambda times, own=own, other=other: ratio_of(times, own, other))
    data, rounds = report["sizes"]["data"], report["sizes"]["steps"]["rounds"]
    text = (
        f"A training step in float32, with {data['features']:,} features and 10 classes, "
        f"and a batch gathered from {data['samples']:,} samples: median microseconds of {rounds} rounds; "
        "and the ratio to the times of others, median and quartiles.\n"
        "A call waits for the GPU after 64 steps (after 50 in `scan`), and products are float32, not TF32; "
        "`compiled` is `torch.compile` with `reduce-overhead`, and a fused optimizer.\n"
        "twolayer's steps also report their loss and accuracy; the others do not."
    )
    head = ["hidden units, batch", *(", ".join(f"{int(n):,}" for n in size.split("x")) for size in sizes)]
    return f"{text}\n\n{table(head, rows)}"


def sweeps_table(report: dict[str, Any]) -> str:
    every = results_of_kind(report, "sweeps")
    if not every:
        return ""
    numbers = sorted({n for found in every.values() for n in found}, key=int)
    rows = []
    for library, found in every.items():
        for name in dict.fromkeys(name for times in found.values() for name in times):
            own = {"one after another": "one after another", "sweep": "**as one stack**"}.get(name)
            title = f"twolayer on {TITLES[library]}, {own}" if own else name
            rows.append([title, *(median_of(found.get(n, {}).get(name), 1, 2) for n in numbers)])
            for other in ("one after another", *LOOPS) if name == "sweep" else ():
                cells = [ratio_of(found.get(n, {}), name, other) for n in numbers]
                rows += [[f"× {other}", *cells]] if any(cells) else []
    sizes = report["sizes"]["sweeps"]
    text = (
        f"Candidates of 50 hidden units, batch 200, {sizes['steps']} steps, validated after each epoch, "
        f"on the same data: median seconds of {sizes['rounds']} rounds.\n"
        f"At most {sizes['looped']} candidates are trained one after another; their time is multiplied by "
        "the number of all candidates over the number of those trained."
    )
    return f"{text}\n\n{table(['candidates', *numbers], rows)}"


def training_table(report: dict[str, Any]) -> str:
    rows = []
    for library, found in results_of_kind(report, "training").items():
        first, *others = found["epochs"]
        seconds = [f"{first:.2f}", median_of(others, 1, 2)]
        held = "" if found["MB"] is None else f"{found['MB']:,.0f}"
        rows.append([TITLES[library], *seconds, held, f"{found['accuracy']:.3f}"])
    if not rows:
        return ""
    sizes = report["sizes"]["training"]
    text = (
        f"A training on {sizes['images']:,} synthetic images of CIFAR-10's shape, each the image of its "
        "class plus noise: bytes, standardized, flipped and shifted batch by batch, "
        f"{sizes['hidden']:,} hidden units, batch 250, Nesterov momentum; a tenth of the images is used "
        "for validation.\n"
        "The columns are the seconds of the first epoch, in which kernels are compiled; the median seconds "
        f"of the {sizes['epochs'] - 1} others; the largest memory of the library on the GPU, with the "
        "images but without CUDA's own memory; and the accuracy on the training images, "
        "which shows only that the network learns."
    )
    head = ["", "first epoch", "an epoch", "MB", "accuracy"]
    return f"{text}\n\n{table(head, rows)}"


def problems(report: dict[str, Any]) -> str:
    """Return a line for each stage that failed, was interrupted or has not ended yet."""
    lines = []
    for name, stage in report["stages"].items():
        percent = (stage.get("results") or {}).get("percent") if name.startswith("tests") else None
        where = "" if percent is None else f", at {percent} %"
        how = {
            "not begun": "was not begun, as no time was left",
            "running": "is running",
            "cut": f"was cut after {stage.get('seconds', 0):.0f} seconds{where}",
            "failed": "failed",
        }
        if stage["state"] != "ended":
            lines.append(f"The stage `{name}` {how[stage['state']]}.")
    return "\n".join(lines)


def median_of(values: list[float] | None, factor: float, digits: int) -> str:
    return f"{factor * statistics.median(values):,.{digits}f}" if values else ""


def ratio_of(times: dict[str, list[float]], name: str, to: str) -> str:
    return spread(ratios(times, name, to)) if {name, to} <= times.keys() else ""


if __name__ == "__main__":
    main()
