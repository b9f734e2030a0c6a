"""The project's checks. `nox` runs the everyday ones; `nox -l` lists them all."""

from __future__ import annotations

import ast
import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "typing", "tests-numpy", "docs"]

# A process for each core.
PARALLEL = "--numprocesses=auto"
# Tests that use only NumPy run in tests-numpy, so the other sessions leave them out.
ONLY_BACKENDS = (PARALLEL, "--only-backends")

# The files that test a network's own functions.
NETWORK = ("network", "network_arrays", "evaluation")

# For sessions with PyTorch: uv ignores pip's settings, and so the index of PyTorch's builds for the CPU.
WITH_PIP = "virtualenv"

PYPROJECT = nox.project.load_toml("pyproject.toml")

# The session `package` builds the sdist and the wheel in this folder.
DIST = Path("dist").resolve()


def group(name: str) -> list[str]:
    """Return the requirements of one of pyproject.toml's dependency groups."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def run_tests(
    session: nox.Session,
    *backends: str,
    extras: str = "cli,onnx,sklearn",
    options: tuple[str, ...] = (PARALLEL,),
    within: tuple[str, ...] = (),
) -> None:
    """Install twolayer as a user does, and run the tests on these backends while measuring coverage.

    The command `within`, if given, starts the tests.
    """
    session.install(f".[{extras}]", *group("test"))
    data = f".coverage.{session.name}"
    for stale in Path().glob(f"{data}.*"):
        stale.unlink()
    selection = [f"--backend={backend}" for backend in backends]
    session.run(
        *(*within, "coverage", "run", "-m", "pytest", *selection, *options, *session.posargs),
        env={"COVERAGE_FILE": data},
    )


def files_of_tests(*names: str) -> list[str]:
    """Return the paths of test files (`network` stands for test_network.py) or of folders of tests."""
    paths = {path.stem.removeprefix("test_"): str(path) for path in Path("tests").rglob("test_*.py")}
    return [paths.get(name, f"tests/{name}") for name in names]


@nox.session(name="tests-numpy")
def tests_numpy(session: nox.Session) -> None:
    """Run the tests on NumPy and array-api-strict."""
    if session.posargs:
        run_tests(session, "numpy", "strict")
        return
    # Coverage doubles the time, so it is measured only for the tests of code that must be covered completely.
    measured = [f"tests/{folder}" for folder in ("estimator", "mathematics", "training")]
    run_tests(session, "numpy", "strict", options=(PARALLEL, *measured))
    rest = (f"--ignore={folder}" for folder in measured)
    session.run("pytest", "--backend=numpy", "--backend=strict", PARALLEL, *rest)


@nox.session(name="tests-torch", venv_backend=WITH_PIP)
def tests_torch(session: nox.Session) -> None:
    """Run the tests on PyTorch on the CPU, and the main tests inside torch.autocast too."""
    run_tests(session, "torch", extras="cli,onnx,sklearn,torch", options=ONLY_BACKENDS)
    # A caller may be inside torch.autocast, which must not change results.
    core = (*NETWORK, "mathematics", "stacks", "execution", "equivalence", "preprocessing", "whitening")
    session.run("pytest", "--backend=torch-autocast", *ONLY_BACKENDS, *files_of_tests(*core))


@nox.session(name="tests-jax")
def tests_jax(session: nox.Session) -> None:
    """Run the tests on JAX, eager and jitted, and the main tests of training on a mesh of eight devices."""
    extras = "cli,jax,onnx,sklearn"
    if session.posargs:
        run_tests(session, "jax", extras=extras, options=ONLY_BACKENDS)
        return
    # Coverage takes a third more time, so it is measured only in files that run all the code for JAX.
    measured_files = files_of_tests("evaluation", "execution", "optimizers", "sample_weights")
    run_tests(session, "jax", extras=extras, options=(*ONLY_BACKENDS, *measured_files))
    rest = (f"--ignore={file}" for file in measured_files)
    session.run("pytest", "--backend=jax", *ONLY_BACKENDS, *rest)
    files = files_of_tests("divergence", "resuming", "sharding", "streaming", "training")
    measured = ("coverage", "run", "-m", "pytest")
    environment = {"COVERAGE_FILE": f".coverage.{session.name}"}
    session.run(*measured, "--backend=jax-sharded", *ONLY_BACKENDS, *files, env=environment)


@nox.session(name="tests-cupy")
def tests_cupy(session: nox.Session) -> None:
    """Run the tests on CuPy: on an NVIDIA GPU, where no test may skip, or else on a simulated CUDA device."""
    extra, found = cuda_extra()
    if extra is None:
        test_on_a_simulated_device(session, found)
        return
    session.log(f"CuPy is tested on a GPU: {found}")
    report = Path(session.create_tmp()).resolve() / "report.xml"
    options = (*ONLY_BACKENDS, f"--junitxml={report}")
    run_tests(session, "cupy", extras=f"cli,onnx,sklearn,{extra}", options=options)
    skipped = [
        f"{case.get('classname')}::{case.get('name')}: {skip.get('message')}"
        for case in ElementTree.parse(report).iter("testcase")
        for skip in case.iter("skipped")
        if skip.get("type") != "pytest.xfail"
    ]
    if skipped and sys.platform != "win32":  # a few tests of files and terminals skip there
        session.error("With a GPU every test must run, but these were skipped:\n" + "\n".join(skipped))


def test_on_a_simulated_device(session: nox.Session, reason: str) -> None:
    """Run CuPy's tests on tests/simulated_cuda, and the main tests again with threads in reverse order."""
    missing = [tool for tool in ("g++", "nm") if shutil.which(tool) is None]
    if not missing:
        version = subprocess.run(["g++", "-dumpversion"], capture_output=True, text=True, check=True).stdout
        missing = ["g++ 12"] if int(version.partition(".")[0]) < 12 else []
    if sys.platform != "linux" or platform.machine() != "x86_64" or missing:
        session.skip(f"{reason}; a simulated CUDA device needs Linux on x86-64, g++ 12 or later, and nm")
    session.log(f"CuPy is tested on a simulated CUDA device: {reason}")
    session.install(*group("simulated-cuda"))
    device = str(Path(session.create_tmp()).resolve() / "device")
    simulated = ("python", "tests/simulated_cuda/build.py", device)
    options = ("--hypothesis-profile=simulated", *ONLY_BACKENDS)
    run_tests(session, "cupy", options=options, within=simulated)
    files = files_of_tests("fusing", "mathematics", *NETWORK, "stacks", "step")
    session.run(
        *simulated,
        *("pytest", "--backend=cupy", "--hypothesis-profile=few", *ONLY_BACKENDS, *files),
        env={"SIMULATED_CUDA_REVERSED": "1"},
    )
    session.log(f"CuPy was tested on a simulated CUDA device: {reason}")


@nox.session(name="tests-sklearn", venv_backend=WITH_PIP)
@nox.parametrize("release", ["oldest", "newest"])
def tests_sklearn(session: nox.Session, release: str) -> None:
    """Run the tests of the estimator, with the oldest allowed scikit-learn and with the newest."""
    (requirement,) = PYPROJECT["project"]["optional-dependencies"]["sklearn"]
    if release == "oldest":
        requirement = requirement.replace(">=", "==")
    session.install(".[sklearn,torch]", requirement, *group("test"))
    session.run("python", "-m", "pip", "list")
    backends = ("--backend=numpy", "--backend=strict", "--backend=torch")
    session.run("pytest", "tests/estimator", *backends, *session.posargs)


def cuda_extra() -> tuple[str | None, str]:
    """Return the extra that fits the NVIDIA driver (`cuda12`, `cuda13` or None), and what was found."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return None, f"no NVIDIA driver here ({library} could not be loaded)"
    version, devices = ctypes.c_int(), ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDriverGetVersion(ctypes.byref(version))
    status = status or driver.cuDeviceGetCount(ctypes.byref(devices))
    if status or not devices.value:
        return None, f"an NVIDIA driver, but no GPU that it can use (CUDA error {status})"
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    found = f"{devices.value} NVIDIA GPU(s), with a driver for CUDA {cuda}"
    if version.value < 12000:
        return None, f"{found}, which is older than the CUDA 12 that CuPy needs"
    return ("cuda13" if version.value >= 13000 else "cuda12"), found


@nox.session(venv_backend=WITH_PIP)
def minimums(session: nox.Session) -> None:
    """Run the tests on the oldest versions that pyproject.toml allows; on PyTorch and JAX the main tests."""
    requirements = list(PYPROJECT["project"]["dependencies"])
    for extra, more in PYPROJECT["project"]["optional-dependencies"].items():
        if not extra.startswith("cuda"):
            requirements += [requirement for requirement in more if not requirement.startswith("twolayer")]
    oldest = [re.sub(r"\[.*\]", "", requirement).replace(">=", "==") for requirement in requirements]
    # If the caller constrains a version, as .ci/run does for PyTorch, that version is tested instead.
    given = os.environ.get("PIP_CONSTRAINT")
    asked = Path(given).read_text(encoding="utf-8") if given else ""
    oldest = [one for one in oldest if f"{one.partition('==')[0]}==" not in asked]
    constraints = Path(session.create_tmp()) / "oldest.txt"
    constraints.write_text("\n".join(oldest) + "\n", encoding="utf-8")
    # array-api-extra requires a newer array-api-compat, which the tests' part of it does not need.
    test = [one for one in group("test") if not one.startswith("array-api-extra")]
    session.install("--constraint", str(constraints), ".[cli,jax,onnx,sklearn,torch]", *test)
    session.install("--no-deps", *set(group("test")).difference(test))
    session.run("python", "-m", "pip", "list")
    # The dependencies of an old version may be newer, and have deprecated functions that it uses.
    quiet = ("-W", "ignore::DeprecationWarning")
    # An old version fails in the first examples or never, and the tests of killed processes do not depend on
    # versions.
    few = "--hypothesis-profile=few"
    rest = "--ignore=tests/training/test_killed.py"
    session.run("pytest", "--backend=numpy", PARALLEL, *quiet, few, rest, *session.posargs)
    # array-api-strict is left out, because it has no oldest version.
    core = ("namespace", *NETWORK, "execution", "equivalence")
    more = ("slow_loop", "any_mix", "preprocessing", "resuming", "estimator", "storage")
    libraries = {"torch": (*core, *more), "jax": core}
    for library, names in libraries.items():
        session.run("pytest", f"--backend={library}", *ONLY_BACKENDS, *quiet, few, *files_of_tests(*names))


@nox.session(python=nox.project.python_versions(PYPROJECT))
def pythons(session: nox.Session) -> None:
    """Run the tests on NumPy and array-api-strict, on every installed version of Python."""
    run_tests(session, "numpy", "strict")


@nox.session
def killed(session: nox.Session) -> None:
    """Kill and resume trainings 50 times (TWOLAYER_KILLS), and compare their results to the bit."""
    session.install(".[cli]", *group("test"))
    options = ("--backend=numpy", "-s", "-v", "tests/training/test_killed.py")
    kills = os.environ.get("TWOLAYER_KILLS", "50")
    session.run("pytest", *options, *session.posargs, env={"TWOLAYER_KILLS": kills})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Test every reader of files with 2,000 (TWOLAYER_FUZZ) damaged or inconsistent files of each kind."""
    session.install(".[cli,onnx]", *group("test"))
    options = ("--backend=numpy", PARALLEL, "tests/files/test_fuzzed_files.py")
    examples = os.environ.get("TWOLAYER_FUZZ", "2000")
    session.run("pytest", *options, *session.posargs, env={"TWOLAYER_FUZZ": examples})


@nox.session
def lint(session: nox.Session) -> None:
    """Run Ruff's linter and formatter, and import-linter."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": "src"})


@nox.session
def typing(session: nox.Session) -> None:
    """Run mypy in strict mode."""
    session.install(".[cli]", *group("typing"))
    session.run("mypy", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation in docs/_build/html, without the network and with warnings as errors.

    The scripts of the gallery and the tutorials are run; an error in one of them fails the session.
    """
    session.install(".[cli,sklearn]", *group("docs"))
    options = ("--nitpicky", "--fail-on-warning", "--keep-going", "--fresh-env")
    # One thread is faster for small products, and the figures then do not depend on the number of processors.
    session.run("sphinx-build", *options, "docs", "docs/_build/html", env={"OPENBLAS_NUM_THREADS": "1"})


@nox.session
def links(session: nox.Session) -> None:
    """Check the external links of the documentation. This needs the network; the gallery is not run."""
    session.install(".[cli,sklearn]", *group("docs"))
    quick = ("-D", "plot_gallery=0")
    session.run("sphinx-build", "-b", "linkcheck", *quick, "docs", "docs/_build/links")


@nox.session
def review(session: nox.Session) -> None:
    """Run the checks of the Scientific Python guide on the project, and of zizmor on the workflows."""
    session.install(*group("review"))
    session.run("sp-repo-review", "--show=err", ".")
    session.run("zizmor", "--offline", "--no-progress", ".")


@nox.session
def package(session: nox.Session) -> None:
    """Build the sdist and the wheel in dist, inspect them, and try the sdist and the wheel without extras."""
    session.install(*group("package"))
    shutil.rmtree(DIST, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(DIST), ".")
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    session.run("twine", "check", "--strict", str(sdist), str(wheel))
    with tarfile.open(sdist) as archive:
        holds(session, sdist, [name.partition("/src/")[2] for name in archive.getnames()])
    with zipfile.ZipFile(wheel) as archive:
        holds(session, wheel, archive.namelist())
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        relative = re.findall(r"\]\((?!https://).*?\)", archive.read(metadata).decode())
    if relative:
        session.error(f"The README must have no relative links on a package index; got {relative}")
    session.chdir(session.create_tmp())
    session.install(str(wheel))
    session.run("python", "-c", "import twolayer; print(twolayer.TwoLayerNet.initialize(64, 10, 10))")
    session.run("twolayer", success_codes=[1])  # an error that names the missing extra
    session.install(f"twolayer[cli] @ {sdist.as_uri()}")
    sweep(session)


@nox.session(python=nox.project.python_versions(PYPROJECT), requires=["package"])
def wheel(session: nox.Session) -> None:
    """Install and try the wheel with its extra `cli` on every installed version of Python."""
    session.chdir(session.create_tmp())
    session.install(f"twolayer[cli] @ {built_wheel()}")
    sweep(session)


def built_wheel() -> str:
    """Return the URI of the wheel that the session `package` built."""
    (wheel,) = DIST.glob("*.whl")
    return wheel.as_uri()


def sweep(session: nox.Session) -> None:
    """Run the command line once; fail unless it writes a network, a figure and a page."""
    out = Path(tempfile.mkdtemp(dir=session.create_tmp()))
    session.run("twolayer", "--help")
    session.run("twolayer", "sweep", "--reg=1e-3", "--seeds=1", "--epochs=2", f"--out={out / 'run'}")
    session.run("twolayer", "report", str(out / "run"))
    for kind in ("safetensors", "png", "html"):
        if not list(out.rglob(f"*.{kind}")):
            session.error(f"`twolayer sweep` and `report` must write a .{kind} file; found none")


def holds(session: nox.Session, artefact: Path, names: list[str]) -> None:
    """Fail unless the artefact contains the data files, whose absence no import would notice."""
    data = ("py.typed", "datasets/digits.npz", "datasets/digits.txt")
    page = ("cli/page/page.html.jinja", "cli/page/page.css", "cli/page/page.js")
    for name in (f"twolayer/{one}" for one in (*data, *page)):
        if name not in names:
            session.error(f"{artefact.name} must contain {name}; it is missing")


@nox.session(venv_backend=WITH_PIP)
def recipes(session: nox.Session) -> None:
    """Run the recipes for other libraries, clusters and large data, and check that they write their files."""
    session.install(".[jax,torch,sklearn]", *group("recipes"))
    folder, programs = Path(session.create_tmp()).resolve(), Path("examples/recipes").resolve()
    session.chdir(folder)  # MLflow writes to the current folder
    for name in ("tables.py", "distill_convolution.py", "distill_trees.py"):
        session.run("python", str(programs / name))
    session.run("python", str(programs / "optuna_search.py"), "6")
    for name in ("processes.py", "cluster.py", "parts.py"):
        session.run("python", str(programs / name))
    session.run("python", str(programs / "larger_than_memory.py"), str(folder / "samples"))
    session.run("python", str(programs / "several_gpus.py"))
    session.run("python", str(programs / "tensorboard_log.py"), str(folder / "tensorboard"))
    session.run("python", str(programs / "mlflow_log.py"), str(folder / "mlflow"))
    for pattern in ("tensorboard/events.*", "mlflow/mlflow.db", "mlflow/network.safetensors"):
        if not list(folder.glob(pattern)):
            session.error(f"the recipes must write {pattern}; found none")


@nox.session
def notebook(session: nox.Session) -> None:
    """Run the notebook of the tutorials, and convert it to light and dark pages in docs/_build/notebook."""
    session.install(".[cli,onnx]", *group("notebook"))
    pages, folder = Path("docs/_build/notebook").resolve(), Path(session.create_tmp()).resolve()
    shutil.copy("examples/tutorials/notebook.ipynb", folder)
    session.chdir(folder)  # the notebook writes files to the current folder
    convert = ("jupyter", "nbconvert", "--log-level=ERROR")
    session.run(*convert, "--execute", "--to=notebook", "--output=run.ipynb", "notebook.ipynb")
    if "<progress" not in (folder / "run.ipynb").read_text(encoding="utf-8"):
        session.error("a cell of the notebook must show a progress bar; none does")
    for theme in ("light", "dark"):
        options = ("--to=html", f"--theme={theme}", f"--output-dir={pages}", f"--output={theme}")
        session.run(*convert, *options, "run.ipynb")


@nox.session(venv_backend=WITH_PIP, requires=["package"])
def embedding(session: nox.Session) -> None:
    """Run the tests of the project in examples/embedding with the built wheel."""
    session.install(f"twolayer[jax,torch] @ {built_wheel()}")
    project = nox.project.load_toml("examples/embedding/pyproject.toml")
    session.install("./examples/embedding", *nox.project.dependency_groups(project, "test"))
    session.chdir("examples/embedding")
    session.run("python", "-m", "pytest")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks in a quick form, for the installed libraries."""
    session.install(".[cli]", *group("bench"))
    for name, *options in (
        ("steps", "--rounds=5", "--whole=1"),
        ("sweeps", "--networks=1,9", "--steps=100", "--rounds=1"),
        ("folds", "--data=wine", "--rounds=1"),
        ("halving", "--repetitions=1", "--epochs=8"),
        ("scale", "--quick"),
        ("growth", "--rounds=3"),
        ("forms", "--rounds=3"),
        ("memory", "--hidden=512", "--libraries=numpy"),
        ("startup", "--rounds=3"),
        ("training", "--images=5000", "--hidden=256", "--epochs=2"),
    ):
        session.run("python", f"benchmarks/{name}.py", *options, *session.posargs)


def tree_to_mutate(tree: Path) -> Path:
    """Copy the files for mutmut. It skips decorated functions, so some decorators become calls after them."""
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("src", "tests"):
        shutil.copytree(name, tree / name)
    for name in ("pyproject.toml", *PYPROJECT["tool"]["mutmut"]["also_copy"]):
        shutil.copy(name, tree)
    for name in PYPROJECT["tool"]["mutmut"]["only_mutate"]:
        source = (tree / name).read_text(encoding="utf-8")
        (tree / name).write_text(without_decorators(source), encoding="utf-8")
    return tree


def without_decorators(source: str) -> str:
    """Replace `@leaf` and `@undisturbed`, if they are the only decorator, by calls after the function."""
    lines = source.splitlines()
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for function in sorted(functions, key=lambda node: node.lineno, reverse=True):
        (name, *others) = [ast.unparse(node) for node in function.decorator_list] or [""]
        if name in ("leaf", "undisturbed") and not others:
            indent = " " * function.col_offset
            lines.insert(function.end_lineno, f"{indent}{function.name} = {name}({function.name})")
            del lines[function.decorator_list[0].lineno - 1]
    return "\n".join(lines) + "\n"


@nox.session
def mutation(session: nox.Session) -> None:
    """Change the mathematics in small steps: a test must fail for each change not listed as equivalent."""
    session.install(".[cli,onnx,sklearn]", *group("test"), *group("mutation"))
    listed = nox.project.load_toml("tests/equivalent_mutants.toml").get("equivalent", [])
    session.chdir(tree_to_mutate(Path(session.create_tmp()) / "tree"))
    session.run("mutmut", "run", *session.posargs, env={"CI": "true"})  # makes Hypothesis repeat its examples
    equivalent = {(mutant["function"], mutant["becomes"]) for mutant in listed}
    survivors, found = [], set()
    for result in session.run("mutmut", "results", silent=True).splitlines():
        name, _, outcome = result.strip().partition(": ")
        if outcome not in ("survived", "no tests", "suspicious"):
            continue
        change = session.run("mutmut", "show", name, silent=True)
        becomes = "\n".join(re.findall(r"^\+ +(.*)$", change, re.MULTILINE))
        mutant = name.partition("__mutmut")[0], becomes
        found.add(mutant)
        if mutant not in equivalent:
            survivors.append(change)
    if survivors:
        session.error(f"No test failed for {len(survivors)} changes:\n\n" + "\n".join(survivors))
    if not session.posargs and equivalent - found:
        session.error(f"A test fails for these changes, which are listed as equivalent: {equivalent - found}")


@nox.session
def coverage(session: nox.Session) -> None:
    """Check that the earlier sessions together cover the mathematics and the training completely."""
    session.install(*group("coverage"))
    session.run("coverage", "combine", "--keep")
    whole = (
        "_forms.py",
        "convolution.py",
        "mathematics.py",
        "network.py",
        "sklearn/*",
        "stacks.py",
        "training/*",
    )
    included = ",".join(f"src/twolayer/{name}" for name in whole)
    session.run("coverage", "report", f"--include={included}", "--fail-under=100")
