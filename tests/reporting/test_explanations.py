"""The worst clips of a page, with what spoke for the class that they were taken for."""

import base64
import io

import matplotlib.image
import pytest
import soundfile
import torch

from ssast_recipes.data.manifest import Clip
from ssast_recipes.reporting.clips import BadClip, clips_section
from ssast_recipes.reporting.explanations import explain_clips
from tests.weights.formats.test_folder import LABELS, save


@pytest.fixture
def clips(tmp_path):
    save(tmp_path / "model", "classifier")
    soundfile.write(tmp_path / "a.wav", (0.1 * torch.randn(9000)).numpy(), 16000)
    (tmp_path / "b.wav").write_bytes(b"no audio")
    return {name: Clip(name, str(tmp_path / f"{name}.wav"), 0.0, 0.5, 16000) for name in "ab"}


def test_clips_that_are_at_hand_are_explained(clips, tmp_path):
    wanted = dict.fromkeys("abc", LABELS[1])
    found = explain_clips(tmp_path, wanted, clips, "cpu")
    assert set(found) == {"a"}
    content = base64.b64decode(found["a"].removeprefix("data:image/png;base64,"))
    assert matplotlib.image.imread(io.BytesIO(content)).std() > 0.1
    with pytest.raises(ValueError, match="there is no class 'cow'"):
        explain_clips(tmp_path, {"a": "cow"}, clips, "cpu")
    assert explain_clips(tmp_path / "nothing", {"c": "cow"}, clips, "cpu") == {}


def test_the_card_of_a_clip_shows_it(clips):
    bad = [BadClip(name, ["dog"], 2.0, [("<cat>", 0.9)]) for name in "ab"]
    text = str(clips_section(bad, clips, "the weights “last”", {"a": "data:image/png;base64,eA=="}))
    assert text.count("What spoke for &lt;cat&gt;") == 1 and 'src="data:image/png;' in text
    assert "What spoke" not in str(clips_section(bad, clips, "the weights “last”"))
