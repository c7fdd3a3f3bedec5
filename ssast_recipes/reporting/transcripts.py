"""The page of a recogniser: error rates by test set, and the transcripts with the most errors."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from ssast_recipes.data.manifest import Clip
from ssast_recipes.reporting.clips import sound_of
from ssast_recipes.reporting.folder import is_number
from ssast_recipes.reporting.rendering import render


class AlignedWord(NamedTuple):
    """A word of the reference beside that of the hypothesis; one of them may be missing."""

    said: str
    heard: str

    @property
    def kind(self) -> str:
        """What was done to it: "right", "changed", "missing" or "added"."""
        if self.said == self.heard:
            return "right"
        return "added" if not self.said else "missing" if not self.heard else "changed"


def align_words(reference: str, hypothesis: str) -> list[AlignedWord]:
    """Sets the words of two texts side by side, with as few edits as there can be.

    Arguments
    ---------
    reference, hypothesis : str
        What was said, and what was recognised.

    Returns
    -------
    list of AlignedWord
        In order.

    Example
    -------
    >>> [(*pair, pair.kind) for pair in align_words("ONE TWO THREE", "ONE TO TO THREE")][1:3]
    [('TWO', 'TO', 'changed'), ('', 'TO', 'added')]
    """
    said, heard = reference.split(), hypothesis.split()
    # costs[i][j]: edits from the words behind i to those behind j.
    costs = [[0] * (len(heard) + 1) for _ in range(len(said) + 1)]
    for i in range(len(said), -1, -1):
        for j in range(len(heard), -1, -1):
            if i == len(said) or j == len(heard):
                costs[i][j] = len(said) - i + len(heard) - j
                continue
            both = costs[i + 1][j + 1] + (said[i] != heard[j])
            costs[i][j] = min(both, costs[i + 1][j] + 1, costs[i][j + 1] + 1)
    aligned, i, j = [], 0, 0
    while i < len(said) or j < len(heard):
        has_both = i < len(said) and j < len(heard)
        if has_both and costs[i][j] == costs[i + 1][j + 1] + (said[i] != heard[j]):
            aligned.append(AlignedWord(said[i], heard[j]))
            i, j = i + 1, j + 1
        elif i < len(said) and costs[i][j] == costs[i + 1][j] + 1:
            aligned.append(AlignedWord(said[i], ""))
            i += 1
        else:
            aligned.append(AlignedWord("", heard[j]))
            j += 1
    return aligned


def rates_section(results: Mapping[str, Any], selection: str | None) -> Markup | None:
    """Tells the error rates of each test manifest.

    Arguments
    ---------
    results : mapping
        `results.json`.
    selection : str, optional
        Of which weights; if there are none of these, the last that were measured.

    Returns
    -------
    Markup or None
        A table, in percent; None if the results tell none.
    """
    by_split = results.get("by_split")
    if not isinstance(by_split, Mapping) or not by_split:
        return None
    chosen = selection if selection in by_split else list(by_split)[-1]
    splits = by_split[chosen] if isinstance(by_split[chosen], Mapping) else {}
    rows = [
        (str(split), [_percent(rates.get(key)) for key in ("WER", "CER", "sentence_errors")])
        for split, rates in splits.items()
        if isinstance(rates, Mapping)
    ]
    metrics = results.get("metrics")
    metrics = metrics.get(chosen) if isinstance(metrics, Mapping) else None
    too_long = metrics.get("too_long") if isinstance(metrics, Mapping) else 0
    return render("rates.html.jinja", rows=rows, weights=str(chosen), too_long=too_long or 0)


def _percent(value: Any) -> str:
    return f"{100 * value:.2f}" if is_number(value) else "–"


def transcripts_section(
    rows: Sequence[Mapping[str, Any]], clips: Mapping[str, Clip], count: int
) -> Markup:
    """Shows the utterances with the most wrong words, to hear and to compare word by word.

    Arguments
    ---------
    rows : sequence of mapping
        As of `read_transcripts`.
    clips : mapping of str to Clip
        By ID, where their audio is.
    count : int
        How many to show.

    Returns
    -------
    Markup
        A card an utterance, the worst first: by the share of wrong words, then by their number.
    """

    def badness(row: Mapping[str, Any]) -> tuple[float, int]:
        return row["word_errors"] / max(1, row["words"]), row["word_errors"]

    worst = sorted(rows, key=badness, reverse=True)[:count]
    sounds = [sound_of(clips[row["id"]]) if row["id"] in clips else None for row in worst]
    words = [align_words(row["reference"], row["hypothesis"]) for row in worst]
    cards = list(zip(worst, words, sounds, strict=True))
    return render("transcripts.html.jinja", cards=cards, missing=sounds.count(None))
