"""The files of a command line that uses a model: found, and the failed among them told."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

from ssast_recipes.data.preparation.listing import audio_files
from ssast_recipes.system.errors import explain
from ssast_recipes.system.machine import num_cores
from ssast_recipes.system.words import shown

Result = TypeVar("Result")


def find_files(given: Sequence[str]) -> list[str]:
    """Lists the files that a command line names: of a folder, the audio files in it and below.

    Arguments
    ---------
    given : sequence of str
        Files and folders. That a file is there is not checked.

    Returns
    -------
    list of str
        Paths that begin as they were given.

    Raises
    ------
    ValueError
        If no audio file is in a folder.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("b.wav", "a.flac", "notes.txt"):
    ...     (folder / name).touch()
    >>> [os.path.basename(path) for path in find_files([str(folder), "c.wav"])]
    ['a.flac', 'b.wav', 'c.wav']
    """
    found = []
    for path in given:
        if not os.path.isdir(path):
            found.append(path)
            continue
        inside = audio_files(path)
        if not inside:
            raise ValueError(f"{path}: there is no audio file in this folder")
        top = os.path.abspath(path)
        found += [os.path.join(path, os.path.relpath(one, top)) for one in inside]
    return found


def choose_workers(asked: int | None) -> int:
    """How many threads read files: as a command line says it, or one a core, at most eight.

    Example
    -------
    >>> choose_workers(3), choose_workers(-1), 1 <= choose_workers(None) <= 8
    (3, 0, True)
    """
    return min(8, num_cores()) if asked is None else max(0, asked)


class Failures:
    """Files that cannot be used: each is named at once, all of them again at the end.

    Arguments
    ---------
    total : int
        How many files there are.

    Example
    -------
    >>> failures = Failures(total=2)
    >>> results = iter([0.5, ValueError("b.wav is an empty file")])
    >>> list(failures.leave_out(["a.wav", "b.wav"], results))
    [('a.wav', 0.5)]
    >>> failures.finish()
    1
    """

    def __init__(self, total: int):
        self.total = total
        self.found: list[tuple[str, str]] = []  # paths and reasons

    def leave_out(
        self, paths: Iterable[str], results: Iterable[Result | Exception]
    ) -> Iterator[tuple[str, Result]]:
        """Pairs paths with their results, with a progress bar in a terminal.

        What is an exception is noted, and told on standard error.
        """
        pairs = zip(paths, results, strict=True)
        for path, result in tqdm(pairs, total=self.total, desc="files", disable=None):
            if isinstance(result, Exception):
                self.add(path, result)
            else:
                yield path, result

    def add(self, path: str, error: Exception) -> None:
        """Notes a file, and tells of it."""
        reason = explain(error) or repr(error)
        told = reason if path in reason else f"{path}: {reason}"
        self.found.append((path, told))
        tqdm.write(f"ssast: {shown(told)}; going on", file=sys.stderr)

    def finish(self) -> int:
        """Lists the files that failed on standard error, and returns the exit status."""
        if not self.found:
            return 0
        print(f"ssast: error: {len(self.found)} of {self.total} files failed:", file=sys.stderr)
        for _, reason in self.found:
            print(f"  {shown(reason)}", file=sys.stderr)
        return 1
