"""Prepares Speech Commands: version 2 with its 35 words, or version 1 as SUPERB's keyword spotting.

The corpora (Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018)
are folders of one word each, with clips of at most a second. Version 2 is split by its own lists.
Of version 1, SUPERB's task (Yang et al., 2021) takes ten words, `_unknown_` and `_silence_`, splits
by speakers, and tests on an archive of its own.
"""

import os
from collections.abc import Collection
from pathlib import Path

from keyword_spotting import CLASSES, KEYWORDS, NOISE, keyword_entries

from ssast_recipes.data.preparation.archives import Archive, fetch
from ssast_recipes.data.preparation.counts import Published
from ssast_recipes.data.preparation.listing import audio_files
from ssast_recipes.data.preparation.manifests import Entry, prepare_manifests

URL = "http://download.tensorflow.org/data"
V1, V1_TEST, V2 = "speech_commands_v0.01", "speech_commands_test_set_v0.01", "speech_commands_v0.02"
# Sizes and checksums as Hugging Face's `datasets` (superb, ks) and TensorFlow Datasets state them.
ARCHIVES = {
    "v1": [
        Archive(
            f"{URL}/{V1}.tar.gz",
            V1,
            size=1_489_096_277,
            sha256="743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
        ),
        Archive(
            f"{URL}/{V1_TEST}.tar.gz",
            V1_TEST,
            size=71_271_436,
            sha256="baa084f6b62c91de660ff0588ae4dfc4e4d534aa99ac0e5f406cba75836cbd00",
        ),
    ],
    "v2": [
        Archive(
            f"{URL}/{V2}.tar.gz",
            V2,
            size=2_428_923_189,
            sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        ),
    ],
}

OTHER_WORDS = (
    "bed bird cat dog eight five four happy house marvin nine one seven sheila six three tree two "
    "wow zero"
).split()
V1_WORDS = [*KEYWORDS, *OTHER_WORDS]
V2_WORDS = [*V1_WORDS, *"backward follow forward learn visual".split()]
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}

# 64,727 files of which six are noise and 6,798 + 6,835 are listed; those six count in both splits.
PUBLISHED_V1 = Published(
    "Speech Commands V1, 12 classes", {"train": 51_094, "valid_drawn": 6_804, "test": 3_081}, 12
)
PUBLISHED_V2 = {"train": 84_843, "valid": 9_981, "test": 11_005}


def prepare_speechcommands(
    data_folder: str | os.PathLike,
    manifest_folder: str | os.PathLike,
    version: str,
    download: bool = False,
    max_rejected: float = 0.01,
) -> str:
    """Writes ``train.csv``, ``test.csv`` and manifests for validation to the manifest folder.

    Of version 2, ``valid.csv``. Of version 1, ``valid_fixed.csv`` has every validation clip once,
    and as silence the seconds of the noise files one after the other; ``valid_drawn.csv``, as
    SUPERB's, as many clips drawn with replacement, all classes alike, and random seconds of the
    noise files. It is drawn once: validations, runs and seeds can be compared.

    Beside them lie ``classes.txt``, ``rejected.csv`` and ``prepared.json``. A second call with the
    same data and options does nothing. The data folder is only read, but for a download.

    Arguments
    ---------
    data_folder : str or path
        Holds the archives' contents in folders of the archives' names: ``speech_commands_v0.02``,
        or ``speech_commands_v0.01`` and ``speech_commands_test_set_v0.01``; or is the first.
    manifest_folder : str or path
        Where manifests are written.
    version : str
        "v1" or "v2".
    download : bool
        Whether to download what is missing.
    max_rejected : float
        The share of unusable files up to which preparation goes on without them.

    Returns
    -------
    str
        The corpus' name, "Speech Commands V2" only if all its words are there.

    Raises
    ------
    ValueError
        If there is no such version, the corpus is not as published in its layout, or too many
        files are unusable.
    FileNotFoundError
        If the corpus is not there.

    Example
    -------
    >>> from ssast_recipes.data.synthetic import make_speechcommands
    >>> folder = getfixture("tmp_path")
    >>> corpus = make_speechcommands(folder / "data", "v2", ["yes", "no"], duration=0.1)
    >>> prepare_speechcommands(corpus, folder / "manifests", "v2")
    '2 words in the layout of Speech Commands V2'
    """
    if version not in ARCHIVES:
        raise ValueError(f"version: Speech Commands has v1 and v2, not {version!r}")
    data_folder, archives = Path(data_folder).absolute(), ARCHIVES[version]
    name = archives[0].folder
    corpus = data_folder / name
    if not corpus.exists() and _is_corpus(data_folder):
        corpus = data_folder
    if download:
        there = [name] if _is_corpus(corpus) else []
        fetch([a for a in archives if a.folder not in there], corpus.parent)
    if not _is_corpus(corpus):
        raise FileNotFoundError(
            f"data_folder {data_folder} does not hold Speech Commands {version}: expected {name}/ "
            f"with {' and '.join(LISTS.values())}; --download True fetches it if there is no such "
            f"folder, or unpack {archives[0].url}"
        )
    if version == "v1":
        published, classes = PUBLISHED_V1, CLASSES
        entries = _v1_entries(corpus)
    else:
        entries = _v2_entries(corpus)
        classes = sorted({entry.labels[0] for listed in entries.values() for entry in listed})
        published = _published_v2(len(classes))
    prepare_manifests(manifest_folder, entries, published, classes, max_rejected=max_rejected)
    return published.name


def _is_corpus(folder: Path) -> bool:
    return all((folder / name).is_file() for name in LISTS.values())


def _published_v2(num_words: int) -> Published:
    """What to compare with: of other words than all, nothing is published."""
    if num_words == len(V2_WORDS):
        return Published("Speech Commands V2, 35 words", PUBLISHED_V2, len(V2_WORDS))
    return Published(f"{num_words} words in the layout of Speech Commands V2", {}, len(V2_WORDS))


def _v1_entries(corpus: Path) -> dict[str, list[Entry]]:
    test_set = corpus.with_name(V1_TEST)
    if not test_set.is_dir():
        raise FileNotFoundError(
            f"{test_set} is missing, the test set of version 1; --download True fetches it, or "
            f"unpack {ARCHIVES['v1'][1].url}"
        )
    clips, split_of = _read(corpus, V1, V1_WORDS)
    if not any(clip.startswith(f"{V1}/{NOISE}/") for clip in clips):
        raise FileNotFoundError(f"{corpus / NOISE} holds no audio, which is the class _silence_")
    return keyword_entries(clips, split_of, _clips(test_set, V1_TEST, CLASSES))


def _v2_entries(corpus: Path) -> dict[str, list[Entry]]:
    clips, split_of = _read(corpus, V2, V2_WORDS)
    entries: dict[str, list[Entry]] = {"train": [], "valid": [], "test": []}
    for clip, path in clips.items():
        word = clip.split("/")[1]
        if word != NOISE:
            entries[split_of.get(clip, "train")].append(Entry(clip, path, (word,)))
    return entries


def _read(corpus: Path, name: str, words: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Paths of all clips and splits of the listed ones, by clip as `name/yes/0a7c2a8d_nohash_0`.

    A listed clip that is not there has a path all the same, and is rejected for it later.
    """
    clips, split_of = _clips(corpus, name, [*words, NOISE]), {}
    for split, file in LISTS.items():
        for number, line in enumerate((corpus / file).read_text("utf-8").splitlines(), start=1):
            word, slash, clip = os.path.splitext(line.strip())[0].partition("/")
            if not (word or slash or clip):
                continue
            where = f"{corpus / file}, line {number}: {line!r}"
            if word not in words or not clip or "/" in clip:
                raise ValueError(f"{where} is not <word>/<file> with a word of {name}")
            clip = f"{name}/{word}/{clip}"
            if split_of.setdefault(clip, split) != split:
                raise ValueError(f"{where} is in {LISTS[split_of[clip]]}, too; take it off one")
            clips.setdefault(clip, str(corpus / line.strip()))
    return clips, split_of


def _clips(corpus: Path, name: str, folders: Collection[str]) -> dict[str, str]:
    """Paths of the audio files in a corpus' folders."""
    clips: dict[str, str] = {}
    start = len(os.path.join(corpus, ""))
    for path in audio_files(corpus, look_inside=False):
        folder, _, file = path[start:].rpartition(os.sep)
        if folder not in folders:
            raise ValueError(
                f"{path} lies in none of the folders that {name} has, such as {KEYWORDS[0]}/; move "
                "it away"
            )
        clip = f"{name}/{folder}/{os.path.splitext(file)[0]}"
        if clips.setdefault(clip, path) != path:
            raise ValueError(f"{clips[clip]} and {path} are the same clip; remove one")
    return clips
