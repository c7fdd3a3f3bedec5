"""What is written down of recordings is what the model says, whatever their length and company."""

import json

import numpy as np
import pytest
import soundfile
import torch

from ssast_recipes import AudioTranscriber
from ssast_recipes.commands.main import main
from ssast_recipes.data.tokenizer import Tokenizer
from ssast_recipes.model.builders import ast_encoder
from ssast_recipes.model.heads import TokenHead
from ssast_recipes.model.recognition import RecognitionModel
from ssast_recipes.objectives.decoding import greedy_tokens
from ssast_recipes.weights.formats.config import FrontEndConfig
from ssast_recipes.weights.formats.folder import save_model

FRONT_END = FrontEndConfig(16000, 32, 25.0, 10.0, 20.0, 0.0, 64, -4.27, 4.57, True)
TOKENIZER = Tokenizer.train(["ONE TWO", "TEN"], num_tokens=7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recogniser that says something of everything: its weights are random and large."""
    torch.manual_seed(1)
    encoder = ast_encoder(
        "tiny", depth=1, embed_dim=32, num_heads=2, num_mel_bins=32, target_length=64,
        patch_size=(32, 2),
    )  # fmt: skip
    model = RecognitionModel(encoder, TokenHead(32, 7))
    with torch.no_grad():
        encoder.patch_embedding.projection.weight.mul_(5)
        model.head.linear.weight.mul_(40)
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, model, FRONT_END, tokenizer=TOKENIZER)
    return folder


@pytest.fixture(scope="module")
def transcriber(folder):
    return AudioTranscriber.from_pretrained(folder, device="cpu", batch_size=3)


def noise(seconds, seed=0):
    random = np.random.default_rng(seed)
    levels = np.repeat(random.uniform(0.001, 0.5, 200), 800)[: round(16000 * seconds)]
    return torch.from_numpy((levels * random.standard_normal(len(levels))).astype("float32"))


def expected(transcriber, waveform):
    """What the model says of a recording by itself."""
    front_end, model = transcriber.front_end, transcriber.model
    log_mel = front_end.standardise(front_end.whole(waveform.unsqueeze(0)))
    frames = torch.tensor([log_mel.shape[1]])
    classes = model(log_mel, frames)[0].argmax(dim=1).tolist()
    return greedy_tokens(classes)


def test_a_short_recording_is_written_down_as_the_model_hears_it(transcriber):
    waveform = noise(0.5)
    found = transcriber.transcribe(waveform, 16000)
    tokens = expected(transcriber, waveform)
    assert len(tokens) > 2 and found.duration == 0.5
    assert found.text == TOKENIZER.decode([one.token for one in tokens]) != ""
    told = [(TOKENIZER.pieces.index(text), start, end) for text, start, end in found.pieces]
    columns = [(one.token, one.begin * 0.02, one.end * 0.02) for one in tokens]
    assert told == [pytest.approx(one) for one in columns]


def test_neighbours_and_padding_change_nothing(transcriber):
    waveforms = [noise(seconds, seed) for seed, seconds in enumerate((0.3, 2.0, 0.05, 0.64, 1.1))]
    together = transcriber.transcribe(waveforms, 16000)
    assert together == [transcriber.transcribe(one, 16000) for one in waveforms]


def test_a_long_recording_is_told_of_in_the_middles_of_its_windows(transcriber):
    """Of windows of 32 columns that begin every 16, the last one ending with the recording."""
    waveform = noise(2.0)  # 198 frames: windows begin at columns 0, 16, 32, 48, 64, 67
    classes = []
    for begin, first, last in ((0, 0, 24), (16, 8, 24), (32, 8, 24), (48, 8, 24), (64, 8, 17)):
        classes += _classes(transcriber, waveform, begin)[first:last]
    classes += _classes(transcriber, waveform, 67)[14:]
    tokens = greedy_tokens(classes)
    found = transcriber.transcribe(waveform, 16000)
    assert found.text == TOKENIZER.decode([one.token for one in tokens])
    ends = [piece.end for piece in found.pieces]
    assert ends == sorted(ends) and 1.8 < ends[-1] <= 2.0


def _classes(transcriber, waveform, column):
    stretch = waveform[320 * column :][: 63 * 160 + 400]
    log_mel = transcriber.front_end(stretch.unsqueeze(0))
    return transcriber.model(log_mel, torch.tensor([64]))[0].argmax(dim=1).tolist()


def test_files_are_transcribed_on_the_command_line(transcriber, folder, tmp_path, capsys):
    paths = [tmp_path / name for name in ("a.wav", "b.flac")]
    for seed, path in enumerate(paths):
        soundfile.write(path, noise(0.8, seed).numpy(), 16000)
    texts = [transcriber.transcribe_file(path) for path in paths]
    words = ["transcribe", "--device", "cpu", str(folder), *map(str, paths)]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{path}\t{one.text}" for path, one in zip(paths, texts, strict=True)]
    (tmp_path / "c.wav").write_bytes(b"no audio")
    assert main([*words, str(tmp_path / "c.wav"), "--json"]) == 1
    told = capsys.readouterr()
    records = [json.loads(line) for line in told.out.splitlines()]
    assert [record["text"] for record in records] == [one.text for one in texts]
    assert records[0]["pieces"] == [piece._asdict() for piece in texts[0].pieces]
    assert "c.wav" in told.err


def test_other_models_and_tokenizers_are_refused_in_a_line(folder, tmp_path):
    encoder = ast_encoder(
        "tiny", depth=1, embed_dim=32, num_heads=2, num_mel_bins=32, target_length=64
    )
    save_model(tmp_path / "encoder", encoder, FRONT_END)
    with pytest.raises(ValueError, match="kind encoder, which recognises no speech; train one"):
        AudioTranscriber.from_pretrained(tmp_path / "encoder", device="cpu")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    Tokenizer.train(["AB", "ABCDE"], num_tokens=6).write(copy / "tokenizer.model")
    with pytest.raises(ValueError, match=r"tokenizer\.model: not the tokenizer .*SHA-256 differs"):
        AudioTranscriber.from_pretrained(copy, device="cpu")
    (copy / "tokenizer.model").unlink()
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.model is missing: .* not a whole"):
        AudioTranscriber.from_pretrained(copy, device="cpu")
