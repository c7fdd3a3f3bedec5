"""Transcripts: brought to the form that LibriSpeech's have."""

import unicodedata

_APOSTROPHES = str.maketrans("’‘ʼ`´", "'''''")


def normalise_text(text: str) -> str:
    """Brings a transcript to LibriSpeech's form: words in capitals, with one blank between.

    Letters and digits of any script stay, with their accents, and apostrophes; everything else is
    a blank. Numbers are not spelled out, as they are in LibriSpeech: that takes the language.

    Arguments
    ---------
    text : str
        What is said, as somebody wrote it.

    Returns
    -------
    str
        Empty if it holds neither letter nor digit.

    Example
    -------
    >>> normalise_text("It’s  well-known, Émile… ")
    "IT'S WELL KNOWN ÉMILE"
    >>> normalise_text("हिन्दी, में")
    'हिन्दी में'
    >>> normalise_text(" '- ")
    ''
    """
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).upper()
    text = unicodedata.normalize("NFC", text)
    # Letters, digits, and the marks that stand by letters; `\w` of Python has no marks.
    kept = (one if one == "'" or unicodedata.category(one)[0] in "LMN" else " " for one in text)
    text = "".join(kept)
    words = [word for word in text.split() if word.strip("'")]
    return " ".join(words)
