"""The clips of manifests, asked for one by one."""

import hashlib
import os
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from ssast_recipes.data.batches import as_float
from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.mixup import Mixup
from ssast_recipes.data.sampling import ClipKey
from ssast_recipes.data.shards import UnreadableAudioError
from ssast_recipes.data.table import TEXT, ClipTable

OUTPUT_KEYS = ("id", "index", "place", "waveform", "target")
MOST_SUBSTITUTES = 20


class ClipDataset(Dataset):
    """The clips of one or several manifests, asked for by `ClipKey`.

    A clip is read and its labels are encoded by callables, which YAML names. What they are given
    says the epoch, so that random processing can be a function of the epoch and the clip. There is
    no pipeline of further items below: `collate` would not put them into a batch.

    Attributes
    ----------
    table : ClipTable
        The clips.
    mixup : Mixup, optional
        Mixes clips with each other; not in epoch 0, which is evaluation's.
    substitutes : bool
        Whether a clip whose audio cannot be read is replaced by another, drawn from the seed, the
        epoch and the clip; the pair of its ID and the reason is then listed under `rejected`. By
        default the error is raised.
    seed : int
        Of these draws.

    Arguments
    ---------
    manifests : sequence of paths
        Manifest files; together they make the data set.
    read_waveform : callable
        (path, start, duration, epoch, id, draw) to samples, such as a `WaveformReader`.
    encode_labels : callable, optional
        Labels to a target tensor, such as a `ClassEncoder`.
    output_keys : sequence of str
        What a clip yields, of `OUTPUT_KEYS` and, of manifests that have the column, `text`.
    encode_text : callable, optional
        A transcript to its tokens, [tokens], such as a `Tokenizer`: then these are the targets.

    Raises
    ------
    ValueError
        If an ID occurs in two manifests, there are no clips, or a key is none or asks for labels
        that nothing encodes, or for transcripts that a manifest lacks.
    """

    def __init__(
        self,
        manifests: Sequence[str | os.PathLike],
        read_waveform: Callable[..., Tensor],
        encode_labels: Callable[[Sequence[str]], Tensor] | None = None,
        output_keys: Sequence[str] = OUTPUT_KEYS[:-1],
        encode_text: Callable[[str], Tensor] | None = None,
    ):
        has_targets = encode_labels is not None or encode_text is not None
        known = (*(OUTPUT_KEYS if has_targets else OUTPUT_KEYS[:-1]), TEXT)
        unknown = [key for key in output_keys if key not in known]
        if unknown:
            raise ValueError(
                f"output_keys: a clip yields {', '.join(known)}, not {', '.join(unknown)}"
                + ("; give label_encoder" if "target" in unknown else "")
            )
        self.table = ClipTable.read(manifests)
        if not len(self.table):
            raise ValueError(f"there are no clips in {', '.join(map(str, manifests))}")
        if self.table.texts is None and (TEXT in output_keys or encode_text is not None):
            raise ValueError(
                f"{', '.join(map(str, manifests))}: without a column {TEXT}, the transcripts; "
                "prepare with transcripts: True"
            )
        self.mixup: Mixup | None = None
        self.substitutes = False
        self.seed = 0
        self.output_keys = tuple(output_keys)
        self._read_waveform, self._encode_labels = read_waveform, encode_labels
        self._encode_text = encode_text

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
    def durations(self) -> Tensor:
        """The clips' lengths in seconds, [clips] float64."""
        return self.table.durations

    @property
    def shards(self) -> Tensor | None:
        """In which shards the clips are, if they are in shards; see `ClipTable`."""
        return self.table.shards

    @property
    def digest(self) -> str:
        """Hashes the clips' IDs and labels in their order: what a training's order is of.

        And their transcripts and lengths, with the tokenizer, where these are read.
        """
        digest = hashlib.sha256(getattr(self._encode_text, "sha256", "").encode())
        told = [self.ids, self.labels]
        if self._encode_text is not None:
            told += [self.table.texts, self.durations.tolist()]
        for row in zip(*told, strict=True):
            digest.update(repr(row).encode())
        return digest.hexdigest()

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
        draws = random.Random(f"{self.seed} {key.epoch} {key.draw} {key.index}")
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
        known = {"id": clip.id, "index": key.index, "place": key.place}
        if "waveform" in self.output_keys:
            known["waveform"] = self._read_waveform(
                clip.path, clip.start, clip.duration, key.epoch, clip.id, key.draw
            )
        if "target" in self.output_keys:
            known["target"] = self._encode(clip)
        if TEXT in self.output_keys:
            known[TEXT] = clip.extra[TEXT]
        return {name: known[name] for name in self.output_keys}

    def _encode(self, clip: Clip) -> Tensor:
        if self._encode_text is not None:
            return self._encode_text(clip.extra[TEXT])
        try:
            return self._encode_labels(clip.labels)
        except ValueError as error:
            raise ValueError(f"clip {clip.id} ({clip.path}): {error}; prepare again") from None


def _floating(clip: dict[str, Any]) -> dict[str, Any]:
    return {**clip, "waveform": as_float(clip["waveform"])}
