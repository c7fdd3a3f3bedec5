"""Fine-tuning an encoder to recognise what is said, by connectionist temporal classification."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from speechbrain import Stage
from speechbrain.utils.distributed import if_main_process
from torch import Tensor
from torch.nn.functional import pad

from ssast_recipes.brains.brain import BaseBrain
from ssast_recipes.brains.optimising import head_groups
from ssast_recipes.brains.processes import gather
from ssast_recipes.brains.transcripts import ScoredTranscript, error_rates, score_transcripts
from ssast_recipes.data.batches import ClipBatch
from ssast_recipes.data.manifest import iterate_manifests
from ssast_recipes.data.tokenizer import BLANK
from ssast_recipes.model.randomness import ClipGenerator
from ssast_recipes.objectives.decoding import columns_needed, greedy_tokens
from ssast_recipes.records.transcripts import TRANSCRIPTS, write_transcripts

logger = logging.getLogger(__name__)


class Recognition(NamedTuple):
    """Logits of a batch, [batch, columns, tokens], and each clip's own columns, [batch]."""

    logits: Tensor
    num_columns: Tensor


class _Row(NamedTuple):
    """What is measured of a clip."""

    index: int
    scored: ScoredTranscript
    loss: float
    is_too_long: bool


class RecognitionBrain(BaseBrain):
    """Trains a recogniser with CTC, decodes greedily and judges it by its word error rate.

    A transcript that takes more columns than its clip has is impossible: its loss counts as 0, and
    how many such clips validation and test have is logged, as `too_long`, and of training the
    share, as `too_long_share`. What is recognised is the likeliest class of
    each column, repetitions joined, without blanks.

    Needed in `hparams` besides the base's: `tokenizer` (see `make_tokenizer`), `num_tokens`, `loss`
    (SpeechBrain's `ctc_loss`, one number a clip), `head_lr_factor`, `test_manifests`; in `modules`:
    `front_end` and `model` (a `RecognitionModel`). `optional` lists what may be left out.
    """

    metric_name = "WER"

    optional = BaseBrain.optional | {
        "spec_augment": None,  # a callable on spectrograms, their lengths and a `ClipGenerator`
        "head_warmup_steps": 0,  # first steps, in which the head alone is trained
        "layer_decay": 1.0,  # a block's learning rate over that of the block above it
    }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._rows: list[_Row] = []
        self._kept: dict[str, list[_Row]] = {}
        num_tokens = self.hparams.tokenizer.num_tokens
        if num_tokens != self.hparams.num_tokens:
            raise ValueError(
                f"num_tokens is {self.hparams.num_tokens}, but the run's tokenizer has "
                f"{num_tokens}; pass --num_tokens {num_tokens}, or choose another output_folder"
            )

    def score(self, metrics: Mapping[str, float]) -> float:
        """What is higher for a better model: the negated word error rate."""
        return -metrics["WER"]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The encoder at the optimiser's rate, the head at `head_lr_factor` times that."""
        options = self.hparams.head_lr_factor, self.hparams.layer_decay
        return head_groups(self.model, self.model.head, *options)

    def optimizers_step(self) -> Tensor | None:
        """As the base's; in the first `head_warmup_steps`, of the head alone."""
        if self.optimizer_step < self.hparams.head_warmup_steps:
            for parameter in self.model.encoder.parameters():
                parameter.grad = None
        return super().optimizers_step()

    def compute_forward(self, batch: ClipBatch, stage: Stage) -> Recognition:
        """Maps a batch of clips of any lengths to logits of tokens."""
        modules = self.modules_of(stage)
        front_end = modules.front_end
        spectrograms = front_end.standardise(front_end.whole(batch.waveforms, batch.num_samples))
        num_frames = front_end.filterbank.num_frames(batch.num_samples)  # [batch]
        if stage == Stage.TRAIN and self.hparams.spec_augment is not None:
            generator = ClipGenerator(self.hparams.seed, self.optimizer_step + 1, batch.places)
            spectrograms = self.hparams.spec_augment(spectrograms, num_frames, generator)
        logits = modules.model(spectrograms, num_frames)  # [batch, columns, tokens]
        return Recognition(logits, self.model.num_columns(num_frames))

    def compute_objectives(self, outputs: Recognition, batch: ClipBatch, stage: Stage) -> Tensor:
        """The mean over clips of CTC's loss a token, in 32-bit."""
        losses, is_too_long = self._judge(outputs, batch)
        self.metrics = {"too_long_share": is_too_long.float().mean()}
        return losses.mean()

    def _judge(self, outputs: Recognition, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Each clip's loss, and whether its transcript is too long for it, both [batch]."""
        targets, counts = batch.targets, batch.num_targets
        targets = pad(targets, (0, max(0, 1 - targets.shape[1])))  # all may be empty
        log_probabilities = outputs.logits.float().log_softmax(dim=2)
        shares = outputs.num_columns / outputs.logits.shape[1], counts / targets.shape[1]
        losses = self.hparams.loss(log_probabilities, targets, *shares)
        is_too_long = columns_needed(targets, counts) > outputs.num_columns
        return losses / counts.clamp(min=1), is_too_long

    def evaluate_batch(self, batch: ClipBatch, stage: Stage) -> list[_Row]:
        """Recognises a batch, and counts the errors of each clip."""
        with self.evaluation_ctx:
            outputs = self.compute_forward(batch, stage)
        losses, is_too_long = self._judge(outputs, batch)
        decode = self.hparams.tokenizer.decode
        hypotheses = [
            decode([one.token for one in greedy_tokens(classes[:count], BLANK)])
            for classes, count in zip(
                outputs.logits.argmax(dim=2).tolist(), outputs.num_columns.tolist(), strict=True
            )
        ]
        scored = score_transcripts(batch.ids, batch.texts, hypotheses)
        columns = batch.indices.tolist(), scored, losses.tolist(), is_too_long.tolist()
        return [_Row(*row) for row in zip(*columns, strict=True)]

    def summarise(self, outputs: list[list[_Row]], stage: Stage) -> dict[str, float]:
        """Computes loss and error rates over the clips of all processes."""
        own = [row for batch in outputs for row in batch]
        self._rows = sorted(row for rows in gather(own) for row in rows)
        return {
            "loss": float(torch.tensor([row.loss for row in self._rows]).double().mean()),
            **error_rates(row.scored for row in self._rows),
            "too_long": sum(row.is_too_long for row in self._rows),
        }

    def keep_outputs(self, selection: str, test_set: Any) -> None:
        """Keeps what the weights of a selection recognised."""
        self._kept[selection] = self._rows

    def write_reports(self) -> dict[str, Any]:
        """Writes `transcripts.csv`; tells the error rates of each test manifest."""
        splits = {
            clip.id: Path(manifest).stem
            for manifest in self.hparams.test_manifests
            for clip in iterate_manifests([manifest])
        }
        scored = {name: [row.scored for row in rows] for name, rows in self._kept.items()}
        if if_main_process():
            path = Path(self.hparams.output_folder) / TRANSCRIPTS
            write_transcripts(path, scored, splits)
        by_split = {
            selection: {
                split: error_rates(one for one in told if splits.get(one.id) == split)
                for split in sorted(set(splits.values()))
            }
            for selection, told in scored.items()
        }
        if if_main_process():
            for selection, rates in by_split.items():
                told = "; ".join(f"{split} {rate['WER']:.2%}" for split, rate in rates.items())
                logger.info("Word error rate, %s weights: %s", selection, told)
        empty = sum(not one.reference for one in scored["last"])
        return {"by_split": by_split, "empty_transcripts": empty}
