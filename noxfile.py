"""One door for every check: ``nox -s tests lint typing readme`` is what CI runs."""

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
PYTHONS = NAMED if THIS in NAMED else [*NAMED, THIS]


def _install(session: nox.Session, *groups: str) -> None:
    """Install the package as a wheel, and what the groups name."""
    requirements = nox.project.dependency_groups(PROJECT, *groups) if groups else ()
    session.install(".[cli]", *requirements)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests on every Python that is here, against the installed wheel."""
    # The page is the same on every Python, and so are the lines: a browser and a tracer take time.
    is_traced = session.python == THIS
    _install(session, "tests", *(["browser"] if is_traced else []))
    # Without the current folder on the path, the tests cannot import the checkout by mistake.
    env = {"PYTHONSAFEPATH": "1"}
    command = ("coverage", "run", "-m", "pytest") if is_traced else ("python", "-m", "pytest")
    session.run(*command, "-n", "auto", "--dist", "worksteal", *session.posargs, env=env)
    if is_traced and not session.posargs:
        session.notify("coverage")


@nox.session
def coverage(session: nox.Session) -> None:
    """Combine what the processes of the tests measured; fails below 100 %."""
    session.install("coverage[toml]")
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types of package and tests, and the pinned public types."""
    _install(session, "typing")
    session.run("mypy")


@nox.session
def readme(session: nox.Session) -> None:
    """Run every Python block of the README against the emulator."""
    _install(session, "tests")
    session.run("pytest", "tests/test_readme.py", *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session
def demo(session: nox.Session) -> None:
    """Show what the README's first command shows."""
    _install(session)
    session.run("python", "-m", "vocalsep_async", "demo", env={"PYTHONSAFEPATH": "1"})


@nox.session
def docs(session: nox.Session) -> None:
    """Make docs/cli.md from the commands."""
    _install(session)
    Path("docs/cli.md").write_text(
        session.run("python", "-m", "vocalsep_async.cli.manual", silent=True) or "",
        encoding="utf-8",
    )


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure; figures of CPU are ratios within one run."""
    _install(session, "benchmarks")
    for script in sorted(Path("benchmarks").glob("*.py")):
        session.run("python", script, *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill batches and downloads at every write, and see that nothing is lost; minutes."""
    _install(session, "tests")
    kills = ("tests/journal/test_kills.py", "tests/downloads/test_kills.py")
    env = {"PYTHONSAFEPATH": "1", "VOCALSEP_KILLS": "60"}
    session.run("pytest", "-n", "auto", "--timeout", "280", *kills, *session.posargs, env=env)


@nox.session
def simulation(session: nox.Session) -> None:
    """Simulate the schedule against its rivals, and draw docs/delays.svg; minutes on all cores."""
    _install(session, "simulation")
    session.run("python", "-m", "benchmarks.simulation", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel and the source distribution, and check what they say and hold."""
    session.install("build", "twine")
    session.run("python", "-m", "build")
    packed = [*map(str, Path("dist").glob("*"))]
    session.run("twine", "check", "--strict", *packed)
    session.run("python", "tests/key_scan.py", *packed)
