"""Recordings in pieces: as whole ones, whatever their rate, and read ahead of their use."""

import threading

import pytest
import soundfile
import torch
import torchaudio

from ssast_recipes.inference import reading


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
def test_pieces_of_a_long_file_are_those_of_the_whole(tmp_path, monkeypatch, rate):
    monkeypatch.setattr(reading, "_PIECE", 2 * rate)  # a second of two channels
    samples = 0.1 * torch.randn(int(3.7 * rate), 2, generator=torch.Generator().manual_seed(1))
    soundfile.write(tmp_path / "a.wav", samples.numpy(), rate, "FLOAT")
    pieces = list(reading.read_pieces(tmp_path / "a.wav", 16000))
    assert len(pieces) == 4 and len(pieces[0]) == 16000
    whole = torchaudio.functional.resample(samples.mean(dim=1), rate, 16000)
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=1e-6)


def test_pieces_that_end_with_a_second(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_PIECE", 8000)
    samples = torch.randn(16000, generator=torch.Generator().manual_seed(1)) / 10
    soundfile.write(tmp_path / "a.wav", samples.numpy(), 8000, "FLOAT")
    found = torch.cat([*reading.read_pieces(tmp_path / "a.wav", 16000)])
    torch.testing.assert_close(found, torchaudio.functional.resample(samples, 8000, 16000))


def test_what_reading_raises_is_raised_for_its_recording_alone():
    def broken():
        yield 1
        raise ValueError("cannot be decoded")

    recordings = reading.read_ahead([iter([5]), broken(), iter([6])], workers=2)
    assert list(next(recordings)) == [5]
    second = next(recordings)
    assert next(second) == 1
    with pytest.raises(ValueError, match="cannot be decoded"):
        next(second)
    assert list(next(recordings)) == [6]


def test_few_recordings_are_read_ahead_in_other_threads():
    begun, threads = [], set()

    def pieces(number):
        begun.append(number)
        threads.add(threading.get_ident())
        yield number

    found = reading.read_ahead(map(pieces, range(100)), workers=2)
    assert list(next(found)) == [0]
    assert len(begun) <= 5
    found.close()
    assert threading.get_ident() not in threads
