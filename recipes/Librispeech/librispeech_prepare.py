"""Prepares LibriSpeech: its utterances with their speakers and, for recognition, transcripts.

The corpus (Panayotov, Chen, Povey and Khudanpur, "Librispeech: an ASR corpus based on public domain
audio books", ICASSP 2015) is read English in subsets: 960 hours in three for training, and others,
of other speakers, for development and testing.
"""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from ssast_recipes.data.preparation.archives import Archive, fetch
from ssast_recipes.data.preparation.counts import Published
from ssast_recipes.data.preparation.listing import audio_files
from ssast_recipes.data.preparation.manifests import Entry, prepare_manifests
from ssast_recipes.data.text import normalise_text

logger = logging.getLogger(__name__)

NAME = "LibriSpeech"  # also of the folder in the archives
URL = "https://www.openslr.org/resources/12"
UTTERANCE = re.compile(r"(\d+)-(\d+)-\d+")  # speaker, chapter, number
HOLD_OUT_EVERY = 100  # of the utterances, where there is no subset for development


class Subset(NamedTuple):
    """What was published of a subset, its archive included."""

    clips: int
    size: int  # in bytes
    md5: str


TRAIN = {
    "train-clean-100": Subset(28_539, 6_387_309_499, "2a93770f6d5c6c964bc36631d331a522"),
    "train-clean-360": Subset(104_014, 23_049_477_885, "c0e676e450a7ff2f54aeade5171606fa"),
    "train-other-500": Subset(148_688, 30_593_501_606, "d1a0fd59409feb2c614ce4d30c387708"),
}
VALID = {
    "dev-clean": Subset(2_703, 337_926_286, "42e2234ba48799c1f50f24a7926300a1"),
    "dev-other": Subset(2_864, 314_305_928, "c8d0bcc9cca99d4f8b62fcc847357931"),
}
TEST = {
    "test-clean": Subset(2_620, 346_663_984, "32fa31d27d2e1cad72775fee3f4849a9"),
    "test-other": Subset(2_939, 328_757_843, "fb5a50374b501bb3bac4815ee91d3135"),
}


def prepare_librispeech(
    data_folder: str | os.PathLike,
    manifest_folder: str | os.PathLike,
    subsets: Sequence[str] = tuple(TRAIN),
    download: bool = False,
    max_rejected: float = 0.01,
    transcripts: bool = False,
) -> str:
    """Writes a manifest for each subset, ``train.csv`` and ``valid.csv`` to a folder.

    ``train.csv`` is all subsets for training together. ``valid.csv`` is ``dev-clean`` and
    ``dev-other``, as far as they are there; without either it is every hundredth utterance of the
    others, by their IDs, and ``train.csv`` the rest. The manifests of subsets are whole always.
    IDs are LibriSpeech's own, ``<speaker>-<chapter>-<number>``; there are no labels, and a column
    ``speaker``.

    Utterances that a transcript names and for which there is no audio go to ``rejected.csv`` like
    files that cannot be read; transcripts may be missing. With ``transcripts``, every manifest has
    a column ``text``, utterances without one are left out, and ``test-clean`` and ``test-other``
    have manifests, too; one of them has to be there. A second call with the same data and
    options does nothing. The data folder is only read, but for a download.

    Arguments
    ---------
    data_folder : str or path
        Holds the subsets, or ``LibriSpeech`` which does.
    manifest_folder : str or path
        Where manifests are written.
    subsets : sequence of str
        Of ``train-clean-100``, ``train-clean-360`` and ``train-other-500``; all have to be there.
    download : bool
        Whether to download those of ``subsets``, ``dev-clean`` and ``dev-other``, and with
        ``transcripts`` the test sets, that are not there.
    max_rejected : float
        The share of missing or unusable files up to which preparation goes on without them; in
        each subset, of missing transcripts, too.
    transcripts : bool
        Whether to read what is said, for recognition.

    Returns
    -------
    str
        The corpus' name.

    Raises
    ------
    ValueError
        If there is no such subset, one is empty, an utterance lies in two places, too many are
        unusable or without transcript, or what was downloaded is not what was published.
    FileNotFoundError
        If a subset is not there.

    Example
    -------
    >>> from ssast_recipes.data.manifest import read_manifest
    >>> from ssast_recipes.data.synthetic import make_librispeech
    >>> folder = getfixture("tmp_path")
    >>> corpus = make_librispeech(folder, {"train-clean-100": 2, "dev-clean": 1}, (0.1, 0.1))
    >>> prepare_librispeech(corpus, folder / "manifests", ["train-clean-100"])
    'LibriSpeech'
    >>> [len(read_manifest(folder / "manifests" / f"{name}.csv")) for name in ("train", "valid")]
    [8, 4]
    """
    unknown = [subset for subset in subsets if subset not in TRAIN]
    if unknown or not subsets:
        raise ValueError(
            f"subsets: {NAME} has {', '.join(TRAIN)} for training, not {unknown or 'none'}"
        )
    data_folder = Path(data_folder).absolute()
    published = {subset: TRAIN[subset] for subset in TRAIN if subset in subsets} | VALID
    published |= TEST if transcripts else {}
    corpus = _find_corpus(data_folder)
    if download:
        fetch([_archive(subset, published[subset]) for subset in published], corpus)
    absent = [subset for subset in subsets if not (corpus / subset).is_dir()]
    if absent:
        raise FileNotFoundError(
            f"data_folder {data_folder}: {', '.join(absent)} missing in it or in its {NAME}/; "
            f"--download True fetches what is missing, or unpack {URL}/{absent[0]}.tar.gz there; "
            'to train on less, say so: --subsets "[train-clean-100]"'
        )
    if transcripts and not any((corpus / subset).is_dir() for subset in TEST):
        raise FileNotFoundError(
            f"data_folder {data_folder}: neither {' nor '.join(TEST)} is there to test on; "
            f"--download True fetches them, or unpack {URL}/test-clean.tar.gz there"
        )

    most = max_rejected if transcripts else None
    entries = {
        subset: _find_utterances(corpus / subset, most)
        for subset in published
        if (corpus / subset).is_dir()
    }
    train = [entry for subset in TRAIN for entry in entries.get(subset, ())]
    valid = [entry for subset in VALID for entry in entries.get(subset, ())]
    num_clips = {subset: published[subset].clips for subset in published}
    if valid:
        num_clips["train"] = sum(num_clips[subset] for subset in TRAIN if subset in subsets)
        num_clips["valid"] = sum(num_clips[subset] for subset in VALID)
    else:
        logger.warning(
            "%s holds neither dev-clean nor dev-other: every %dth utterance of the subsets for "
            "training is held out instead, of the same speakers",
            corpus,
            HOLD_OUT_EVERY,
        )
        train.sort(key=attrgetter("id"))
        valid = train[::HOLD_OUT_EVERY]
        train = [entry for i, entry in enumerate(train) if i % HOLD_OUT_EVERY]
    prepare_manifests(
        manifest_folder,
        {**entries, "train": train, "valid": valid},
        Published(NAME, num_clips),
        max_rejected=max_rejected,
    )
    return NAME


def _find_corpus(data_folder: Path) -> Path:
    """The folder that holds the subsets, or will once they are downloaded."""
    is_corpus = any((data_folder / subset).is_dir() for subset in TRAIN | VALID | TEST)
    return data_folder if is_corpus else data_folder / NAME


def _archive(subset: str, published: Subset) -> Archive:
    url = f"{URL}/{subset}.tar.gz"
    return Archive(url, subset, published.size, top=f"{NAME}/{subset}", md5=published.md5)


def _find_utterances(subset: Path, most_without_text: float | None = None) -> list[Entry]:
    """The utterances of a subset: those that are there, and those that its transcripts name.

    With transcripts, and without utterances that have none, if a share of these is told.
    """
    paths: dict[str, str] = {}
    others = []
    for path in audio_files(subset, look_inside=False):
        speaker, chapter, file_name = path.split(os.sep)[-3:]
        name = file_name.rpartition(".")[0]
        found = UTTERANCE.fullmatch(name)
        if found is None or found.groups() != (speaker, chapter):
            others.append(path)
        elif paths.setdefault(name, path) != path:
            raise ValueError(
                f"the utterance {name} is there twice, as {paths[name]} and {path}; take one away"
            )
    if others:
        logger.warning(
            "%d audio files of %s left out, they are not <speaker>/<chapter>/"
            "<speaker>-<chapter>-<number>: %s",
            len(others),
            subset,
            ", ".join(others[:3]),
        )
    texts: dict[str, str] = {}
    for transcript in subset.glob("*/*/[0-9]*.trans.txt"):
        for line in transcript.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, text = line.partition(" ")
            if UTTERANCE.fullmatch(name):
                # What is not there is named as it would be, for rejected.csv.
                paths.setdefault(name, str(transcript.with_name(f"{name}.flac")))
                texts[name] = text
    if most_without_text is not None:
        return _with_texts(subset, paths, texts, most_without_text)
    speakers: dict[str, dict[str, str]] = {}  # one dictionary for all utterances of a speaker
    entries = []
    for name, path in paths.items():
        speaker = name.partition("-")[0]
        extra = speakers.setdefault(speaker, {"speaker": speaker})
        entries.append(Entry(name, path, extra=extra))
    return entries


def _with_texts(
    subset: Path, paths: Mapping[str, str], texts: Mapping[str, str], most: float
) -> list[Entry]:
    """The utterances that have a transcript, with it."""
    missing = sorted(paths.keys() - texts.keys())
    told = f"{len(missing)} of {len(paths)} utterances of {subset} have no transcript"
    if len(missing) > most * len(paths):
        raise ValueError(
            f"{told}, as {missing[0]}; unpack the subset anew, or allow it with a max_rejected of "
            f"{len(missing) / len(paths):.2g}"
        )
    if missing:
        logger.warning("%s and are left out: %s", told, ", ".join(missing[:3]))
    return [
        Entry(
            name,
            path,
            extra={"speaker": name.partition("-")[0], "text": normalise_text(texts[name])},
        )
        for name, path in paths.items()
        if name in texts
    ]
