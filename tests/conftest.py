"""What every test shares: the device, the seed, the data folder beside the repository."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

# The workers of pytest-xdist share the cores: a pool of threads in each would make them fight.
# Set before torch is imported, and inherited by what the tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import speechbrain as sb
import torch

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="torch device of the tensor tests, as cuda:0")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where tensor tests put their tensors: the command line's --device, by default the CPU."""
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder `shared` beside the repository: small data sets that are not ours to publish."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a wheel of this repository installs."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "ssast_recipes",
        "recipes",
        "benchmarks",
    ):
        (source / name).symlink_to(REPOSITORY / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--quiet", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="session")
def ssast(installed: Path) -> Callable[..., subprocess.CompletedProcess]:
    """`ssast("demo", …, cwd=folder)` runs the command of the installed package."""

    def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "ssast_recipes.commands.main", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)

    return run


@pytest.fixture(autouse=True)
def seed() -> None:
    """Every test starts from the same random state, whichever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def quiet_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps pytest's log handlers, which SpeechBrain would replace."""
    monkeypatch.setattr(sb.utils.logger, "setup_logging", lambda *args: None)
