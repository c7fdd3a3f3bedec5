"""What every test shares: the device, the seed, the data folder beside the repository."""

import os
from pathlib import Path

# The workers of pytest-xdist share the cores: a pool of threads in each would make them fight.
# Set before torch is imported, and inherited by what the tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
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


@pytest.fixture(autouse=True)
def seed() -> None:
    """Every test starts from the same random state, whichever ran before it."""
    torch.manual_seed(0)
