"""Prepares IEMOCAP for emotion recognition: four emotions, five folds by session.

The corpus (Busso et al., "IEMOCAP: Interactive emotional dyadic motion capture database", Language
Resources and Evaluation 42, 2008) is 12 hours of dialogs, improvised and scripted, of ten speakers
in five sessions, a woman and a man each. As in SUPERB (Yang et al., Interspeech 2021), 5,531
utterances are used: neutral, happy or excited, angry, sad. A fold tests one session.
"""

import logging
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ssast_recipes.data.preparation.counts import Published
from ssast_recipes.data.preparation.listing import audio_files
from ssast_recipes.data.preparation.manifests import Entry, prepare_manifests

logger = logging.getLogger(__name__)

RELEASE = "IEMOCAP_full_release"
REQUEST_URL = "https://sail.usc.edu/iemocap/"
SESSIONS = (1, 2, 3, 4, 5)
CLASSES = ("neutral", "happy", "angry", "sad")
# Frustrated, surprised, fearful, disgusted, other and undecided (xxx) are left out.
CLASS_OF = {"neu": "neutral", "hap": "happy", "exc": "happy", "ang": "angry", "sad": "sad"}
TRAIN_SHARE = 0.8
# By the session that is tested: utterances for training and validation together, and for testing.
PUBLISHED = {1: (4446, 1085), 2: (4508, 1023), 3: (4380, 1151), 4: (4500, 1031), 5: (4290, 1241)}
LINE = re.compile(r"\[[^\]]*\]\s+(\S+)\s+(\S+)\s+\[")


def prepare_iemocap(
    data_folder: str | os.PathLike,
    manifest_folder: str | os.PathLike,
    test_fold: int,
    split_seed: int = 0,
    max_rejected: float = 0.01,
) -> str:
    """Writes ``train.csv``, ``valid.csv``, ``test.csv`` and ``classes.txt`` to a fold's folder.

    Fold k, in ``fold<k>``, tests session k. Of the other four sessions, 80 % of the utterances are
    for training and 20 % for validation, drawn by utterance, as in SUPERB: validation knows the
    speakers and dialogs of training, the test session does not. What is drawn depends on the seed
    and the utterances' names, not on the order of files. Utterances that are labelled and not there
    go to ``rejected.csv`` like files that cannot be read. A second call with the same data and
    options does nothing. The data folder is only read.

    Arguments
    ---------
    data_folder : str or path
        Holds ``Session1`` to ``Session5``, or ``IEMOCAP_full_release`` which does.
    manifest_folder : str or path
        Where the folds' manifests are written.
    test_fold : int
        The session to test on, 1 to 5.
    split_seed : int
        From which training and validation utterances are drawn.
    max_rejected : float
        The share of missing or unusable files up to which preparation goes on without them.

    Returns
    -------
    str
        The corpus' name.

    Raises
    ------
    ValueError
        If there is no such fold, labels are wrong, or too many files are unusable.
    FileNotFoundError
        If the corpus or a session of it is not there.

    Example
    -------
    >>> from ssast_recipes.data.manifest import read_manifest
    >>> from ssast_recipes.data.synthetic import make_iemocap
    >>> folder = getfixture("tmp_path")
    >>> corpus = make_iemocap(folder, durations=(0.1, 0.2))
    >>> prepare_iemocap(corpus, folder / "manifests", test_fold=1)
    'IEMOCAP'
    >>> splits = [folder / f"manifests/fold1/{split}.csv" for split in ("train", "valid", "test")]
    >>> [len(read_manifest(split)) for split in splits]
    [32, 8, 10]
    """
    if test_fold not in SESSIONS:
        raise ValueError(f"test_fold: IEMOCAP has no session {test_fold!r}; choose from 1 to 5")
    corpus = _find_corpus(Path(data_folder).absolute())
    others: Counter[str] = Counter()
    by_session = {session: _utterances(corpus, session, others) for session in SESSIONS}
    test = by_session.pop(test_fold)
    known = [entry for entries in by_session.values() for entry in entries]
    known.sort(key=lambda entry: random.Random(f"{split_seed} {entry.id}").random())
    num_train = _num_train(len(known))
    entries = {"train": known[:num_train], "valid": known[num_train:], "test": test}
    folder = Path(manifest_folder) / f"fold{test_fold}"
    published = _published(test_fold)
    if prepare_manifests(folder, entries, published, CLASSES, max_rejected=max_rejected):
        logger.info(
            "Left out, of other emotions: %s",
            ", ".join(f"{count:,} {emotion}" for emotion, count in others.most_common()) or "none",
        )
    return published.name


def _find_corpus(data_folder: Path) -> Path:
    for corpus in (data_folder, data_folder / RELEASE):
        missing = [f"Session{k}" for k in SESSIONS if not (corpus / f"Session{k}").is_dir()]
        if not missing:
            return corpus
        if len(missing) < len(SESSIONS):
            raise FileNotFoundError(f"{corpus}: {', '.join(missing)} of IEMOCAP is missing")
    what = "is not IEMOCAP" if data_folder.exists() else "does not exist"
    raise FileNotFoundError(
        f"data_folder {data_folder} {what}: expected Session1 to Session5 in it or in its "
        f"{RELEASE}/; ask for the corpus at {REQUEST_URL}"
    )


def _utterances(corpus: Path, session: int, others: Counter[str]) -> list[Entry]:
    """The session's utterances of the four emotions; counts the others by emotion."""
    audio_folder = corpus / f"Session{session}" / "sentences" / "wav"
    label_folder = corpus / f"Session{session}" / "dialog" / "EmoEvaluation"
    for folder in (audio_folder, label_folder):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is missing: IEMOCAP is not there as a whole")
    audio: dict[str, str] = {}
    for path in audio_files(audio_folder, look_inside=False):
        if audio.setdefault(Path(path).stem.lower(), path) is not path:
            other = audio[Path(path).stem.lower()]
            raise ValueError(f"{path} and {other} are the same utterance; keep one")
    # Folders beside them hold what single annotators said; the release has ._x files of macOS.
    dialogs = sorted(p for p in label_folder.glob("*.txt") if not p.name.startswith("."))
    entries, seen = [], set()
    for dialog in dialogs:
        for where, name, emotion in _labels(dialog):
            if name in seen:
                raise ValueError(f"{where}: the utterance {name} is labelled twice; keep one")
            seen.add(name)
            if emotion not in CLASS_OF:
                others[emotion] += 1
                continue
            # What is not there is named as it would be, for rejected.csv.
            path = audio.get(name.lower()) or str(audio_folder / dialog.stem / f"{name}.wav")
            extra = {"session": str(session), "emotion": emotion}  # hap and exc are one class
            entries.append(Entry(name, path, (CLASS_OF[emotion],), extra=extra))
    if not entries:
        raise ValueError(f"{label_folder}: no utterance is labelled as one of {', '.join(CLASSES)}")
    return entries


def _labels(dialog: Path) -> Iterator[tuple[str, str, str]]:
    """Place in words, utterance and emotion, of every utterance of a dialog."""
    lines = dialog.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.startswith("["):  # an annotator's vote or rating, or the heading
            continue
        where = f"{dialog}, line {number}"
        found = LINE.match(line)
        if found is None:
            raise ValueError(
                f"{where}: expected [start - end] utterance emotion [ratings], not {line!r}"
            )
        yield where, found[1], found[2].lower()


def _num_train(num_utterances: int) -> int:
    return int(TRAIN_SHARE * num_utterances)


def _published(test_fold: int) -> Published:
    known, test = PUBLISHED[test_fold]
    train = _num_train(known)
    return Published(
        "IEMOCAP", {"train": train, "valid": known - train, "test": test}, num_classes=len(CLASSES)
    )
