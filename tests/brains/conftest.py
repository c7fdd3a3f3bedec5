"""One thread for the tiny models of these tests: more would wait for each other."""

from collections.abc import Iterator

import pytest
import torch
from matplotlib.figure import Figure

from ssast_recipes.brains import pretraining

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


@pytest.fixture(autouse=True)
def plain_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty pictures at validations, but in tests marked `pictures`: to draw takes a second."""
    if request.node.get_closest_marker("pictures") is None:
        monkeypatch.setattr(pretraining, "draw_reconstructions", lambda *args, **kwargs: Figure())
