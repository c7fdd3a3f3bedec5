import pytest
import torch

from ssast_recipes.data.text import normalise_text
from ssast_recipes.data.tokenizer import BLANK, Tokenizer

TEXTS = ["ONE TWO THREE", "FOUR FIVE SIX SEVEN", "EIGHT NINE ZERO", "IT'S ONE"] * 5


@pytest.mark.parametrize(("kind", "num_tokens"), [("characters", 18), ("pieces", 20)])
def test_what_is_encoded_is_decoded_and_no_token_is_the_blank(tmp_path, kind, num_tokens):
    tokenizer = Tokenizer.train(TEXTS, kind, num_tokens)
    assert tokenizer.num_tokens == num_tokens == len(tokenizer.pieces)
    for text in [*TEXTS[:4], "TWO SIXES", "", "NO NONE"]:
        tokens = tokenizer(text)
        assert tokens.dtype == torch.int64 and tokens.ndim == 1
        assert BLANK not in tokens.tolist() and all(tokens < num_tokens)
        assert tokenizer.decode(tokens.tolist()) == text
    folder = tmp_path / "a folder"
    tokenizer.write(folder / "tokenizer.model")
    read = Tokenizer.read(folder / "tokenizer.model", tokenizer.sha256)
    assert read.pieces == tokenizer.pieces and read.model == tokenizer.model


def test_the_same_transcripts_give_the_same_bytes_and_others_others():
    for kind in ("characters", "pieces"):
        one, same = (Tokenizer.train(TEXTS, kind, 18).sha256 for _ in range(2))
        assert one == same
    assert Tokenizer.train(["ONE TEN", "TEN"], num_tokens=6).sha256 != one


def test_pieces_are_parts_of_words_and_characters_are_not():
    pieces = Tokenizer.train(TEXTS * 20, "pieces", 24)
    assert max(map(len, pieces.pieces)) > 1
    assert len(pieces("ONE TWO THREE")) < len("ONE TWO THREE")
    characters = Tokenizer.train(TEXTS, "characters", 18)
    assert len(characters("ONE TWO THREE")) == len("ONE TWO THREE")


def test_what_is_outside_the_alphabet_is_left_out_and_counted():
    tokenizer = Tokenizer.train(TEXTS, "characters", 18)
    assert tokenizer.decode(tokenizer("ÖNE QÜE").tolist()) == "NE E"
    assert tokenizer.unknown(["ÖNE QÜE", "QQ ONE"]) == {"Ö": 1, "Ü": 1, "Q": 3}


@pytest.mark.parametrize(
    ("texts", "kind", "num_tokens", "told"),
    [
        (TEXTS, "characters", 29, "num_tokens is 29, .* give 18, .* pass --num_tokens 18"),
        (TEXTS, "characters", 5, "num_tokens is 5, .* --num_tokens 18"),
        (TEXTS, "pieces", 500, r"is 500, .* give (\d+) at most, .* --num_tokens \1$"),
        (TEXTS, "pieces", 5, "is 5, .* give 18 at least, .* --num_tokens 18"),
        (["", "  "], "characters", 5, "transcripts are empty"),
        (TEXTS, "syllables", 5, "tokens are characters or pieces, not 'syllables'"),
    ],
)
def test_what_cannot_be_learnt_is_told_in_a_line(texts, kind, num_tokens, told):
    with pytest.raises(ValueError, match=told) as error:
        Tokenizer.train(texts, kind, num_tokens)
    assert "\n" not in str(error.value)


def test_another_file_is_told_by_its_checksum(tmp_path):
    path = tmp_path / "tokenizer.model"
    tokenizer = Tokenizer.train(TEXTS, "characters", 18)
    Tokenizer.train(["AB"], num_tokens=3).write(path)
    with pytest.raises(ValueError, match="SHA-256 differs"):
        Tokenizer.read(path, tokenizer.sha256)
    path.write_bytes(tokenizer.model[:40])
    with pytest.raises(ValueError, match=r"tokenizer\.model: no model of SentencePiece"):
        Tokenizer.read(path)


@pytest.mark.parametrize(
    ("written", "normalised"),
    [
        ("MISTER QUILTER IS THE APOSTLE", "MISTER QUILTER IS THE APOSTLE"),
        ("Don’t — stop; 'tis \t 7 o'clock!\n", "DON'T STOP 'TIS 7 O'CLOCK"),
        ("naïve façade, Straße_x", "NAÏVE FAÇADE STRASSE X"),
        ("e\u0301t\u00e9", "ÉTÉ"),
        ("$5 '' --", "5"),
        ("\ufffd", ""),
    ],
)
def test_transcripts_are_brought_to_the_form_of_librispeech(written, normalised):
    assert normalise_text(written) == normalised
    assert normalise_text(normalised) == normalised
