"""Five hundred damaged audio files: each is used or listed, in time, and nothing is raised."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.readers import mutations

COUNT = 500
KINDS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "gsm.wav": ("WAV", "GSM610"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aif": ("AIFF", "PCM_16"),
    "snd": ("AU", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
    "caf": ("CAF", "ALAC_16"),
    "w64": ("W64", "PCM_24"),
    "no_name": ("FLAC", "PCM_16"),
}
# Says before each file which one comes, so that one that never ends is known.
SURVEY = """
import sys, time
from pathlib import Path
from ssast_recipes.data.preparation.listing import audio_files
from ssast_recipes.data.preparation.scanning import scan_audio
from ssast_recipes.data.headers import clip_info
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.shards import UnreadableAudioError

def timed(action, path):
    print("->", path, flush=True)
    began = time.monotonic()
    try:
        return action(path)
    finally:
        print("<-", time.monotonic() - began, path, flush=True)

paths = audio_files(sys.argv[1])
found, rejected = scan_audio(paths, 1, progress=False, inspect=lambda path: timed(clip_info, path))
read = WaveformReader(max_duration=10.0)
for path, info in found.items():
    def action(path):
        return read(path, 0.0, info.duration, 0, "a")
    try:
        timed(action, path)
        print("used", path)
    except UnreadableAudioError as error:
        assert path in str(error), error
        print("told", path)
for path, reason in rejected.items():
    assert path in reason and "\\n" not in reason, reason
    print("told", path)
"""


def write_damaged(folder: Path, count: int, seed: int) -> list[Path]:
    samples = 0.3 * np.sin(np.arange(8000) ** 1.3 / 50)
    whole = {}
    for name, (kind, subtype) in KINDS.items():
        file = io.BytesIO()
        soundfile.write(file, samples, 8000, format=kind, subtype=subtype)
        whole[name] = file.getvalue()
    paths = []
    each = -(-count // len(KINDS))
    for name, content in whole.items():
        # Half of the damage is done to the header, where it tells.
        for number, damaged in enumerate(mutations(content[:200], each, seed)):
            damaged = damaged + content[200:] if number % 2 else damaged
            path = folder / f"{number:03}.{name}" if name != "no_name" else folder / f"{number:03}"
            path.write_bytes(damaged)
            paths.append(path)
        for number, damaged in enumerate(mutations(content, each // 2, seed + 1)):
            paths[-1 - number].write_bytes(damaged)
    return paths[:count]


@pytest.mark.slow
def test_damaged_audio_is_used_or_told_and_never_hangs(tmp_path):
    paths = write_damaged(tmp_path, COUNT, seed=1)
    assert len(paths) == COUNT
    (tmp_path / "survey.py").write_text(SURVEY)
    command = [sys.executable, tmp_path / "survey.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr[-2000:] + "\n".join(lines[-2:])
    assert max(float(line.split()[1]) for line in lines if line.startswith("<-")) < 10
    seen = {line.split(maxsplit=1)[1]: line.split()[0] for line in lines if line[:4] in KEPT}
    # Of files without an extension, what tells audio may be damaged: then they are other files.
    named = {str(path) for path in tmp_path.iterdir() if path.suffix not in ("", ".py")}
    assert named - seen.keys() == set()
    assert 0.1 < sum(kept == "used" for kept in seen.values()) / len(seen) < 0.9


KEPT = ("used", "told")
