"""SUPERB's keyword spotting on version 1 of Speech Commands: ten words, unknown ones, silence.

Clips are split by their speakers, as the corpus' own lists are. All other words are kept as
`_unknown_`; `_silence_` is the six files of noise, in training and in validation; what the lists
hold back for testing is left out, since the test set is an archive of its own (Yang et al., SUPERB,
Interspeech 2021).
"""

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import attrgetter

from ssast_recipes.data.headers import audio_info
from ssast_recipes.data.preparation.manifests import Entry

KEYWORDS = "yes no up down left right on off stop go".split()
UNKNOWN, SILENCE, NOISE = "_unknown_", "_silence_", "_background_noise_"
CLASSES = [*KEYWORDS, UNKNOWN, SILENCE]
DRAW_SEED = 1  # not the run's: runs of all seeds choose their best by the same clips


def keyword_entries(
    clips: Mapping[str, str], split_of: Mapping[str, str], test_clips: Mapping[str, str]
) -> dict[str, list[Entry]]:
    """Makes the task's splits: "train", "valid_fixed", "valid_drawn" and "test".

    Arguments
    ---------
    clips : mapping of str to str
        Paths by clip, as ``speech_commands_v0.01/yes/0a7c2a8d_nohash_0``; noise included.
    split_of : mapping of str to str
        "valid" or "test" by clip, as the lists of the corpus say, to compare with.
    test_clips : mapping of str to str
        Those of the test set, whose folders are the classes.

    Returns
    -------
    dict of str to list of Entry
        By split; labelled.

    Raises
    ------
    ValueError
        If the lists do not split by speakers, or a file of noise cannot be read.

    Example
    -------
    >>> clips = {"v1/yes/0a7c2a8d_nohash_0": "/a.wav", "v1/bed/026290a7_nohash_0": "/b.wav"}
    >>> split_of = {"v1/bed/026290a7_nohash_0": "valid"}
    >>> entries = keyword_entries(clips, split_of, {"t/no/1": "/c.wav"})
    >>> {split: [entry.labels[0] for entry in listed] for split, listed in entries.items()}
    {'train': ['yes'], 'valid_fixed': ['_unknown_'], 'valid_drawn': ['_unknown_'], 'test': ['no']}
    """
    words: dict[str, list[Entry]] = {"train": [], "valid": [], "test": []}
    noises = []
    for clip, path in clips.items():
        _, word, name = clip.split("/")
        if word == NOISE:
            noises.append(Entry(clip, path, (SILENCE,)))
            continue
        split, listed = speaker_split(name), split_of.get(clip, "train")
        if split != listed:
            raise ValueError(
                f"{path} is in the split {split} by its speaker, but in {listed} by the corpus' "
                "lists; unpack the corpus anew"
            )
        words[split].append(Entry(clip, path, (word if word in KEYWORDS else UNKNOWN,)))
    tests = [Entry(clip, path, (clip.split("/")[1],)) for clip, path in test_clips.items()]
    return {
        "train": words["train"] + noises,
        "valid_fixed": words["valid"] + _fixed_seconds(noises),
        "valid_drawn": draw_balanced(words["valid"] + noises, DRAW_SEED),
        "test": tests,
    }


def speaker_split(name: str) -> str:
    """Tells the split of a clip, which is that of its speaker, by the corpus' own formula.

    Arguments
    ---------
    name : str
        The file's name; the speaker is what comes before ``_nohash_``.

    Returns
    -------
    str
        "train"; "valid", for about a tenth; or "test", for another.

    Example
    -------
    >>> [speaker_split(f"{speaker}_nohash_0.wav") for speaker in ("0a7c2a8d", "0c40e715")]
    ['train', 'test']
    """
    speaker = name.partition("_nohash_")[0]
    number = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % 2**27
    percent = number * (100 / (2**27 - 1))
    return "valid" if percent < 10 else "test" if percent < 20 else "train"


def draw_balanced(entries: Sequence[Entry], seed: int) -> list[Entry]:
    """Draws clips with replacement, each class as often as every other; of noise a random second.

    Arguments
    ---------
    entries : sequence of Entry
        Clips of one label each; those of `_silence_` are files of noise.
    seed : int
        What the draw is a function of.

    Returns
    -------
    list of Entry
        As many, the number of the draw in their IDs.

    Example
    -------
    >>> entries = [Entry("a", "/a.wav", ("yes",)), Entry("b", "/b.wav", ("no",))]
    >>> [entry.id for entry in draw_balanced(entries, seed=1)]
    ['a/draw0', 'b/draw1']
    """
    # By ID, so that the draw does not depend on which files were found first.
    entries = sorted(entries, key=attrgetter("id"))
    counts = Counter(entry.labels for entry in entries)
    generator = random.Random(seed)
    weights = [1 / counts[entry.labels] for entry in entries]
    seconds = {entry.path: _seconds(entry) for entry in entries if entry.labels == (SILENCE,)}
    drawn = []
    for number, entry in enumerate(generator.choices(entries, weights, k=len(entries))):
        entry = entry._replace(id=f"{entry.id}/draw{number}")
        if entry.path in seconds:
            start = generator.uniform(0, max(0.0, seconds[entry.path] - 1))
            entry = entry._replace(start=start, duration=1.0)
        drawn.append(entry)
    return drawn


def _fixed_seconds(noises: Sequence[Entry]) -> list[Entry]:
    """The whole seconds of files of noise, one after the other."""
    return [
        entry._replace(id=f"{entry.id}/{start}", start=float(start), duration=1.0)
        for entry in noises
        for start in range(max(1, int(_seconds(entry))))
    ]


def _seconds(entry: Entry) -> float:
    return audio_info(entry.path).duration
