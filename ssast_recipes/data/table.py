"""Clips in columns: millions of them in little memory, shared by all workers."""

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.shards import split_location


class Strings(Sequence[str]):
    """A list of strings in two blocks of memory.

    A Python list of two million has as many objects, whose reference counts every worker process
    would copy by touching them.

    Example
    -------
    >>> names = Strings(["dog", "", "Ära"])
    >>> names[-1], len(names), list(names) == ["dog", "", "Ära"]
    ('Ära', 3, True)
    """

    def __init__(self, values: Iterable[str] = ()):
        self._text, self._ends = bytearray(), array("q")
        for value in values:
            self.append(value)

    def append(self, value: str) -> None:
        """Adds a string behind the others."""
        self._text += value.encode()
        self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no string {index} among {len(self)}")
        index %= len(self)
        begin = self._ends[index - 1] if index else 0
        return self._text[begin : self._ends[index]].decode()


class ClipTable(Sequence[Clip]):
    """Clips in columns, without what their manifests know beyond the common columns.

    About 120 bytes a clip with IDs and file names of 20 letters.

    Arguments
    ---------
    clips : iterable of Clip
        The rows.

    Example
    -------
    >>> clips = ClipTable([Clip("a", "/sounds/a.wav", 0.0, 5.0, 44100, ("dog",))])
    >>> clips[0].path, clips.ids[0], clips.labels(0)
    ('/sounds/a.wav', 'a', ('dog',))
    """

    def __init__(self, clips: Iterable[Clip]):
        self.ids, self._names = Strings(), Strings()
        self._times, self._rates = array("d"), array("i")
        self._folder, self._labels, self._shard = array("i"), array("i"), array("i")
        folders, label_sets, shards = _Numbers(), _Numbers(), _Numbers()
        for clip in clips:
            folder, slash, name = clip.path.rpartition("/")
            member = split_location(clip.path)
            self.ids.append(clip.id)
            self._names.append(name)
            self._folder.append(folders[folder + slash])
            self._times.extend((clip.start, clip.duration))
            self._rates.append(clip.sample_rate)
            self._labels.append(label_sets[clip.labels])
            self._shard.append(-1 if member is None else shards[member.shard])
        self._folders, self._label_sets = list(folders), list(label_sets)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Clip:
        index = range(len(self))[index]
        return Clip(
            id=self.ids[index],
            path=self._folders[self._folder[index]] + self._names[index],
            start=self._times[2 * index],
            duration=self._times[2 * index + 1],
            sample_rate=self._rates[index],
            labels=self.labels(index),
        )

    def labels(self, index: int) -> tuple[str, ...]:
        """Returns the labels of a clip."""
        return self._label_sets[self._labels[index]]

    @property
    def shards(self) -> Tensor | None:
        """The number of each clip's shard, -1 for a file of its own; None if there are no shards.

        [clips], int64.
        """
        shards = torch.tensor(self._shard)
        return shards.long() if (shards >= 0).any() else None


class _Numbers(dict[Any, int]):
    """Numbers what it is asked for, from 0 on."""

    def __missing__(self, key: Any) -> int:
        self[key] = len(self)
        return self[key]
