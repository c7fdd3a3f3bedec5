"""Clips in columns: millions of them in little memory, shared by all workers."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from ssast_recipes.data.manifest import COLUMNS, Clip, iterate_manifests, split_labels
from ssast_recipes.system.tables import read_arrow

if TYPE_CHECKING:
    import pyarrow

TEXT = "text"  # the column of transcripts
_AT_ONCE = 1 << 16  # strings that are made Python's while all are looped over


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

    def __init__(self, values: "Iterable[str] | pyarrow.Array" = ()):
        import pyarrow

        is_ready = isinstance(values, pyarrow.Array)
        self._array = values if is_ready else pyarrow.array(values, pyarrow.large_string())

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no string {index} among {len(self)}")
        return self._array[index].as_py()

    def __iter__(self) -> Iterator[str]:
        for begin in range(0, len(self), _AT_ONCE):
            yield from self._array[begin : begin + _AT_ONCE].to_pylist()

    @property
    def nbytes(self) -> int:
        """How much memory they take."""
        return self._array.nbytes


class ClipTable(Sequence[Clip]):
    """Clips in columns, without what their manifests know beyond the common columns and `text`.

    About 90 bytes a clip with IDs and file names of 20 letters: the columns are Arrow's, for pandas
    would hold whole paths. In no column is a Python object that workers would touch.

    Arguments
    ---------
    clips : iterable of Clip, or pyarrow.Table
        The rows; a table has the columns of a manifest.

    Example
    -------
    >>> clips = ClipTable([Clip("a", "/sounds/a.wav", 0.0, 5.0, 44100, ("dog",))])
    >>> clips[0].path, clips.ids[0], clips.labels(0)
    ('/sounds/a.wav', 'a', ('dog',))
    """

    def __init__(self, clips: "Iterable[Clip] | pyarrow.Table"):
        import pyarrow
        from pyarrow import compute

        table = clips if isinstance(clips, pyarrow.Table) else _as_table(clips)
        columns = {name: table[name].combine_chunks() for name in COLUMNS}
        parts = compute.split_pattern(columns["path"], "/", max_splits=1, reverse=True)
        folders = compute.list_element(parts, 0).dictionary_encode()
        labels = columns["labels"].dictionary_encode()
        self.ids = Strings(columns["ID"])
        self._names = Strings(compute.list_element(parts, 1))
        self._folders = Strings(_join(folders.dictionary, "", "/"))
        self._folder = folders.indices.to_numpy()
        self._label_sets, self._labels = Strings(labels.dictionary), labels.indices.to_numpy()
        self._starts, self._durations = (columns[k].to_numpy() for k in ("start", "duration"))
        self._rates = columns["sample_rate"].to_numpy()
        has_texts = TEXT in table.column_names
        self.texts = Strings(table[TEXT].combine_chunks()) if has_texts else None

    @classmethod
    def read(cls, manifests: Sequence[str | os.PathLike]) -> Self:
        """Reads the clips of one or several manifests.

        As `iterate_manifests`, but by columns, two million in seconds. Whatever might be wrong, or
        is written unusually, is read once more clip by clip: so there is one home of what a clip
        has to be, and one of what is said of those that are not so.

        Arguments
        ---------
        manifests : sequence of paths
            The CSV files.

        Raises
        ------
        ValueError
            As `iterate_manifests`.

        Example
        -------
        >>> from ssast_recipes.data.manifest import write_manifest
        >>> path = getfixture("tmp_path") / "train.csv"
        >>> write_manifest(path, [Clip("a", "/a.wav", 0.0, 5.0, 44100, ("dog", "rain"))])
        >>> ClipTable.read([path]).labels(0)
        ('dog', 'rain')
        """
        import pyarrow

        types = {"start": pyarrow.float64(), "duration": pyarrow.float64()}
        try:
            tables = [read_arrow(path, COLUMNS, types) for path in manifests]
            doubtful = not tables or any(map(_is_doubtful, tables))
        except ValueError:
            doubtful = True
        if not doubtful:
            has_texts = all(TEXT in table.column_names for table in tables)
            wanted = (*COLUMNS, TEXT) if has_texts else COLUMNS
            table = pyarrow.concat_tables([table.select(wanted) for table in tables])
            place = COLUMNS.index("sample_rate")
            rates = table["sample_rate"].cast(pyarrow.int32())
            table = table.set_column(place, "sample_rate", rates)
            del tables
            if len(table["ID"].combine_chunks().unique()) == len(table):
                made = cls(table)
                del table
                pyarrow.default_memory_pool().release_unused()
                return made
        return cls(iterate_manifests(manifests))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Clip:
        index = range(len(self))[index]
        return Clip(
            id=self.ids[index],
            path=self._folders[int(self._folder[index])] + self._names[index],
            start=float(self._starts[index]),
            duration=float(self._durations[index]),
            sample_rate=int(self._rates[index]),
            labels=self.labels(index),
            extra={} if self.texts is None else {TEXT: self.texts[index]},
        )

    def labels(self, index: int) -> tuple[str, ...]:
        """Returns the labels of a clip."""
        return split_labels(self._label_sets[int(self._labels[index])])

    @property
    def all_labels(self) -> list[tuple[str, ...]]:
        """The labels of every clip, in order; clips of the same labels share them."""
        label_sets = list(map(split_labels, self._label_sets))
        return [label_sets[number] for number in self._labels.tolist()]

    @property
    def durations(self) -> Tensor:
        """The clips' lengths in seconds, [clips] float64."""
        return torch.tensor(self._durations, dtype=torch.float64)

    @property
    def shards(self) -> Tensor | None:
        """The number of each clip's shard, -1 for a file of its own; None if there are no shards.

        [clips], int64.
        """
        import pyarrow
        from pyarrow import compute

        is_member = compute.match_substring_regex(self._names._array, r".\.tar:\d+:\d+$")
        if not compute.any(is_member).as_py():
            return None
        folders = self._folders._array.take(pyarrow.array(self._folder))
        names = compute.replace_substring_regex(self._names._array, r":\d+:\d+$", "")
        shards = _join(folders, names, "")
        shards = compute.if_else(is_member, shards, None).dictionary_encode()
        return torch.from_numpy(shards.indices.fill_null(-1).to_numpy().astype("int64"))

    @property
    def nbytes(self) -> int:
        """How much memory the clips take."""
        return sum(column.nbytes for column in vars(self).values() if column is not None)


def _as_table(clips: Iterable[Clip]) -> "pyarrow.Table":
    import pyarrow

    rows = [
        (c.id, c.path, c.start, c.duration, c.sample_rate, ";".join(c.labels), c.extra.get(TEXT))
        for c in clips
    ]
    text, number = pyarrow.large_string(), pyarrow.float64()
    types = (text, text, number, number, pyarrow.int32(), text, text)
    columns = zip(*rows, strict=True) if rows else [()] * (len(COLUMNS) + 1)
    arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    table = pyarrow.table(arrays, [*COLUMNS, TEXT])
    return table if rows and not table[TEXT].null_count else table.select(COLUMNS)


def _join(*texts: "pyarrow.Array | str") -> "pyarrow.Array":
    """Strings side by side; the last one stands between the others."""
    import pyarrow
    from pyarrow import compute

    kind = pyarrow.large_string()
    return compute.binary_join_element_wise(
        *(pyarrow.scalar(text, kind) if isinstance(text, str) else text for text in texts)
    )


def _is_doubtful(table: "pyarrow.Table") -> bool:
    """Whether `Clip` might refuse a row: yes of all that it refuses, and hardly of others."""
    from pyarrow import compute

    if not len(table):
        return False
    texts = [name for name in table.column_names if name not in ("ID", *COLUMNS[2:])]
    label_sets = table["labels"].unique().to_pylist()
    labels = {label for text in label_sets for label in split_labels(text)}
    starts, durations = (table[name].to_numpy() for name in COLUMNS[2:4])
    # Text, because Arrow takes 0x10 for a number.
    are_rates = compute.match_substring_regex(table["sample_rate"], "^[1-9][0-9]{0,8}$")
    try:
        Clip("a", "/a", 0.0, 1.0, 1, tuple(labels))
    except ValueError:
        return True
    return (
        not compute.all(compute.starts_with(table["path"], "/")).as_py()
        or any(compute.any(compute.match_substring(table[name], "$")).as_py() for name in texts)
        or compute.any(compute.equal(table["ID"], "")).as_py()
        or not compute.all(are_rates).as_py()
        or not ((starts >= 0) & (durations > 0) & (durations < float("inf"))).all()
    )
