"""What all frozen encoders have in common: clips in, vectors out, nothing learnt."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from ssast_recipes.data.manifest import Clip
from ssast_recipes.evaluation.tasks import Task
from ssast_recipes.inference.reading import read_ahead, read_clip

CLIP, LAYERS, STEPS = "clip", "layers", "steps"  # how finely clips are embedded

Embedded = Tensor | ValueError | OSError


class FrozenEncoder(ABC):
    """What turns clips into vectors and learns nothing meanwhile.

    `name` is as the command line has it; `key`, plain values, tells its embeddings from those of
    any other: weights and front end.
    """

    name: str
    key: dict[str, Any]
    is_baseline = False

    def for_task(self, task: Task) -> "FrozenEncoder":
        """The encoder as it is for a task's files; itself, but for baselines."""
        return self

    @abstractmethod
    def embed(
        self, clips: Sequence[Clip], detail: str = CLIP, workers: int = 2
    ) -> Iterator[Embedded]:
        """Embeds clips.

        Arguments
        ---------
        clips : sequence of Clip
            Of any lengths.
        detail : str
            `CLIP`: one vector a clip. `LAYERS`: one by every layer, if it has several. `STEPS`: of
            every layer, 12 moments evenly over the clip, if it knows moments.
        workers : int
            How many threads read files ahead.

        Yields
        ------
        Tensor, ValueError or OSError
            [layers, width], the embedding itself last, or [layers, moments, width], in the order
            of the clips; or why a clip cannot be read.
        """


def read_waveforms(
    clips: Sequence[Clip], sample_rate: int, workers: int
) -> Iterator[Tensor | ValueError | OSError]:
    """Reads clips' samples, in other threads some ahead.

    Arguments
    ---------
    clips : sequence of Clip
        Which.
    sample_rate : int
        In Hz, to which they are resampled.
    workers : int
        How many threads; one at least.

    Yields
    ------
    Tensor, ValueError or OSError
        [samples] float32 each, or why a clip cannot be read.
    """
    for pieces in read_ahead((_pieces(clip, sample_rate) for clip in clips), max(1, workers)):
        try:
            yield next(pieces)
        except (ValueError, OSError) as error:
            yield error


def _pieces(clip: Clip, sample_rate: int) -> Iterator[Tensor]:
    yield read_clip(clip, sample_rate)
