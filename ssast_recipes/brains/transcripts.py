"""How good transcripts are: errors of words and characters, counted as SpeechBrain counts them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from speechbrain.utils.metric_stats import ErrorRateStats


class ScoredTranscript(NamedTuple):
    """What was said, what was recognised, and the edits from the one to the other."""

    id: str
    reference: str
    hypothesis: str
    words: int  # of the reference
    word_errors: int
    characters: int  # of the reference, blanks included
    character_errors: int


def score_transcripts(
    ids: Sequence[str], references: Sequence[str], hypotheses: Sequence[str]
) -> list[ScoredTranscript]:
    """Counts the errors of transcripts, by SpeechBrain's `ErrorRateStats`.

    Arguments
    ---------
    ids, references, hypotheses : sequence of str
        Of each recording, its name, what was said and what was recognised.

    Returns
    -------
    list of ScoredTranscript
        In the same order.

    Example
    -------
    >>> score_transcripts(["a"], ["ONE TWO"], ["ONE TO"])[0][3:]
    (2, 1, 7, 1)
    """
    words, characters = ErrorRateStats(), ErrorRateStats()
    words.append(ids, [one.split() for one in hypotheses], [one.split() for one in references])
    characters.append(ids, [*map(list, hypotheses)], [*map(list, references)])
    return [
        ScoredTranscript(
            *told,
            *(by_word["num_ref_tokens"], by_word["num_edits"]),
            *(by_character["num_ref_tokens"], by_character["num_edits"]),
        )
        for *told, by_word, by_character in zip(
            ids, references, hypotheses, words.scores, characters.scores, strict=True
        )
    ]


def error_rates(scored: Iterable[ScoredTranscript]) -> dict[str, float]:
    """Word and character error rates of transcripts together, and of how many any word is wrong.

    Shares, above 1 where more is made up than was said; of references without a word, the number
    of errors.

    Example
    -------
    >>> error_rates(score_transcripts("ab", ["ONE TWO", "TWO"], ["ONE TO", "TWO"]))
    {'WER': 0.333333, 'CER': 0.1, 'sentence_errors': 0.5}
    """
    scored = list(scored)

    def rate(errors: int, of: int) -> float:
        return round(errors / max(1, of), 6)

    return {
        "WER": rate(sum(one.word_errors for one in scored), sum(one.words for one in scored)),
        "CER": rate(
            sum(one.character_errors for one in scored), sum(one.characters for one in scored)
        ),
        "sentence_errors": rate(sum(one.word_errors > 0 for one in scored), len(scored)),
    }
