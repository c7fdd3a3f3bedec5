"""Trained models in use: against the model called by hand, and one recording against many."""

import subprocess
import sys

import huggingface_hub
import numpy
import pytest
import soundfile
import torch
import torchaudio

import ssast_recipes
from ssast_recipes import AudioClassifier, AudioEncoder
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.inference import hear, reading
from ssast_recipes.inference.reading import read_audio
from ssast_recipes.model.encoder import AudioSpectrogramTransformer
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.model.heads import PatchPredictionHead
from ssast_recipes.model.masked_patches import MaskedPatchModel
from ssast_recipes.weights.formats.description import describe_front_end
from ssast_recipes.weights.formats.folder import save_model
from tests.weights.formats.test_folder import FRONT_END, LABELS, save

WINDOW = 31 * 160 + 400  # samples of 32 frames


def noise(num_samples: int, seed: int = 0, channels: tuple[int, ...] = ()) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(*channels, num_samples, generator=generator)


@pytest.fixture
def encoder(tmp_path, device):
    """A tiny encoder in use, with overlapping patches: 16 by 16, 10 apart."""
    save(tmp_path / "m", "classifier")
    return AudioEncoder.from_pretrained(tmp_path / "m", device)


@pytest.fixture
def classifier(tmp_path, device):
    save(tmp_path / "m", "classifier")
    return AudioClassifier.from_pretrained(tmp_path / "m", device)


def tokens_by_hand(encoder, waveform: torch.Tensor) -> torch.Tensor:
    """A window's patch tokens, [rows, columns, width], the front end and the encoder called."""
    waveforms = torch.zeros(1, WINDOW)
    waveforms[0, : len(waveform)] = waveform
    place = encoder.device
    with torch.no_grad():
        spectrograms = FRONT_END.build().to(place)(
            waveforms.to(place), torch.tensor([len(waveform)], device=place)
        )
        return encoder.model(spectrograms).patch_tokens[0].unflatten(0, (12, 2)).cpu()


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


# --- embeddings ---


def test_a_clip_is_the_mean_of_its_own_tokens(encoder):
    whole = noise(WINDOW)
    assert_close(encoder.encode(whole, 16000), tokens_by_hand(encoder, whole).mean(dim=(0, 1)))
    # Of 9 frames, only the first column, from frame 0, holds something: the second begins at 10.
    short = noise(8 * 160 + 400)
    expected = tokens_by_hand(encoder, short)[:, :1].mean(dim=(0, 1))
    assert_close(encoder.encode(short, 16000), expected)


def test_frames_are_columns_with_their_middles(encoder):
    whole = noise(WINDOW)
    embeddings, times = encoder.encode_frames(whole, 16000)
    # Columns begin at frames 0, 10, 20 and 30; the last two hold no whole patch in this window,
    # so a second window begins where the grid goes on.
    assert_close(embeddings[:2], tokens_by_hand(encoder, whole).mean(dim=0))
    # The first is of frames 0 to 15, that is, of samples 0 to 15 * 160 + 400.
    expected = (torch.arange(len(times)) * 1600 + 1400) / 16000
    torch.testing.assert_close(times, expected)


def test_long_recordings_are_windows_merged(encoder):
    """Windows of 32 frames begin every 10 frames, as half of a window holds one whole stride."""
    recording = noise(3 * WINDOW)
    embeddings, times = encoder.encode_frames(recording, 16000)
    windows = [
        tokens_by_hand(encoder, recording[start : start + WINDOW]).mean(dim=0)
        for start in range(0, len(recording) - WINDOW + 1, 1600)
    ]
    assert_close(embeddings[0], windows[0][0])
    for column in range(1, 4):
        merged = (windows[column][0] + windows[column - 1][1]) / 2
        assert_close(embeddings[column], merged)
    assert (times.diff() - 0.1).abs().max() < 1e-5
    assert times[-1] < len(recording) / 16000 < times[-1] + 0.2


def test_the_embedding_of_a_long_recording_is_the_mean_over_windows(encoder):
    recording = noise(WINDOW + 1600)
    expected = [
        tokens_by_hand(encoder, recording[start : start + WINDOW]).mean(dim=(0, 1))
        for start in (0, 1600)
    ]
    assert_close(encoder.encode(recording, 16000), torch.stack(expected).mean(dim=0))


def test_a_result_does_not_depend_on_the_rest_of_the_batch(encoder, classifier):
    clips = [noise(length, seed) for seed, length in enumerate((100, 5000, 30000, WINDOW, 12345))]
    together = encoder.encode_batch(clips, 16000)
    frames = encoder.encode_frames_batch(clips, 16000)
    classes = classifier.classify_batch(clips, 16000, top_k=None)
    encoder.batch_size = classifier.batch_size = 1
    for i, clip in enumerate(clips):
        assert_close(encoder.encode(clip, 16000), together[i])
        assert_close(encoder.encode_frames(clip, 16000).embeddings, frames[i].embeddings)
        alone = classifier.classify(clip, 16000, top_k=None)
        assert alone.labels == classes[i].labels
        assert alone.scores == pytest.approx(classes[i].scores, abs=1e-5)
    assert encoder.encode_batch([], 16000).shape == (0, 16)


def test_any_rate_channels_and_type(encoder):
    stereo = noise(22050, channels=(2,))
    mono = torchaudio.functional.resample(stereo.mean(dim=0), 44100, 16000)
    expected = encoder.encode(mono, 16000)
    assert_close(encoder.encode(stereo, 44100), expected)
    assert_close(encoder.encode(stereo.double().numpy(), 44100), expected)
    samples = (mono * 32768).round().to(torch.int16)
    assert_close(encoder.encode(samples, 16000), encoder.encode(samples / 32768, 16000))
    assert_close(encoder.encode(samples.numpy(), 16000), encoder.encode(samples, 16000))


def test_a_clip_shorter_than_a_frame_is_one(encoder):
    assert_close(encoder.encode(torch.ones(1), 16000), encoder.encode(torch.eye(1, 400)[0], 16000))
    assert len(encoder.encode_frames(torch.ones(1), 16000).times) == 1


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (torch.zeros(0), 16000, "not empty"),
        (torch.zeros(1, 2, 800), 16000, r"this one is \[1, 2, 800\]"),
        (torch.zeros(800, dtype=torch.int32), 16000, "torch.int32"),
        (torch.zeros(800, 2), 16000, "transpose"),
        (torch.full((800,), torch.nan), 16000, "not finite"),
        (torch.zeros(800), 0, "sample_rate is a whole number"),
        (torch.zeros(800), 44100.5, "sample_rate is a whole number"),
    ],
)
def test_what_is_no_waveform(encoder, waveform, rate, message):
    with pytest.raises(ValueError, match=message):
        encoder.encode(waveform, rate)


@pytest.mark.parametrize("kind", ["encoder", "pretraining", "classifier", "weighted sum"])
def test_every_kind_of_model_holds_an_encoder(tmp_path, kind):
    model = save(tmp_path, kind)
    loaded = AudioEncoder.from_pretrained(str(tmp_path), "cpu").model
    expected = getattr(model, "encoder", model).state_dict()
    assert all(torch.equal(loaded.state_dict()[name], expected[name]) for name in ("norm.weight",))
    assert loaded.geometry() == getattr(model, "encoder", model).geometry()


# --- classes ---


def test_scores_are_those_of_the_model(classifier):
    clip = noise(WINDOW)
    with torch.no_grad():
        spectrograms = FRONT_END.build()(clip.unsqueeze(0)).to(classifier.device)
        expected = classifier.model(spectrograms)[0].softmax(dim=0).cpu()
    found = classifier.classify(clip, 16000, top_k=None)
    assert found.scores == sorted(found.scores, reverse=True)
    scores = dict(zip(found.labels, found.scores, strict=True))
    assert [scores[label] for label in LABELS] == pytest.approx(expected.tolist(), abs=1e-5)
    assert (found.start, found.end, found.windows) == (0.0, WINDOW / 16000, [])
    top = classifier.classify(clip, 16000, top_k=2)
    assert (top.labels, top.scores) == (found.labels[:2], found.scores[:2])
    above = classifier.classify(clip, 16000, threshold=found.scores[1])
    assert above.labels == found.labels[:2]
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        classifier.classify(clip, 16000, top_k=0)


def test_several_labels_have_each_a_probability(tmp_path, device):
    save(tmp_path, "weighted sum", label_kind="multi")
    classifier = AudioClassifier.from_pretrained(tmp_path, device)
    clip = noise(3000)  # 17 frames: the model masks the rest
    waveforms = torch.zeros(1, WINDOW)
    waveforms[0, :3000] = clip
    with torch.no_grad():
        spectrograms = FRONT_END.build()(waveforms, torch.tensor([3000])).to(device)
        logits = classifier.model(spectrograms, torch.tensor([17], device=device))[0].cpu()
    found = classifier.classify(clip, 16000, top_k=None)
    scores = dict(zip(found.labels, found.scores, strict=True))
    assert [scores[one] for one in LABELS] == pytest.approx(logits.sigmoid().tolist(), abs=1e-5)


def test_long_recordings_are_told_by_window(classifier):
    recording = torch.cat([noise(WINDOW), torch.zeros(WINDOW), noise(WINDOW, 1)])
    found = classifier.classify(recording, 16000, top_k=None)
    # 101 frames: windows of 32 frames from frames 0, 10, …, 70.
    assert [round(window.start, 2) for window in found.windows] == [0.1 * i for i in range(8)] or [
        round(window.start, 2) for window in found.windows
    ] == pytest.approx([0.1 * i for i in range(8)])
    assert found.windows[0].end == pytest.approx(0.32)
    assert found.windows[-1].end == pytest.approx(1.005)
    first = classifier.classify(recording[:WINDOW], 16000, top_k=None)
    assert found.windows[0].labels == first.labels
    assert found.windows[0].scores == pytest.approx(first.scores, abs=1e-5)
    for label, score in zip(found.labels, found.scores, strict=True):
        parts = [window.scores[window.labels.index(label)] for window in found.windows]
        assert score == pytest.approx(sum(parts) / len(parts), abs=1e-5)


def test_the_start_alone_may_stand_for_the_whole(classifier):
    recording = torch.cat([noise(WINDOW), 5 * noise(WINDOW, 1)])
    first = classifier.classify(recording[:WINDOW], 16000, top_k=None)
    found = classifier.classify(recording, 16000, top_k=None, whole="start")
    assert found.labels == first.labels
    assert found.scores == pytest.approx(first.scores, abs=1e-5)
    mean = classifier.classify(recording, 16000, top_k=None)
    assert (found.windows, found.end, found.is_cut) == ([], WINDOW / 16000, True)
    assert found.duration == mean.duration == mean.end == 2 * WINDOW / 16000
    assert len(mean.windows) > 1 and not mean.is_cut
    assert found.scores != pytest.approx(mean.scores, abs=1e-5)
    with pytest.raises(ValueError, match="whole is mean or start, not 'first'"):
        classifier.classify(recording, 16000, whole="first")


@pytest.mark.parametrize("rate", [16000, 12000])
def test_as_much_is_heard_as_in_evaluation(tmp_path, device, rate):
    """And read as there, cut before it is resampled: a file is given the scores of its start."""
    model = save(tmp_path / "m", "classifier")
    save_model(tmp_path / "n", model, FRONT_END, LABELS, heard_seconds=0.2)
    whole, cut = (AudioClassifier.from_pretrained(tmp_path / name, device) for name in "mn")
    recording = noise(2 * rate)
    soundfile.write(tmp_path / "a.wav", recording.numpy(), rate, "FLOAT")
    reader = WaveformReader(16000, max_duration=0.2)
    start = reader(tmp_path / "a.wav", 0.0, 2.0, 0, "a")
    expected = whole.classify(start, 16000, top_k=None)
    for audio in (tmp_path / "a.wav", recording):
        with pytest.warns(UserWarning, match="longer than 0.20 s the start is heard"):
            found = cut.classify(audio, rate, top_k=None)
        assert found.labels == expected.labels and (found.end, found.duration) == (0.2, 2.0)
        assert found.scores == pytest.approx(expected.scores, abs=1e-5)
    alike = [
        cut.classify(recording, rate, None, whole="mean"),
        whole.classify(recording, rate, None),
    ]
    assert alike[0] == alike[1] and alike[0].windows
    (streamed,) = cut.stream_classes([tmp_path / "a.wav"], top_k=None)
    assert streamed == cut.classify(tmp_path / "a.wav", top_k=None, whole="start")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff"])
def test_files_of_any_format(classifier, tmp_path, name):
    soundfile.write(tmp_path / name, noise(22050, channels=(2,)).T.numpy(), 22050)
    waveform, rate = read_audio(tmp_path / name)
    assert rate == 22050 and abs(len(waveform) - 22050) < 3000
    assert classifier.classify_file(tmp_path / name) == classifier.classify(waveform, rate)


def test_files_that_are_no_audio(classifier, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not there"):
        classifier.classify_file(tmp_path / "a.wav")
    (tmp_path / "a.wav").write_text("no audio")
    with pytest.raises(ValueError, match="is not readable audio"):
        classifier.classify_file(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [16000, 8000])
def test_long_files_are_those_of_their_waveforms(classifier, encoder, tmp_path, rate, monkeypatch):
    monkeypatch.setattr(reading, "_PIECE", rate)
    soundfile.write(tmp_path / "a.wav", noise(3 * rate + 77).numpy(), rate, "FLOAT")
    waveform, _ = read_audio(tmp_path / "a.wav")
    found = classifier.classify(tmp_path / "a.wav", top_k=None)
    whole = classifier.classify(waveform, rate, top_k=None)
    assert found.labels == whole.labels and len(found.windows) == len(whole.windows) > 20
    assert found.end == whole.end
    assert found.scores == pytest.approx(whole.scores, abs=1e-5)
    assert_close(encoder.encode(tmp_path / "a.wav"), encoder.encode(waveform, rate))


# --- what is taken for audio ---


def test_one_or_several_of_any_kind(classifier, encoder, tmp_path):
    path, clip = tmp_path / "a.wav", noise(4000)
    soundfile.write(path, clip.numpy(), 16000, "FLOAT")
    expected = encoder.encode(clip, 16000)
    for one in (path, str(path), clip, clip.numpy(), clip.tolist()):
        rate = None if isinstance(one, type(path) | str) else 16000
        assert_close(encoder.encode(one, rate), expected)
        assert_close(encoder(one, rate), expected)
        assert classifier(one, rate) == classifier.classify(clip, 16000)
    several = encoder.encode([path, clip, str(path)], 16000)
    assert_close(several, expected.expand(3, -1))
    alone = classifier.classify(clip, 16000)
    for found in classifier([clip, path], 16000):  # a batch rounds otherwise
        assert found._replace(scores=[]) == alone._replace(scores=[])
        assert found.scores == pytest.approx(alone.scores, abs=1e-6)
    assert [len(one.times) for one in encoder.encode_frames([path, path])] == [2, 2]
    assert classifier([]) == [] and encoder([]).shape == (0, 16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c, e: c.classify_file(torch.zeros(800)), "lists go to classify\\("),
        (lambda c, e: e.encode_file([1.0]), "lists go to encode\\("),
        (lambda c, e: c.classify_batch("a.wav", 16000), "of one, give it to classify"),
        (lambda c, e: e.encode_batch(torch.zeros(800), 16000), "of one, give it to encode"),
        (lambda c, e: c.encode(torch.zeros(800), 16000), "AudioEncoder.from_pretrained"),
        (lambda c, e: e.classify(torch.zeros(800), 16000), "AudioClassifier.from_pretrained"),
        (lambda c, e: AudioClassifier("m"), r"AudioClassifier.from_pretrained\('m'\)"),
    ],
)
def test_a_wrong_argument_is_told_the_method_that_was_meant(classifier, encoder, call, message):
    with pytest.raises(TypeError, match=message):
        call(classifier, encoder)


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (torch.zeros(800), None, "a waveform needs its sample_rate"),
        ({"path": "a.wav"}, 16000, "a recording is the path of a file"),
        (torch.zeros(800), "16 kHz", "sample_rate is a whole number"),
    ],
)
def test_what_is_no_audio(encoder, audio, rate, message):
    with pytest.raises(ValueError, match=message):
        encoder.encode(audio, rate)


# --- where models are from ---


def test_an_encoder_is_no_classifier(tmp_path):
    save(tmp_path, "encoder")
    with pytest.raises(ValueError, match=f"{tmp_path}: holds a model of kind encoder, not a class"):
        AudioClassifier.from_pretrained(tmp_path)


def test_devices_that_are_not_there(tmp_path):
    save(tmp_path, "encoder")
    with pytest.raises(ValueError, match="device 'cdua' cannot be used here"):
        AudioEncoder.from_pretrained(tmp_path, "cdua")
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        AudioEncoder.from_pretrained(tmp_path, batch_size=0)


def test_models_are_fetched_from_the_hub(tmp_path, monkeypatch):
    save(tmp_path / "snapshot", "encoder")
    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append((name, allow_patterns))
        if name != "someone/ssast-tiny":
            raise OSError("404\nmore of it")
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    AudioEncoder.from_pretrained("someone/ssast-tiny", "cpu")
    assert asked == [
        ("someone/ssast-tiny", ["config.json", "model.safetensors", "tokenizer.model"])
    ]
    with pytest.raises(FileNotFoundError, match="nobody/none is no folder here.*: 404$"):
        AudioEncoder.from_pretrained("nobody/none", "cpu")
    # What is a folder here, or a path that the Hub could not have, is not asked for.
    (tmp_path / "someone" / "here").mkdir(parents=True)
    for name in ("someone/here", "results/ESC50/none", "/none/none", "../none", tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match="model folder"):
            AudioEncoder.from_pretrained(name, "cpu")
    assert len(asked) == 2


def test_the_package_is_imported_without_torch():
    program = "import ssast_recipes, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AttributeError, match="attribute '?AudioDecoder"):
        _ = ssast_recipes.AudioDecoder


# --- HEAR ---


def test_hear_gives_scenes_and_moments(tmp_path):
    save(tmp_path, "pretraining")
    model = hear.load_model(str(tmp_path))
    assert isinstance(model, torch.nn.Module)
    sizes = (model.sample_rate, model.scene_embedding_size, model.timestamp_embedding_size)
    assert sizes == (16000, 16, 16)
    audio = noise(20000, channels=(3,))
    scenes = hear.get_scene_embeddings(audio, model)
    moments, times = hear.get_timestamp_embeddings(audio, model)
    assert scenes.shape == (3, 16)
    assert moments.shape == (3, 8, 16) and times.shape == (3, 8)  # 123 frames, 16 apart
    for sound, scene, moment, time in zip(audio, scenes, moments, times, strict=True):
        assert_close(model.encode(sound, 16000), scene)
        frames = model.encode_frames(sound, 16000)
        assert_close(frames.embeddings, moment)
        assert_close(1000 * frames.times, time)
    assert times[0, 0].item() == pytest.approx((15 * 160 + 400) / 32)  # ms: half of 2800 samples
    with pytest.raises(ValueError, match=r"audio is \[sounds, samples\]"):
        hear.get_scene_embeddings(audio[0], model)
    with pytest.raises(FileNotFoundError, match="give a model folder"):
        hear.load_model()


def test_embeddings_are_plain_arrays_to_numpy(encoder):
    assert isinstance(numpy.asarray(encoder.encode(noise(800), 16000)), numpy.ndarray)


def test_an_encoder_that_saw_no_padding_is_used_without(tmp_path, device):
    """What is behind a clip's end changes nothing: a longer window gives the same embedding."""
    encoder = AudioSpectrogramTransformer(16, 1, 2, 64, target_length=64, patch_size=(64, 2))
    for parameter in encoder.parameters():  # fresh ones hardly attend to anything
        torch.nn.init.normal_(parameter, std=0.3)
    found = []
    for padding in ("masked", "released"):
        model = MaskedPatchModel(encoder, PatchPredictionHead(16, 128), padding=padding)
        filterbank = LogMelFilterbank(num_mel_bins=64, high_frequency=4000.0)
        front_end = SpectrogramFrontEnd(filterbank, 64, -4.0, 3.0)
        save_model(tmp_path / padding, model, describe_front_end(front_end, 16000))
        loaded = AudioEncoder.from_pretrained(tmp_path / padding, device=device)
        assert loaded.config.masks_padding == (padding == "masked")
        assert loaded.config.front_end.high_frequency == 4000.0
        waveform = noise(3840)  # 22 frames: whole patches
        with torch.no_grad():
            frames = filterbank(waveform.unsqueeze(0))
            frames = front_end.standardise(frames)
            visible = torch.arange(32) < -(-frames.shape[1] // 2)
            whole = torch.nn.functional.pad(frames, (0, 0, 0, 64 - frames.shape[1]), value=9.0)
            tokens = encoder(whole, visible_patches=visible.unsqueeze(0)).patch_tokens
        found.append((loaded.encode(waveform, 16000).cpu(), tokens[0, visible].mean(dim=0)))
        moments = loaded.encode_frames(waveform, 16000).embeddings.cpu()
        torch.testing.assert_close(moments.mean(dim=0), found[-1][0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(*found[0], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(*found[1], atol=1e-2)
