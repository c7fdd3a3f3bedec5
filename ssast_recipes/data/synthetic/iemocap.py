"""IEMOCAP, fabricated."""

import os
from pathlib import Path

import numpy as np
import soundfile

from ssast_recipes.data.synthetic.sounds import make_sound

#: By IEMOCAP's short name of an emotion: annotators' word for it, and the family of its sounds.
EMOTIONS = {
    "neu": ("Neutral", "hum"),
    "hap": ("Happiness", "siren"),
    "exc": ("Excited", "siren"),
    "ang": ("Anger", "noise"),
    "sad": ("Sadness", "plucks"),
    "fru": ("Frustration", "gusts"),
    "xxx": ("Other", "tone"),  # no majority among the annotators
}
DIALOGS = ("impro01", "script01_1")


def make_iemocap(
    folder: str | os.PathLike,
    utterances_per_emotion: int = 1,
    num_sessions: int = 5,
    durations: tuple[float, float] = (1.0, 8.0),
    sample_rate: int = 16000,
    seed: int = 0,
) -> Path:
    """Fabricates a corpus laid out as IEMOCAP's full release, as far as it is about speech.

    A session has two dialogs, one improvised and one scripted, of a woman (F) and a man (M) who
    take turns. An utterance is ``sentences/wav/<dialog>/<utterance>.wav``; its emotion, mean
    ratings and annotators' votes are a block of ``dialog/EmoEvaluation/<dialog>.txt``, the votes of
    an annotator also lines of ``Categorical/<dialog>_e2_cat.txt`` there. An emotion is a family of
    sounds, as `make_sound` makes them.

    Arguments
    ---------
    folder : str or path
        Where ``IEMOCAP_full_release`` is made.
    utterances_per_emotion : int
        In every dialog: of neutral, happy, excited, angry, sad and frustrated ones and of such
        that annotators did not agree upon (``xxx``).
    num_sessions : int
        IEMOCAP has 5.
    durations : tuple of float
        Between which the lengths of utterances are drawn, in seconds.
    sample_rate : int
        In Hz.
    seed : int
        The same seed fabricates the same samples.

    Returns
    -------
    Path
        ``<folder>/IEMOCAP_full_release``.

    Raises
    ------
    ValueError
        If IEMOCAP cannot be laid out like that.

    Example
    -------
    >>> corpus = make_iemocap(getfixture("tmp_path"), num_sessions=1, durations=(0.1, 0.2))
    >>> dialog = corpus / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    >>> dialog.read_text().splitlines()[2].split()[3:5]
    ['Ses01F_impro01_F000', 'neu']
    """
    if not 1 <= num_sessions <= 5 or not 1 <= utterances_per_emotion <= 100:
        raise ValueError(
            "IEMOCAP's layout has room for 1 to 5 sessions and 1 to 100 utterances of an emotion "
            f"in a dialog, not {num_sessions} and {utterances_per_emotion}"
        )
    corpus = Path(folder) / "IEMOCAP_full_release"
    for session in range(1, num_sessions + 1):
        for number, scene in enumerate(DIALOGS):
            random = np.random.default_rng([seed, session, number])
            dialog = f"Ses{session:02}{'FM'[number]}_{scene}"
            _write_dialog(
                corpus / f"Session{session}",
                dialog,
                [emotion for emotion in EMOTIONS for _ in range(utterances_per_emotion)],
                random.uniform(*durations, len(EMOTIONS) * utterances_per_emotion),
                sample_rate,
                random,
            )
    return corpus


def _write_dialog(
    session: Path,
    dialog: str,
    emotions: list[str],
    durations: np.ndarray,
    sample_rate: int,
    random: np.random.Generator,
) -> None:
    audio = session / "sentences" / "wav" / dialog
    evaluation = session / "dialog" / "EmoEvaluation"
    for made in (audio, evaluation / "Categorical"):
        made.mkdir(parents=True, exist_ok=True)
    blocks, votes, start = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"], [], 6.2901
    for turn, (emotion, duration) in enumerate(zip(emotions, durations, strict=True)):
        utterance = f"{dialog}_{'FM'[turn % 2]}{turn // 2:03}"
        word, family = EMOTIONS[emotion]
        waveform = make_sound(family, duration, sample_rate, random)
        soundfile.write(audio / f"{utterance}.wav", waveform, sample_rate)
        place = f"[{start:.4f} - {start + duration:.4f}]"
        ratings = random.integers(1, 6, (2, 3))
        means = ", ".join(f"{mean:.4f}" for mean in ratings.mean(axis=0))
        block = [f"{place}\t{utterance}\t{emotion}\t[{means}]"]
        block += [f"C-E{annotator}:\t{word};\t()" for annotator in (2, 3, 4)]
        block += [
            f"A-E{annotator}:\tval {valence}; act {activation}; dom  {dominance};\t()"
            for annotator, (valence, activation, dominance) in zip((3, 4), ratings, strict=True)
        ]
        blocks.append("\n".join(block) + "\n")
        votes.append(f"{utterance} :{word}; ()\n")
        start += duration + random.uniform(0, 1)
    (evaluation / f"{dialog}.txt").write_text("\n".join(blocks), encoding="utf-8")
    (evaluation / "Categorical" / f"{dialog}_e2_cat.txt").write_text("".join(votes))
