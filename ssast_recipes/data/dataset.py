"""The clips of manifests, asked for one by one."""

import hashlib
import os
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from speechbrain.utils.data_pipeline import DataPipeline
from torch import Tensor
from torch.utils.data import Dataset

from ssast_recipes.data.batches import as_float
from ssast_recipes.data.mixup import Mixup
from ssast_recipes.data.sampling import ClipKey
from ssast_recipes.data.shards import UnreadableAudioError
from ssast_recipes.data.table import ClipTable

_CLIP_KEYS = ("id", "path", "start", "duration", "labels")
MOST_SUBSTITUTES = 20


class ClipDataset(Dataset):
    """The clips of one or several manifests, asked for by `ClipKey`.

    What a clip yields is made by a SpeechBrain pipeline, whose items may take `id`, `path`,
    `start`, `duration`, `labels` and what the key has, so that random processing can be a function
    of the epoch and the clip.

    Attributes
    ----------
    table : ClipTable
        The clips.
    mixup : Mixup, optional
        Mixes clips with each other; not in epoch 0, which is evaluation's.
    substitutes : bool
        Whether a clip whose audio cannot be read is replaced by another, drawn from the epoch and
        the clip; the pair of its ID and the reason is then listed under `rejected`. By default the
        error is raised.

    Arguments
    ---------
    manifests : sequence of paths
        Manifest files; together they make the data set.

    Raises
    ------
    ValueError
        If an ID occurs in two manifests, or there are no clips.
    """

    def __init__(self, manifests: Sequence[str | os.PathLike]):
        self.table = ClipTable.read(manifests)
        if not len(self.table):
            raise ValueError(f"there are no clips in {', '.join(map(str, manifests))}")
        self.mixup: Mixup | None = None
        self.substitutes = False
        self._pipeline = DataPipeline([*_CLIP_KEYS, *ClipKey._fields])

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ids(self) -> Sequence[str]:
        """The clips' IDs, in order."""
        return self.table.ids

    @property
    def labels(self) -> list[tuple[str, ...]]:
        """The clips' labels, in order."""
        return self.table.all_labels

    @property
    def shards(self) -> Tensor | None:
        """In which shards the clips are, if they are in shards; see `ClipTable`."""
        return self.table.shards

    @property
    def digest(self) -> str:
        """Hashes the clips' IDs and labels in their order: what a training's order is of."""
        digest = hashlib.sha256()
        for pair in zip(self.ids, self.labels, strict=True):
            digest.update(repr(pair).encode())
        return digest.hexdigest()

    def add_dynamic_item(
        self, function: Callable[..., Any], takes: Sequence[str], provides: str
    ) -> None:
        """Adds an item to the pipeline; as SpeechBrain's `DynamicItemDataset`."""
        self._pipeline.add_dynamic_item(function, takes, provides)

    def set_output_keys(self, keys: Sequence[str]) -> None:
        """Sets what a clip yields; as SpeechBrain's `DynamicItemDataset`."""
        self._pipeline.set_output_keys(keys)

    def keep_per_class(self, num_clips: int, seed: int) -> None:
        """Keeps `num_clips` clips of each class, drawn from the seed; their order stays."""
        by_label: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, labels in enumerate(self.labels):
            by_label[labels].append(index)
        kept: list[int] = []
        for labels, indices in sorted(by_label.items()):
            if not 0 < num_clips <= len(indices):
                raise ValueError(
                    f"clips_per_class is {num_clips}, but class {';'.join(labels)} has "
                    f"{len(indices)} clips; choose from 1 to that"
                )
            kept += random.Random(f"{seed} {labels}").sample(indices, num_clips)
        self.table = ClipTable(self.table[index] for index in sorted(kept))

    def __getitem__(self, key: ClipKey | int) -> dict[str, Any]:
        key = key if isinstance(key, ClipKey) else ClipKey(epoch=0, index=key, place=key)
        clip, rejected = self._read_or_substitute(key)
        if self.mixup is not None and key.epoch > 0:

            def read(index: int) -> dict[str, Any]:
                other, also_rejected = self._read_or_substitute(key._replace(index=index))
                rejected.extend(also_rejected)
                return _floating(other)

            occasion = f"{key.epoch} {key.draw}"
            clip = self.mixup(_floating(clip), occasion, num_clips=len(self), read=read)
        return {**clip, "rejected": rejected} if rejected else clip

    def _read_or_substitute(self, key: ClipKey) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """A clip or its substitute, and which were rejected for what reason."""
        rejected: list[tuple[str, str]] = []
        draws = random.Random(f"{key.epoch} {key.draw} {key.index}")
        while True:
            try:
                return self._read(key), rejected
            except UnreadableAudioError as error:
                if not self.substitutes:
                    raise
                rejected.append((self.ids[key.index], str(error)))
                if len(rejected) > MOST_SUBSTITUTES:
                    raise ValueError(
                        f"{len(rejected)} clips drawn one after the other cannot be read; the "
                        f"last: {error}"
                    ) from error
            key = key._replace(index=draws.randrange(len(self)))

    def _read(self, key: ClipKey) -> dict[str, Any]:
        clip = self.table[key.index]
        known = {name: getattr(clip, name) for name in _CLIP_KEYS}
        return self._pipeline.compute_outputs({**known, **key._asdict()})


def _floating(clip: dict[str, Any]) -> dict[str, Any]:
    return {**clip, "waveform": as_float(clip["waveform"])}
