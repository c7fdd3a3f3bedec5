"""A recogniser so small that it learns ten utterances of tones by heart within seconds."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speechbrain.nnet.losses import ctc_loss
from torch import Tensor
from torch.utils.data import Dataset

from ssast_recipes.brains import RecognitionBrain
from ssast_recipes.brains.checkpointer import AtomicCheckpointer
from ssast_recipes.brains.logs import TrainingLog
from ssast_recipes.data.manifest import Clip, write_manifest
from ssast_recipes.data.sampling import ClipKey
from ssast_recipes.data.synthetic.tone_words import WORDS, spell
from ssast_recipes.data.tokenizer import Tokenizer
from ssast_recipes.model.filterbank import LogMelFilterbank
from ssast_recipes.model.front_end import SpectrogramFrontEnd
from ssast_recipes.model.heads import TokenHead
from ssast_recipes.model.recognition import RecognitionModel
from ssast_recipes.objectives.schedules import Constant

from . import tiny

TOKENIZER = Tokenizer.train([" ".join(WORDS)], "characters", num_tokens=17)


class Spoken(Dataset):
    """Utterances of one or two digits in tones, of different lengths; asked for by `ClipKey`.

    `texts` replaces what the transcripts say; `asked` remembers the keys.
    """

    def __init__(self, num_clips: int, seed: int = 0, texts: dict[int, str] | None = None):
        self.waveforms: list[Tensor] = []
        self.texts: list[str] = []
        for index in range(num_clips):
            random = np.random.default_rng([seed, index])
            text = " ".join(random.choice(WORDS, random.integers(1, 3)))
            samples = spell(text, 16000, random)
            self.waveforms.append(torch.from_numpy(samples).float())
            self.texts.append((texts or {}).get(index, text))
        self.ids = [f"utterance{index}" for index in range(num_clips)]
        self.durations = torch.tensor([len(one) / 16000 for one in self.waveforms]).double()
        self.asked: list[ClipKey] = []

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: ClipKey) -> dict[str, Any]:
        self.asked.append(key)
        text = self.texts[key.index]
        return {
            "id": self.ids[key.index],
            "index": key.index,
            "place": key.place,
            "waveform": self.waveforms[key.index],
            "text": text,
            "target": TOKENIZER(text),
        }


def recognition_brain(
    folder: Path,
    run_opts: dict[str, Any] | None = None,
    lr: float = 0.003,
    depth: int = 2,
    target_length: int = 128,
    **changes: Any,
) -> RecognitionBrain:
    """A Brain with the same fresh weights every time, that takes its checkpoints from `folder`."""
    torch.manual_seed(0)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hyperparams.yaml").write_text("lr: 0.01\n")
    manifest = folder / "test.csv"
    write_manifest(manifest, [Clip(f"utterance{i}", "/a.wav", 0.0, 1.0, 16000) for i in range(12)])
    encoder = tiny.tiny_encoder(
        embed_dim=64, depth=depth, target_length=target_length, patch_size=(128, 2)
    )
    model = RecognitionModel(encoder, TokenHead(64, TOKENIZER.num_tokens))
    front_end = SpectrogramFrontEnd(LogMelFilterbank(), target_length, mean=-5.0, std=4.0)
    hparams = {
        "seed": 1,
        "encoder": encoder,
        "output_folder": str(folder),
        "record": {},
        "tokenizer": TOKENIZER,
        "num_tokens": TOKENIZER.num_tokens,
        "loss": partial(ctc_loss, blank_index=0, reduction="none"),
        "head_lr_factor": 1,
        "test_manifests": [manifest],
        "num_steps": 6,
        "valid_interval": 100,
        "checkpoint_interval": 100,
        "log_interval": 1,
        "training_log": TrainingLog(folder, tensorboard=False),
        "checkpoints_to_keep": 1,
        "max_grad_norm": 5,
        "schedule": Constant(),
        **changes,
    }
    return RecognitionBrain(
        modules={"front_end": front_end, "model": model},
        opt_class=hparams.pop("opt_class", partial(torch.optim.AdamW, lr=lr)),
        hparams=hparams,
        run_opts={"device": tiny.DEVICE, "noprogressbar": True, **(run_opts or {})},
        checkpointer=AtomicCheckpointer(folder / "save", {"model": model}),
    )


def fit(brain: Any, train: Dataset, valid: Dataset | None = None, seconds: float = 6.0) -> Any:
    """Trains, and returns the Brain."""
    options = {"max_batch_seconds": seconds}
    loaders = {"train_loader_kwargs": options, "valid_loader_kwargs": options}
    brain.fit(getattr(brain.hparams, "epoch_counter", None), train, valid, **loaders)
    return brain


def evaluate(brain: Any, test: Dataset, seconds: float = 6.0) -> dict[str, float]:
    return brain.evaluate(test, test_loader_kwargs={"max_batch_seconds": seconds})
