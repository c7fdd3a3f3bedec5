"""One thread for the tiny models of these tests: more would wait for each other."""

from collections.abc import Iterator

import pytest
import torch

from . import tiny


@pytest.fixture(autouse=True)
def brains_on(device: torch.device) -> None:
    """Tiny Brains live on the device of the command line."""
    tiny.DEVICE = str(device)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
