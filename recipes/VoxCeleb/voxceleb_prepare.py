"""Prepares VoxCeleb1 for speaker identification: matches its split list with the audio there is.

The corpus (Nagrani, Chung and Zisserman, "VoxCeleb: a large-scale speaker identification dataset",
Interspeech 2017) is 153,516 utterances of 1,251 speakers, cut from interviews on YouTube. For
identification every speaker is in training, validation and test set, with other videos in each.
"""

import logging
import os
import re
from pathlib import Path

from ssast_recipes.data.preparation.counts import Published
from ssast_recipes.data.preparation.listing import audio_files
from ssast_recipes.data.preparation.manifests import Entry, prepare_manifests

logger = logging.getLogger(__name__)

SPLIT_LISTS = ("iden_split.txt", "veri_test_class.txt")  # one list, under two names
URL = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/"
LIST_URL = f"{URL}meta/iden_split.txt"
SPLITS = {"1": "train", "2": "valid", "3": "test"}
LINE = re.compile(r"([123])\s+(id\d{5}/[^/]+/[^/]+)\.wav")
PUBLISHED = Published(
    "VoxCeleb1", {"train": 138_361, "valid": 6_904, "test": 8_251}, num_classes=1251
)


def prepare_voxceleb(
    data_folder: str | os.PathLike,
    manifest_folder: str | os.PathLike,
    split_list: str | os.PathLike | None = None,
    max_rejected: float = 0.01,
) -> str:
    """Writes ``train.csv``, ``valid.csv``, ``test.csv`` and ``classes.txt`` to a folder.

    Classes are the speakers on the list, in the order of their numbers: of the whole list, the
    index is the number less 10001. It does not shift if somebody's audio is missing. Utterances
    that are listed and not there go to ``rejected.csv`` like files that cannot be read. A second
    call with the same data and options does nothing. The data folder is only read.

    Arguments
    ---------
    data_folder : str or path
        Holds ``…/idXXXXX/<video>/<utterance>.wav`` at any depth: below ``wav``, or below
        ``dev/wav`` and ``test/wav``. Other extensions will do if somebody converted the audio.
    manifest_folder : str or path
        Where manifests are written.
    split_list : str or path, optional
        The list for identification. By default ``iden_split.txt`` or ``veri_test_class.txt`` in the
        data folder.
    max_rejected : float
        The share of missing or unusable files up to which preparation goes on without them.

    Returns
    -------
    str
        The corpus' name.

    Raises
    ------
    ValueError
        If the list is wrong, an utterance lies in two places, or too many are unusable.
    FileNotFoundError
        If the list or all audio is not there.

    Example
    -------
    >>> from ssast_recipes.data.manifest import read_manifest
    >>> from ssast_recipes.data.synthetic import make_voxceleb
    >>> folder = getfixture("tmp_path")
    >>> corpus = make_voxceleb(folder / "corpus", num_speakers=2, durations=(0.1, 0.1))
    >>> prepare_voxceleb(corpus, folder / "manifests")
    'VoxCeleb1'
    >>> [clip.labels for clip in read_manifest(folder / "manifests" / "valid.csv")]
    [('id10001',), ('id10002',)]
    """
    corpus = Path(data_folder).absolute()
    if not corpus.is_dir():
        raise FileNotFoundError(f"data_folder {corpus} does not exist; ask for VoxCeleb1 at {URL}")
    split_of = _read_list(_find_list(corpus, split_list))
    audio = _find_audio(corpus)
    entries: dict[str, list[Entry]] = {split: [] for split in SPLITS.values()}
    for name, split in split_of.items():
        # What is not there is named as it would be, for rejected.csv.
        path = audio.get(name) or str(corpus / "wav" / f"{name}.wav")
        entries[split].append(Entry(name, path, (name.partition("/")[0],)))
    speakers = sorted({name.partition("/")[0] for name in split_of})
    prepare_manifests(manifest_folder, entries, PUBLISHED, speakers, max_rejected=max_rejected)
    return PUBLISHED.name


def _find_list(corpus: Path, split_list: str | os.PathLike | None) -> Path:
    candidates = [corpus / name for name in SPLIT_LISTS]
    if split_list is not None:
        candidates = [Path(split_list)]
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{' or '.join(map(str, candidates))} is missing: put VoxCeleb1's list for identification "
        f"there, from {LIST_URL}, or give its place as --split_list"
    )


def _read_list(path: Path) -> dict[str, str]:
    """The split of every utterance, ``idXXXXX/<video>/<utterance>``."""
    split_of: dict[str, str] = {}
    repeated = 0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found = LINE.fullmatch(line.strip())
        if found is None:
            raise ValueError(
                f"{path}, line {number}: expected <1|2|3> idXXXXX/<video>/<utterance>.wav, not "
                f"{line!r}; take the list from {LIST_URL}"
            )
        split, name = SPLITS[found[1]], found[2]
        repeated += name in split_of
        if split_of.setdefault(name, split) != split:
            raise ValueError(
                f"{path}, line {number}: {name}.wav is for {split} here, for {split_of[name]} "
                f"above; take the list from {LIST_URL}"
            )
    if repeated:
        logger.warning("%s lists %d utterances again, which count once", path, repeated)
    return split_of


def _find_audio(corpus: Path) -> dict[str, str]:
    """The path of every ``idXXXXX/<video>/<utterance>``."""
    audio: dict[str, str] = {}
    for path in audio_files(corpus, look_inside=False):
        name = "/".join(path.rpartition(".")[0].split(os.sep)[-3:])
        if audio.setdefault(name, path) != path:
            raise ValueError(
                f"the utterance {name} is there twice, as {audio[name]} and {path}; take one away"
            )
    if not any(re.match(r"id\d{5}/", name) for name in audio):
        raise FileNotFoundError(
            f"data_folder {corpus} is not VoxCeleb1: expected …/idXXXXX/<video>/<utterance>.wav in "
            "it, below wav/, or below dev/wav/ and test/wav/"
        )
    return audio
