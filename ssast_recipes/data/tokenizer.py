"""Between transcripts and the numbers that CTC tells: pieces of SentencePiece, or characters."""

import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ssast_recipes.system.files import beside

if TYPE_CHECKING:  # what only looks for model folders does not wait for it
    from torch import Tensor

TOKENIZER_FILE = "tokenizer.model"
BLANK = 0  # the class of CTC that is no token
KINDS = {"characters": "char", "pieces": "unigram"}  # and what SentencePiece calls them
_SPACE = "▁"  # SentencePiece's blank between words


class Tokenizer:
    """Turns transcripts into tokens and back, by a SentencePiece model.

    Tokens are numbered from 1: 0 is CTC's blank, a class of its own. SentencePiece's `<unk>`, which
    has the number 0 there, is no class here: a character that is in no piece is left out.

    Arguments
    ---------
    model : bytes
        What SentencePiece makes of a model: no pickle, and nothing of it is executed.

    Raises
    ------
    ValueError
        If they are no such model.

    Example
    -------
    >>> tokenizer = Tokenizer.train(["ONE TWO", "TWO"], "characters", num_tokens=7)
    >>> tokenizer("NOW")
    tensor([5, 1, 3])
    >>> tokenizer.decode([5, 1, 3]), tokenizer.unknown(["NOW THEN"])
    ('NOW', {'H': 1})
    """

    def __init__(self, model: bytes):
        from sentencepiece import SentencePieceProcessor

        self.model = model
        try:
            self._processor = SentencePieceProcessor(model_proto=model)
        except RuntimeError:
            raise ValueError("no model of SentencePiece; train or copy it anew") from None
        if self._processor.unk_id() != BLANK or len(self._processor) < 2:
            raise ValueError("a SentencePiece model whose number 0 is not <unk>, not one of ours")

    @classmethod
    def train(cls, texts: Iterable[str], kind: str = "characters", num_tokens: int = 29) -> Self:
        """Learns the pieces of transcripts. The same transcripts give the same bytes.

        Arguments
        ---------
        texts : iterable of str
            Those of training alone.
        kind : str
            "characters", or "pieces": the unigram model's (Kudo, 2018), parts of words.
        num_tokens : int
            How many classes there are to be, the blank included.

        Returns
        -------
        Tokenizer
            With so many.

        Raises
        ------
        ValueError
            If there is no such kind, the texts are empty, or give more or fewer tokens.
        """
        from sentencepiece import SentencePieceTrainer

        if kind not in KINDS:
            raise ValueError(f"tokens are {' or '.join(KINDS)}, not {kind!r}")
        texts = [text for text in texts if text.strip()]
        if not texts:
            raise ValueError("the training transcripts are empty: there is nothing to learn from")
        made = io.BytesIO()
        is_characters = kind == "characters"
        try:
            SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=made,
                model_type=KINDS[kind],
                vocab_size=num_tokens,
                use_all_vocab=is_characters,
                add_dummy_prefix=not is_characters,  # a piece begins a word, or does not
                character_coverage=1.0,
                normalization_rule_name="identity",
                max_sentence_length=1 << 20,  # bytes; longer ones would be passed over
                **{"unk_id": BLANK, "bos_id": -1, "eos_id": -1, "pad_id": -1},
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise ValueError(_explain(str(error), kind, num_tokens)) from None
        found = cls(made.getvalue())
        if found.num_tokens != num_tokens:
            raise ValueError(_wrong_number(kind, num_tokens, str(found.num_tokens)))
        return found

    @classmethod
    def read(cls, path: str | Path, sha256: str | None = None) -> Self:
        """Reads a tokenizer's file.

        Arguments
        ---------
        path : str or Path
            What `write` wrote.
        sha256 : str, optional
            The checksum that it is to have.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        ValueError
            If it is damaged, or another.
        """
        model = Path(path).read_bytes()
        if sha256 is not None and hashlib.sha256(model).hexdigest() != sha256:
            raise ValueError(f"{path}: not the tokenizer of this model (SHA-256 differs)")
        try:
            return cls(model)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def write(self, path: str | Path) -> None:
        """Writes the model, at once or not at all."""
        with beside(path) as part:
            part.write_bytes(self.model)

    @property
    def num_tokens(self) -> int:
        """How many classes there are, the blank included."""
        return len(self._processor)

    @cached_property
    def sha256(self) -> str:
        """The model's checksum, in hexadecimal digits."""
        return hashlib.sha256(self.model).hexdigest()

    @cached_property
    def pieces(self) -> list[str]:
        """The text of each token, with a blank where a word begins or ends; the blank's is empty.

        Example
        -------
        >>> Tokenizer.train(["A B", "B"], num_tokens=4).pieces
        ['', 'B', 'A', ' ']
        """
        names = map(self._processor.id_to_piece, range(1, self.num_tokens))
        return ["", *(name.replace(_SPACE, " ") for name in names)]

    def __call__(self, text: str) -> "Tensor":
        """Maps a transcript to its tokens, [tokens] int64; it may be empty."""
        numbers = [number for number in self._processor.encode(text) if number != BLANK]
        import torch

        return torch.tensor(numbers, dtype=torch.int64)

    def decode(self, tokens: Sequence[int]) -> str:
        """Maps tokens, without blanks, to the text that they spell."""
        return " ".join("".join(self.pieces[token] for token in tokens).split())

    def unknown(self, texts: Iterable[str]) -> dict[str, int]:
        """Counts the characters that are in no piece, which no hypothesis can hold."""
        known = set("".join(self.pieces)) | {" "}
        counts: dict[str, int] = {}
        for text in texts:
            for character in set(text) - known:
                counts[character] = counts.get(character, 0) + text.count(character)
        return counts


def _explain(error: str, kind: str, num_tokens: int) -> str:
    """What SentencePiece says of a number that it cannot reach, in our words."""
    if most := re.search(r"too high .* value <= (\d+)", error):
        return _wrong_number(kind, num_tokens, f"{most[1]} at most")
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", error):
        return _wrong_number(kind, num_tokens, f"{least[1]} at least")
    return f"SentencePiece cannot learn {num_tokens} {kind}: {error}"


def _wrong_number(kind: str, asked: int, there: str) -> str:
    return (
        f"num_tokens is {asked}, but the training transcripts give {there}, {kind} and the blank; "
        f"pass --num_tokens {there.partition(' ')[0]}"
    )
