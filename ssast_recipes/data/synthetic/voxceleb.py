"""VoxCeleb1, fabricated."""

import os
import string
from pathlib import Path

import numpy as np
import soundfile

from ssast_recipes.data.synthetic.sounds import FAMILIES, make_sound

FIRST_SPEAKER = 10001
VIDEO_LETTERS = string.ascii_letters + string.digits + "-_"
SPLITS_OF_VIDEOS = (3, 2)  # a speaker's first video is for testing, the second for validation


def make_voxceleb(
    folder: str | os.PathLike,
    num_speakers: int = 4,
    videos_per_speaker: int = 4,
    utterances_per_video: int = 1,
    durations: tuple[float, float] = (4.0, 12.0),
    sample_rate: int = 16000,
    seed: int = 0,
    joined: bool = False,
    list_name: str = "iden_split.txt",
) -> Path:
    """Fabricates a corpus laid out as VoxCeleb1, with its split for identification.

    Audio is ``wav/idXXXXX/<video>/<utterance>.wav``; the list has a line ``<1|2|3>
    idXXXXX/<video>/<utterance>.wav`` for each, 1 for training, 2 for validation, 3 for testing. As
    in VoxCeleb1, every speaker is in all three, and no video in two. A speaker is a family of
    sounds, as `make_sound` makes them, within a band of frequencies.

    Arguments
    ---------
    folder : str or path
        Where the list and the audio are made.
    num_speakers : int
        VoxCeleb1 has 1251, from ``id10001`` on.
    videos_per_speaker : int
        At least 3; all but two are for training.
    utterances_per_video : int
        The last of which is as long as ``durations`` allows.
    durations : tuple of float
        Between which the lengths of utterances are drawn, in seconds.
    sample_rate : int
        In Hz.
    seed : int
        The same seed fabricates the same samples.
    joined : bool
        Whether all speakers are in one ``wav/``; otherwise the last is in ``test/wav/`` and the
        others are in ``dev/wav/``, like the two archives, whose parts are those of verification.
    list_name : str
        Name of the list; ``veri_test_class.txt`` is in use, too.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        If VoxCeleb1 cannot be laid out like that.

    Example
    -------
    >>> folder = make_voxceleb(getfixture("tmp_path"), num_speakers=2, durations=(0.1, 0.1))
    >>> [line.split("/")[0] for line in (folder / "iden_split.txt").read_text().splitlines()]
    ['3 id10001', '2 id10001', '1 id10001', '1 id10001', '3 id10002', ...]
    """
    if not 1 <= num_speakers <= 1251 or videos_per_speaker < 3 or utterances_per_video < 1:
        raise ValueError(
            "VoxCeleb1's layout has room for 1 to 1251 speakers, 3 videos and 1 utterance or more, "
            f"not {num_speakers}, {videos_per_speaker} and {utterances_per_video}"
        )
    folder = Path(folder)
    families = list(FAMILIES)
    num_bands = -(-num_speakers // len(families))
    edges = np.geomspace(200, 0.2 * min(sample_rate, 16000), num_bands + 1)
    lines = []
    for speaker in range(num_speakers):
        band, kind = divmod(speaker, len(families))
        part = "" if joined else "test" if speaker == num_speakers - 1 else "dev"
        for video in range(videos_per_speaker):
            random = np.random.default_rng([seed, speaker, video])
            name = f"id{FIRST_SPEAKER + speaker}/{''.join(random.choice([*VIDEO_LETTERS], 11))}"
            (folder / part / "wav" / name).mkdir(parents=True)
            split = SPLITS_OF_VIDEOS[video] if video < len(SPLITS_OF_VIDEOS) else 1
            for number in range(1, utterances_per_video + 1):
                is_last = number == utterances_per_video
                duration = durations[1] if is_last else random.uniform(*durations)
                waveform = make_sound(
                    families[kind], duration, sample_rate, random, (edges[band], edges[band + 1])
                )
                utterance = f"{name}/{number:05}.wav"
                soundfile.write(folder / part / "wav" / utterance, waveform, sample_rate)
                lines.append(f"{split} {utterance}\n")
    (folder / list_name).write_text("".join(lines), encoding="utf-8")
    return folder
