"""Every YAML file under recipes/ fits the code that reads it, and says what was published.

`find_problems` looks at one file; below, every problem is put into a copy and seen to be found.
"""

import ast
import inspect
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml
from speechbrain.utils.run_opts import RunOptions
from torch import nn

import ssast_recipes
from ssast_recipes.runs.command_line import read_experiment
from tests.recipes.conftest import RECIPES

PACKAGE = Path(ssast_recipes.__file__).parent
EXPERIMENTS = sorted(RECIPES.glob("*/hparams/*.yaml"))
NAMES = [f"{path.parents[1].name}/{path.stem}" for path in EXPERIMENTS]
INCLUDED = sorted(RECIPES.glob("shared/*.yaml"))
# Built small: what is tested are names and identities.
SMALL = {"embed_dim": 64, "depth": 1, "num_heads": 1}

# Sources: the SSAST paper, its released code, and for fine-tuning the recipe it takes from PSLA.
ESC50 = """
sample_rate: 16000
mean: -6.6268077
std: 5.358466
target_length: 512
size: base
embed_dim: null
depth: null
num_heads: null
grad_accumulation_factor: 1
lr: 1.0e-4
max_grad_norm: 0
precision: fp32
opt_class: !name:torch.optim.Adam
    lr: !ref <lr>
    betas: [0.95, 0.999]
    weight_decay: 5.0e-7
"""
ESC50_FINETUNE = f"""{ESC50}
number_of_epochs: 50
batch_size: 48
num_classes: 50
freeze_encoder: False
head_lr_factor: 1
spec_augment: !new:ssast_recipes.model.SpecAugment
    max_mel_bins: 24
    max_frames: 96
noise_and_roll: !new:ssast_recipes.model.NoiseAndRoll
loss: !name:torch.nn.functional.cross_entropy
metric: !name:ssast_recipes.objectives.accuracy
schedule: !new:ssast_recipes.objectives.EpochDecay
    decay: 0.85
    first_epoch: 6
model: !new:ssast_recipes.model.ClassificationModel
    encoder: !ref <encoder>
    classifier: !new:ssast_recipes.model.ClassificationHead
        embed_dim: !ref <encoder.embed_dim>
        num_classes: !ref <num_classes>
    pooling: mean
    freeze_encoder: !ref <freeze_encoder>
"""
# The paper pretrains on other data; masked share, batch, weights and schedule are its own.
ESC50_PRETRAIN = f"""{ESC50}
num_masked_patches: 200
batch_size: 24
softmax_over: predictions
exclude_constant_patches: False
reconstruction_weight: 10
contrastive_loss: !name:ssast_recipes.objectives.info_nce_loss
reconstruction_loss: !name:ssast_recipes.objectives.masked_reconstruction_loss
warmup_steps: 1000
schedule: !new:ssast_recipes.objectives.WarmupPlateau
    warmup_steps: !ref <warmup_steps>
"""
OFFICIAL_MASKER = """
masker: !new:ssast_recipes.model.OfficialClusterMasker
    num_masked_patches: !ref <num_masked_patches>
"""
RANDOM_MASKER = OFFICIAL_MASKER.replace("OfficialClusterMasker", "RandomMasker")
# SUPERB-style tasks: batch, accumulation, steps and learning rate are of the released fine-tuning,
# the rest is SUPERB's own; the front end is that of pretraining.
SUPERB_FINETUNE = """
sample_rate: 16000
mean: -4.2677393
std: 4.5689974
pad_before_standardising: False
padding: released
freeze_encoder: False
size: base
embed_dim: null
depth: null
num_heads: null
head_lr_factor: 1
max_grad_norm: 1
precision: fp32
spec_augment: null
noise_and_roll: null
loss: !name:torch.nn.functional.cross_entropy
metric: !name:ssast_recipes.objectives.accuracy
opt_class: !name:torch.optim.Adam
    lr: !ref <lr>
schedule: !new:ssast_recipes.objectives.Constant
model: !new:ssast_recipes.model.WeightedSumModel
    encoder: !ref <encoder>
    classifier: !new:ssast_recipes.model.ProjectionHead
        embed_dim: !ref <encoder.embed_dim>
        num_classes: !ref <num_classes>
        hidden_dim: 256
    padding: !ref <padding>
    freeze_encoder: !ref <freeze_encoder>
"""
VOXCELEB = f"""{SUPERB_FINETUNE}
batch_size: !apply:operator.getitem [[4, 8], !ref <freeze_encoder>]
grad_accumulation_factor: !apply:operator.getitem [[8, 4], !ref <freeze_encoder>]
lr: 1.0e-4
num_classes: 1251
target_length: 1000
num_steps: !apply:operator.getitem [[40000, 200000], !ref <freeze_encoder>]
valid_interval: !apply:operator.getitem [[500, 4000], !ref <freeze_encoder>]
crop_duration: 8
"""
IEMOCAP = f"""{SUPERB_FINETUNE}
batch_size: 4
grad_accumulation_factor: 8
lr: 1.0e-4
num_classes: 4
target_length: 600
num_steps: !apply:operator.getitem [[10000, 30000], !ref <freeze_encoder>]
valid_interval: !apply:operator.getitem [[200, 1000], !ref <freeze_encoder>]
"""
AUDIOSET = """
sample_rate: 16000
mean: -4.2677393
std: 4.5689974
target_length: 1024
pad_before_standardising: True
num_classes: 527
freeze_encoder: False
size: base
embed_dim: null
depth: null
num_heads: null
batch_size: 12
grad_accumulation_factor: 1
head_lr_factor: 1
mixup_rate: 0.5
max_grad_norm: 0
precision: fp32
mixup: !new:ssast_recipes.data.Mixup
    rate: !ref <mixup_rate>
    seed: !ref <seed>
spec_augment: !new:ssast_recipes.model.SpecAugment
    max_mel_bins: 48
    max_frames: 192
noise_and_roll: null
loss: !name:torch.nn.functional.binary_cross_entropy_with_logits
metric: !name:ssast_recipes.objectives.mean_average_precision
label_encoder: !name:ssast_recipes.data.MultiHotEncoder.from_file
opt_class: !name:torch.optim.Adam
    lr: !ref <lr>
    betas: [0.95, 0.999]
    weight_decay: 5.0e-7
model: !new:ssast_recipes.model.ClassificationModel
    encoder: !ref <encoder>
    classifier: !new:ssast_recipes.model.ClassificationHead
        embed_dim: !ref <encoder.embed_dim>
        num_classes: !ref <num_classes>
    pooling: mean
    freeze_encoder: !ref <freeze_encoder>
"""
AUDIOSET_20K = f"""{AUDIOSET}
train_manifests: [!ref <manifest_folder>/balanced_train.csv]
lr: 5.0e-5
number_of_epochs: 25
average_epochs: [6, 25]
sample_weights: null
schedule: !new:ssast_recipes.objectives.EpochDecay
    decay: 0.5
    first_epoch: 10
    every: 5
"""
AUDIOSET_2M = f"""{AUDIOSET}
train_manifests:
    - !ref <manifest_folder>/balanced_train.csv
    - !ref <manifest_folder>/unbalanced_train.csv
lr: 1.0e-5
number_of_epochs: 5
average_epochs: [1, 5]
sample_weights: !name:ssast_recipes.data.multi_label_weights
schedule: !new:ssast_recipes.objectives.EpochDecay
    decay: 0.5
    first_epoch: 2
    warmup_steps: !ref <warmup_steps>
warmup_steps: 1000
"""
SPEECHCOMMANDS_V1 = f"""{SUPERB_FINETUNE}
batch_size: 32
grad_accumulation_factor: 1
version: v1
num_classes: 12
target_length: 100
num_steps: !apply:operator.getitem [[20000, 200000], !ref <freeze_encoder>]
valid_interval: !apply:operator.getitem [[500, 4000], !ref <freeze_encoder>]
crop_duration: 1
validation: drawn
valid_manifests: [!ref <manifest_folder>/valid_<validation>.csv]
sample_weights: !name:ssast_recipes.data.class_balanced_weights
"""
SPEECHCOMMANDS_V2 = """
version: v2
sample_rate: 16000
mean: -6.845978
std: 5.5654526
target_length: 128
pad_before_standardising: True
num_classes: 35
freeze_encoder: False
size: base
embed_dim: null
depth: null
num_heads: null
number_of_epochs: 30
batch_size: 128
grad_accumulation_factor: 1
lr: 2.5e-4
warmup_steps: 1000
head_lr_factor: 1
mixup_rate: 0.6
max_grad_norm: 0
precision: fp32
label_encoder: !name:ssast_recipes.data.MultiHotEncoder.from_file
mixup: !new:ssast_recipes.data.Mixup
    rate: !ref <mixup_rate>
    seed: !ref <seed>
spec_augment: !new:ssast_recipes.model.SpecAugment
    max_mel_bins: 48
    max_frames: 48
noise_and_roll: !new:ssast_recipes.model.NoiseAndRoll
loss: !name:torch.nn.functional.binary_cross_entropy_with_logits
metric: !name:ssast_recipes.objectives.accuracy
opt_class: !name:torch.optim.Adam
    lr: !ref <lr>
    betas: [0.95, 0.999]
    weight_decay: 5.0e-7
schedule: !new:ssast_recipes.objectives.EpochDecay
    decay: 0.85
    first_epoch: 5
    warmup_steps: !ref <warmup_steps>
model: !new:ssast_recipes.model.ClassificationModel
    encoder: !ref <encoder>
    classifier: !new:ssast_recipes.model.ClassificationHead
        embed_dim: !ref <encoder.embed_dim>
        num_classes: !ref <num_classes>
    pooling: mean
    freeze_encoder: !ref <freeze_encoder>
"""


def with_values(text: str, *values: str) -> str:
    """The text with other statistics, length, masked patches and batch size."""
    keys = ("mean", "std", "target_length", "num_masked_patches", "batch_size")
    for key, value in zip(keys, values, strict=True):
        text, count = re.subn(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.MULTILINE)
        assert count == 1, key
    return text


LIBRISPEECH_PRETRAIN = (
    with_values(ESC50_PRETRAIN, "-4.2677393", "4.5689974", "1024", "400", "24")
    + """
subsets: [train-clean-100, train-clean-360, train-other-500]
pad_before_standardising: True
num_steps: 800000
valid_interval: 4000
"""
)
AUDIOSET_PRETRAIN = LIBRISPEECH_PRETRAIN.replace(
    "subsets: [train-clean-100, train-clean-360, train-other-500]",
    "splits: [balanced_train, unbalanced_train, eval]\n"
    "valid_manifests: [!ref <manifest_folder>/eval.csv]",
)
AUDIOSET_TRAIN = """
train_manifests:
    - !ref <manifest_folder>/balanced_train.csv
    - !ref <manifest_folder>/unbalanced_train.csv
"""
JOINT_TRAIN = f"{AUDIOSET_TRAIN}    - !ref <librispeech_manifest>\n"
# MAE-AST's paper, its released code, and where both are silent SSAST.
MAE_AST_PRETRAIN = f"""
splits: [balanced_train, unbalanced_train, eval]
{JOINT_TRAIN.strip()}
valid_manifests: [!ref <manifest_folder>/eval.csv]
sample_rate: 16000
mean: -4.2677393
std: 4.5689974
target_length: 1024
pad_before_standardising: True
size: base
embed_dim: null
depth: null
num_heads: null
positions: sinusoidal
num_masked_patches: 384
decoder_depth: 2
decoder_dim: null
decoder_heads: null
decoder_positions: sinusoidal
targets: raw
num_steps: 550000
valid_interval: 10000
batch_size: 51
grad_accumulation_factor: 1
lr: 1.0e-4
betas: [0.9, 0.98]
eps: 1.0e-6
weight_decay: 0.01
warmup_steps: 32000
max_grad_norm: 10
softmax_over: targets
reconstruction_weight: 10
contrastive_loss: !name:ssast_recipes.objectives.info_nce_loss
reconstruction_loss: !name:ssast_recipes.objectives.masked_reconstruction_loss
opt_class: !name:torch.optim.AdamW
    lr: !ref <lr>
    betas: !ref <betas>
    eps: !ref <eps>
    weight_decay: !ref <weight_decay>
schedule: !new:ssast_recipes.objectives.WarmupPolynomial
    num_steps: !ref <num_steps>
    warmup_steps: !ref <warmup_steps>
model: !new:ssast_recipes.model.MaskedAutoencoder
    encoder: !ref <encoder>
    contrastive_head: !ref <contrastive_head>
    reconstruction_head: !ref <reconstruction_head>
    decoder_depth: !ref <decoder_depth>
    decoder_dim: !ref <decoder_width>
    decoder_heads: !ref <decoder_heads>
    decoder_positions: !ref <decoder_positions>
"""
# One's own audio has nothing published: the defaults are those of AudioSet and of ESC-50, and for
# the autoencoder those that were measured.
OWN_PRETRAIN = """
size: base
target_length: 1024
num_masked_patches: 384
targets: standardised_patches
padding: masked
placement: random
lr: 2.5e-4
batch_size: 64
reconstruction_weight: 10
best_by: loss
masker: !new:ssast_recipes.model.RandomMasker
    num_masked_patches: !ref <num_masked_patches>
opt_class: !name:torch.optim.AdamW
    lr: !ref <lr>
    betas: !ref <betas>
    weight_decay: !ref <weight_decay>
    fused: True
schedule: !new:ssast_recipes.objectives.WarmupCosine
    warmup_steps: !ref <warmup_steps>
"""
OWN_PRETRAIN_SSAST = """
size: base
target_length: 1024
num_masked_patches: 400
padding: masked
placement: random
lr: 1.0e-4
batch_size: 24
reconstruction_weight: 10
best_by: loss
masker: !new:ssast_recipes.model.ClusterMasker
    num_masked_patches: !ref <num_masked_patches>
    cluster_factors: !ref <cluster_factors>
"""
OWN_FINETUNE = """
size: base
lr: 1.0e-4
label_smoothing: 0.1
layer_decay: 1
drop_path: 0
head_warmup_steps: 0
patch_stride: [10, 10]
opt_class: !name:torch.optim.AdamW
    lr: !ref <lr>
    betas: [0.9, 0.95]
    weight_decay: !ref <weight_decay>
    fused: True
schedule: !new:ssast_recipes.objectives.WarmupCosine
    num_steps: !ref <num_steps>
    warmup_steps: !ref <warmup_steps>
loss: !name:torch.nn.functional.cross_entropy
metric: !name:ssast_recipes.objectives.accuracy
"""
OWN_FINETUNE_MULTI = """
size: base
lr: 1.0e-4
label_smoothing: 0.1
layer_decay: 1
drop_path: 0
head_warmup_steps: 0
patch_stride: [10, 10]
opt_class: !name:torch.optim.AdamW
    lr: !ref <lr>
    betas: [0.9, 0.95]
    weight_decay: !ref <weight_decay>
    fused: True
schedule: !new:ssast_recipes.objectives.WarmupCosine
    num_steps: !ref <num_steps>
    warmup_steps: !ref <warmup_steps>
loss: !name:torch.nn.functional.binary_cross_entropy_with_logits
metric: !name:ssast_recipes.objectives.mean_average_precision
"""
# Nobody has published recognition with SSAST: ours, and the front end of pretraining.
LIBRISPEECH_ASR = """
sample_rate: 16000
num_mel_bins: 128
mean: -4.2677393
std: 4.5689974
target_length: 1024
pad_before_standardising: True
subsets: [train-clean-100]
transcripts: True
tokens: characters
num_tokens: 29
size: base
max_batch_seconds: 100
lr: 5.0e-5
head_lr_factor: 20
head_warmup_steps: 0
freeze_encoder: False
speeds: [0.9, 1.0, 1.1]
loss: !name:speechbrain.nnet.losses.ctc_loss
    blank_index: 0
    reduction: none
model: !new:ssast_recipes.model.RecognitionModel
    encoder: !ref <encoder>
    head: !new:ssast_recipes.model.TokenHead
        embed_dim: !ref <encoder.embed_dim>
        num_tokens: !ref <num_tokens>
    freeze_encoder: !ref <freeze_encoder>
"""
OWN_TRANSCRIBE = """
size: base
tokens: characters
loss: !name:speechbrain.nnet.losses.ctc_loss
    blank_index: 0
    reduction: none
"""
# Ours, as ESC-50's: the share that is masked is the paper's.
SPEECHCOMMANDS_PRETRAIN = with_values(ESC50_PRETRAIN, "-6.845978", "5.5654526", "96", "37", "128")
PATCH, FRAME = "patch_size: [16, 16]\n", "patch_size: [128, 2]\n"
PUBLISHED = {
    "AudioSet/finetune_20k_patch": f"{AUDIOSET_20K}{PATCH}patch_stride: [10, 10]",
    "AudioSet/finetune_20k_frame": f"{AUDIOSET_20K}{FRAME}patch_stride: [128, 1]",
    "AudioSet/finetune_2m_patch": f"{AUDIOSET_2M}{PATCH}patch_stride: [10, 10]",
    "AudioSet/finetune_2m_frame": f"{AUDIOSET_2M}{FRAME}patch_stride: [128, 1]",
    "AudioSet/pretrain_patch": f"{AUDIOSET_PRETRAIN}{AUDIOSET_TRAIN}{PATCH}{OFFICIAL_MASKER}",
    "AudioSet/pretrain_frame": f"{AUDIOSET_PRETRAIN}{AUDIOSET_TRAIN}{FRAME}{RANDOM_MASKER}",
    "AudioSet/pretrain_joint_patch": f"{AUDIOSET_PRETRAIN}{JOINT_TRAIN}{PATCH}{OFFICIAL_MASKER}",
    "AudioSet/pretrain_joint_frame": f"{AUDIOSET_PRETRAIN}{JOINT_TRAIN}{FRAME}{RANDOM_MASKER}",
    "AudioSet/pretrain_mae_ast_patch": f"{MAE_AST_PRETRAIN}{PATCH}{OFFICIAL_MASKER}",
    "AudioSet/pretrain_mae_ast_frame": f"{MAE_AST_PRETRAIN}{FRAME}{RANDOM_MASKER}",
    "ESC50/finetune_patch": f"{ESC50_FINETUNE}{PATCH}patch_stride: [10, 10]",
    "ESC50/finetune_frame": f"{ESC50_FINETUNE}{FRAME}patch_stride: [128, 1]",
    "ESC50/pretrain_patch": f"{ESC50_PRETRAIN}{PATCH}{OFFICIAL_MASKER}",
    "ESC50/pretrain_frame": f"{ESC50_PRETRAIN}{FRAME}{RANDOM_MASKER}",
    "Librispeech/pretrain_patch": f"{LIBRISPEECH_PRETRAIN}{PATCH}{OFFICIAL_MASKER}",
    "Librispeech/pretrain_frame": f"{LIBRISPEECH_PRETRAIN}{FRAME}{RANDOM_MASKER}",
    "Librispeech/asr_ctc_frame": f"{LIBRISPEECH_ASR}{FRAME}",
    "OwnAudio/pretrain": f"{OWN_PRETRAIN}{PATCH}",
    "OwnAudio/pretrain_ssast": f"{OWN_PRETRAIN_SSAST}{PATCH}",
    "OwnAudio/finetune": f"{OWN_FINETUNE}{PATCH}",
    "OwnAudio/finetune_multi": f"{OWN_FINETUNE_MULTI}{PATCH}",
    "OwnAudio/transcribe": f"{OWN_TRANSCRIBE}{FRAME}",
    "SpeechCommands/pretrain_patch": f"{SPEECHCOMMANDS_PRETRAIN}{PATCH}{OFFICIAL_MASKER}",
    "SpeechCommands/pretrain_frame": f"{SPEECHCOMMANDS_PRETRAIN}{FRAME}{RANDOM_MASKER}",
    "SpeechCommands/finetune_v1_patch": (
        f"{SPEECHCOMMANDS_V1}{PATCH}patch_stride: [10, 10]\nlr: 1.0e-4"
    ),
    "SpeechCommands/finetune_v1_frame": (
        f"{SPEECHCOMMANDS_V1}{FRAME}patch_stride: [128, 1]\n"
        "lr: !apply:operator.getitem [[5.0e-5, 1.0e-4], !ref <freeze_encoder>]"
    ),
    "SpeechCommands/finetune_v2_patch": f"{SPEECHCOMMANDS_V2}{PATCH}patch_stride: [10, 10]",
    "SpeechCommands/finetune_v2_frame": f"{SPEECHCOMMANDS_V2}{FRAME}patch_stride: [128, 1]",
    "VoxCeleb/finetune_patch": f"{VOXCELEB}{PATCH}patch_stride: [10, 10]",
    "VoxCeleb/finetune_frame": f"{VOXCELEB}{FRAME}patch_stride: [128, 1]",
    "IEMOCAP/finetune_patch": f"{IEMOCAP}{PATCH}patch_stride: [10, 10]",
    "IEMOCAP/finetune_frame": f"{IEMOCAP}{FRAME}patch_stride: [128, 1]",
}
# Where <kind>_frame.yaml differs from <kind>_patch.yaml, and <kind>_20k_frame.yaml likewise.
FRAME_DIFFERS_IN = {
    "finetune": {"output_folder", "patch_size", "patch_stride"},
    "finetune_v1": {"output_folder", "patch_size", "patch_stride", "lr"},
    "pretrain": {"output_folder", "patch_size", "masker"},
}
# Where a masked autoencoder's file differs from SSAST's on the same corpora.
AUTOENCODER_DIFFERS_IN = {
    *("output_folder", "positions", "num_masked_patches", "decoder_depth", "decoder_dim"),
    *("decoder_heads", "decoder_positions", "decoder_width", "targets", "num_steps"),
    *("valid_interval", "checkpoint_interval", "batch_size", "betas", "eps", "weight_decay"),
    *("warmup_steps", "max_grad_norm", "softmax_over", "model_parts", "contrastive_head"),
    *("reconstruction_head", "model", "opt_class", "schedule"),
}
# What all experiments of a Brain have in common.
COMMON = ("model_parts", "encoder", "front_end", "modules", "train_dataloader_opts", "training_log")
ALIKE = {
    "Pretraining": (
        *COMMON,
        *("contrastive_head", "reconstruction_head", "model", "contrastive_loss"),
        *("reconstruction_loss", "opt_class", "valid_dataloader_opts", "test_dataloader_opts"),
        *("epoch_counter", "checkpointer"),
    ),
    "Classification": (*COMMON, "read_waveform"),
}


# ---- what a file says


def parse(text: str) -> dict[str, Any]:
    """The file's tree with its tags, nothing built and no reference followed."""
    return ruamel.yaml.YAML().load(text)


def tag_of(node: Any) -> str:
    return getattr(getattr(node, "tag", None), "value", None) or ""


def plain(node: Any) -> Any:
    """The node as (tag, content), to compare."""
    if isinstance(node, dict):
        content: Any = {key: plain(value) for key, value in node.items()}
    elif isinstance(node, list):
        content = [plain(value) for value in node]
    else:
        content = getattr(node, "value", node)
    return tag_of(node), content


def nodes_of(node: Any) -> Iterator[Any]:
    """The node and all below it."""
    yield node
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for value in values:
        yield from nodes_of(value)


def references(node: Any) -> set[tuple[str, str]]:
    """What is referred to below a node: (key, the key within it or "")."""
    texts = [each.value for each in nodes_of(node) if tag_of(each) in ("!ref", "!copy")]
    return {found for text in texts for found in re.findall(r"<(\w+)(?:\[(\w+)\])?", text)}


# ---- what the code reads


class KeysRead(ast.NodeVisitor):
    """Collects the keys that code reads of `hparams`, whether as a dict or by attributes.

    Keys are needed, unless by `get`, `getattr` or below an `if` that itself asks `hparams`.
    """

    def __init__(self):
        self.needed: set[str] = set()
        self.optional: set[str] = set()
        self.written: set[str] = set()
        self._looped: dict[str, list[str]] = {}  # loop variable: its values
        self._below_if = 0

    def visit_Module(self, node: ast.Module) -> None:
        self._looped = {}
        for loop in ast.walk(node):
            match loop:
                case ast.Assign([ast.Name("PREPARATION_KEYS")], ast.Tuple(values)):
                    self.needed.update(value.value for value in values)  # `prepare` reads them
                case ast.comprehension(ast.Name(name), ast.Name("keys")):
                    self._looped[name] = []  # a caller's: those above
                case ast.For(ast.Name(name), ast.Tuple(values)) | ast.comprehension(
                    ast.Name(name), ast.Tuple(values)
                ):
                    self._looped[name] = [getattr(value, "value", "") for value in values]
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        asks = any(_is_hparams(each) for each in ast.walk(node.test))
        self.visit(node.test)
        self._below_if += asks
        for statement in (*node.body, *node.orelse):
            self.visit(statement)
        self._below_if -= asks

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if _is_hparams(node.value):
            self._read(node.slice, node.ctx)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if _is_hparams(node.value):
            self._read(ast.Constant(node.attr), node.ctx)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        match (node.func, node.args):
            case (ast.Attribute(value, "get"), [key, *others]) if _is_hparams(value):
                self.optional.update(self._keys(key))
            case (ast.Name("getattr" | "hasattr"), [value, key, *others]) if _is_hparams(value):
                self.optional.update(self._keys(key))
            case _:
                others = [node.func, *node.args, *node.keywords]
        for other in others:
            self.visit(other)

    def _read(self, key: ast.expr, context: ast.expr_context) -> None:
        stored = isinstance(context, ast.Store)
        kind = self.written if stored else self.optional if self._below_if else self.needed
        kind.update(self._keys(key))

    def _keys(self, key: ast.expr) -> list[str]:
        """The keys that an expression stands for: a text, a loop variable, an f-string of one."""
        match key:
            case ast.Constant(text):
                return [text]
            case ast.Name(name) if name in self._looped:
                return self._looped[name]
            case ast.JoinedStr([ast.FormattedValue(ast.Name(name)), ast.Constant(rest)]):
                return [value + rest for value in self._looped[name]]
        raise NotImplementedError(f"line {key.lineno}: hparams[{ast.unparse(key)}]")


def _is_hparams(node: ast.AST) -> bool:
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", None)
    return name == "hparams"


def keys_read(path: Path, brain_class: type) -> KeysRead:
    """What an experiment's code reads: its recipe's, its Brain's and the rest of the package's."""
    files = {*path.parents[1].glob("*.py"), *PACKAGE.rglob("*.py")}
    files -= set(PACKAGE.glob("brains/*.py"))
    files |= {
        Path(inspect.getsourcefile(kind))
        for kind in brain_class.__mro__
        if kind.__module__.startswith("ssast_recipes.")
    }
    reads = KeysRead()
    for file in files:
        found = _keys_read_in(file)
        for kind in ("needed", "optional", "written"):
            getattr(reads, kind).update(getattr(found, kind))
    reads.needed -= brain_class.optional.keys()
    reads.optional |= brain_class.optional.keys()
    return reads


@cache
def _keys_read_in(file: Path) -> KeysRead:
    reads = KeysRead()
    reads.visit(ast.parse(file.read_text(encoding="utf-8")))
    return reads


# ---- problems


def find_problems(path: Path) -> list[str]:
    """All that is wrong with an experiment's file."""
    written = parse(path.read_text(encoding="utf-8"))
    blanks = {key for key, node in written.items() if tag_of(node) == "!PLACEHOLDER"}
    values = {**dict.fromkeys(blanks, "/nowhere"), **SMALL}
    words = [word for key in values.keys() & written for word in (f"--{key}", str(values[key]))]
    try:
        _, hparams, _, _ = read_experiment([str(path), *words])
    except Exception as error:
        return [f"does not load: {error}"]
    return [
        *_use_problems(path, written, hparams["brain_class"]),
        *_include_problems(path, written),
        *_command_line_problems(written),
        *_identity_problems(hparams),
        *_place_problems(path, written),
    ]


def _use_problems(path: Path, written: dict[str, Any], brain_class: type) -> Iterator[str]:
    reads = keys_read(path, brain_class)
    used = {key for key, _ in references(written)} | reads.needed | reads.optional
    for key in written.keys() - used - RunOptions().keys():
        if not key.startswith("__"):
            yield f"{key} is used nowhere"
    for key in reads.needed - reads.written - written.keys():
        yield f"{key} is needed by the code"


def _include_problems(path: Path, written: dict[str, Any]) -> Iterator[str]:
    for block, node in written.items():
        if not tag_of(node).startswith("!include:"):
            continue
        file = path.parent / tag_of(node).removeprefix("!include:")
        included = parse(file.read_text(encoding="utf-8"))
        for key in node.keys() - included:
            yield f"{block} hands over {key}, which {file.name} does not have"
        taken = {inner for outer, inner in references(written) if outer == block}
        for key in included.keys() - {key for key, _ in references(included)} - taken:
            yield f"{key} of {file.name} is used nowhere"
        for key in included.keys() & written.keys() - taken:
            if key not in node or (key, "") not in references(node[key]):
                yield f"{key} is not handed over to {file.name}, which has it too"


def _command_line_problems(written: dict[str, Any]) -> Iterator[str]:
    for key in written.keys() - RunOptions().keys():
        try:
            overrides = RunOptions.from_command_line_args(["file.yaml", f"--{key}=1"])[2]
        except SystemExit:  # an abbreviation of several options, or of one that takes no value
            overrides = ""
        if overrides != f"{key}: 1":
            yield f"--{key} is taken for one of SpeechBrain's run options"


def _identity_problems(hparams: dict[str, Any]) -> Iterator[str]:
    modules = hparams["modules"]
    if hparams["encoder"] is not modules["model"].encoder:
        yield "encoder is not the one of the model that trains"
    trained = set(nn.ModuleDict(modules).modules())
    for key, value in hparams.items():
        within = {f"{key}[{k}]": v for k, v in value.items()} if isinstance(value, dict) else {}
        for name, part in {key: value, **within}.items():
            has_weights = isinstance(part, nn.Module) and any(True for _ in part.parameters())
            if has_weights and part not in trained:
                yield f"{name} is a second copy, which does not train"
    saved = hparams["checkpointer"].recoverables
    for name, recoverable in saved.items():
        if recoverable is not modules.get(name, hparams.get(name)):
            yield f"the checkpointer saves another {name} than the one that is used"
    for name, module in modules.items():
        if name not in saved and any(parameter.requires_grad for parameter in module.parameters()):
            yield f"{name} trains and is not saved"


def _place_problems(path: Path, written: dict[str, Any]) -> Iterator[str]:
    begin = f"results/{path.parents[1].name}/{path.stem}/"
    if not plain(written["output_folder"])[1].startswith(begin):
        yield f"output_folder does not begin with {begin}"


def find_unpublished(written: dict[str, Any], published: str) -> list[str]:
    """Keys whose values are not the published ones."""
    return [
        key
        for key, node in parse(published).items()
        if key not in written or plain(written[key]) != plain(node)
    ]


def find_differences(first: dict[str, Any], second: dict[str, Any]) -> set[str]:
    """Keys that two files do not share, or not with the same value."""
    missing = object()
    keys = first.keys() | second.keys()
    return {k for k in keys if plain(first.get(k, missing)) != plain(second.get(k, missing))}


# ---- the files as they are


@pytest.fixture(autouse=True)
def import_path(monkeypatch):
    """read_experiment puts the YAML file's folder on it."""
    monkeypatch.setattr(sys, "path", sys.path.copy())


@pytest.fixture(scope="module", params=EXPERIMENTS, ids=NAMES)
def experiment(request) -> Path:
    return request.param


def name_of(path: Path) -> str:
    return f"{path.parents[1].name}/{path.stem}"


def test_there_are_experiments():
    assert "ESC50/pretrain_patch" in NAMES


def test_an_experiment_has_no_problem(experiment):
    assert find_problems(experiment) == []


def test_an_experiment_states_what_was_published(experiment):
    written = parse(experiment.read_text(encoding="utf-8"))
    assert find_unpublished(written, PUBLISHED[name_of(experiment)]) == []


FRAMES = [path for path in EXPERIMENTS if path.stem.endswith("_frame") and "asr" not in path.stem]


@pytest.mark.parametrize("frame", FRAMES)  # recognition has no patches
def test_patch_and_frame_differ_only_where_they_have_to(frame):
    kind = frame.stem.removesuffix("_frame")
    files = (frame, frame.with_name(f"{kind}_patch.yaml"))
    first, second = (parse(file.read_text(encoding="utf-8")) for file in files)
    assert find_differences(first, second) == FRAME_DIFFERS_IN.get(
        kind, FRAME_DIFFERS_IN[kind.split("_")[0]]
    )


@pytest.mark.parametrize("kind", ["patch", "frame"])
def test_an_autoencoder_differs_from_ssast_only_where_it_has_to(kind):
    folder = RECIPES / "AudioSet" / "hparams"
    files = (folder / f"pretrain_{name}_{kind}.yaml" for name in ("joint", "mae_ast"))
    first, second = (parse(file.read_text(encoding="utf-8")) for file in files)
    assert find_differences(first, second) == AUTOENCODER_DIFFERS_IN


@pytest.mark.parametrize("kind", ALIKE)
def test_what_is_no_matter_of_the_data_set_is_alike_in_all(kind):
    """It stands in every file, because a key is overridden and replaced where it stands.

    One's own audio has parts of its own.
    """
    published = [path for path in EXPERIMENTS if path.parents[1].name != "OwnAudio"]
    written = [parse(path.read_text(encoding="utf-8")) for path in published]
    files = [
        file
        for file in written
        if plain(file["brain_class"])[0].endswith(f".{kind}Brain") and "decoder_depth" not in file
    ]
    assert len(files) >= 10
    for key in ALIKE[kind]:
        assert len({repr(plain(file[key])) for file in files}) == 1, key


@pytest.mark.parametrize(
    ("name", "finetune", "frozen"),
    [
        ("VoxCeleb/finetune_patch", (40000, 500, 4, 8, 1e-4), (200000, 4000, 8, 4, 1e-4)),
        ("IEMOCAP/finetune_frame", (10000, 200, 4, 8, 1e-4), (30000, 1000, 4, 8, 1e-4)),
        (
            "SpeechCommands/finetune_v1_patch",
            (20000, 500, 32, 1, 1e-4),
            (200000, 4000, 32, 1, 1e-4),
        ),
        (
            "SpeechCommands/finetune_v1_frame",
            (20000, 500, 32, 1, 5e-5),
            (200000, 4000, 32, 1, 1e-4),
        ),
    ],
)
def test_the_protocols_of_superb_are_one_line_apart(name, finetune, frozen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where output folders are made
    keys = ("num_steps", "valid_interval", "batch_size", "grad_accumulation_factor", "lr")
    recipe, kind = name.split("/")
    words = [str(RECIPES / recipe / "hparams" / f"{kind}.yaml"), "--data_folder", "/data"]
    words += ["--size", "tiny", "--depth", "1"]
    for protocol, values in (("finetune", finetune), ("frozen", frozen)):
        _, hparams, _, _ = read_experiment([*words, "--freeze_encoder", str(protocol == "frozen")])
        assert tuple(hparams[key] for key in keys) == values
        assert hparams["record"]["protocol"] == protocol
    _, hparams, _, _ = read_experiment([*words, "--freeze_encoder", "True", "--num_steps", "7"])
    assert hparams["num_steps"] == 7


@pytest.mark.parametrize("path", INCLUDED, ids=lambda path: path.name)
def test_a_shared_file_is_included(path):
    included = {
        (experiment.parent / tag_of(node).removeprefix("!include:")).resolve()
        for experiment in EXPERIMENTS
        for node in parse(experiment.read_text(encoding="utf-8")).values()
        if tag_of(node).startswith("!include:")
    }
    assert path in included


# ---- each problem is found


PRETRAIN, FINETUNE = "ESC50/hparams/pretrain_patch.yaml", "ESC50/hparams/finetune_patch.yaml"
SHARED = "shared/model.yaml"
MISTAKES = [
    (PRETRAIN, "seed: 1\n", "seed: 1\ncolour: red\n", "colour is used nowhere"),
    # One that only the other Brain reads:
    (PRETRAIN, "seed: 1\n", "seed: 1\nhead_lr_factor: 1\n", "head_lr_factor is used nowhere"),
    (PRETRAIN, "log_interval: 50\n", "", "log_interval is needed by the code"),
    (FINETUNE, "patience: null", "patiense: null", "patiense is used nowhere"),
    (PRETRAIN, "seed: 1\n", "seed: 1\nclass_weights: null\n", "class_weights is used nowhere"),
    (FINETUNE, "head_lr_factor: 1 ", "# ", "head_lr_factor is needed by the code"),
    (FINETUNE, "test_manifests:", "tst_manifests:", "tst_manifests is used nowhere"),
    (FINETUNE, "download: False\n", "", "download is needed by the code"),
    (
        FINETUNE,
        " depth: !ref <depth>,",
        " dept: !ref <depth>,",
        "model_parts hands over dept, which model.yaml does not have",
    ),
    (
        PRETRAIN,
        "     sample_rate: !ref <sample_rate>, pad",
        "     pad",
        "sample_rate is not handed over to model.yaml, which has it too",
    ),
    (
        FINETUNE,
        "patch_stride: !ref <patch_stride>",
        "patch_stride: !ref <patch_size>",
        "patch_stride is not handed over to model.yaml, which has it too",
    ),
    (SHARED, "depth: null\n", "depth: null\ncolour: red\n", "colour of model.yaml is used nowhere"),
    (
        PRETRAIN,
        "checkpoints_to_keep: 1",
        "prof: 1\ncheckpoints_to_keep: 1",
        "--prof is taken for one of SpeechBrain's run options",
    ),
    (
        FINETUNE,
        "checkpoints_to_keep: 1",
        "test: 1\ncheckpoints_to_keep: 1",
        "--test is taken for one of SpeechBrain's run options",
    ),
    (
        PRETRAIN,
        "recoverables: {model: !ref",
        "recoverables: {model: !copy",
        "the checkpointer saves another model than the one that is used",
    ),
    (
        FINETUNE,
        "epoch_counter: !ref <epoch_counter>}",
        "epoch_counter: !copy <epoch_counter>}",
        "the checkpointer saves another epoch_counter than the one that is used",
    ),
    (
        PRETRAIN,
        "recoverables: {model: !ref <model>}",
        "recoverables: {}",
        "model trains and is not saved",
    ),
    (
        FINETUNE,
        "\nencoder: !ref <model_parts[encoder]>",
        "\nencoder: !copy <model_parts[encoder]>",
        "model_parts[encoder] is a second copy, which does not train",
    ),
    (
        PRETRAIN,
        "    encoder: !ref <encoder>\n    contrastive",
        "    encoder: !copy <encoder>\n    contrastive",
        "encoder is not the one of the model that trains",
    ),
    (
        PRETRAIN,
        "    contrastive_head: !ref",
        "    contrastive_head: !copy",
        "contrastive_head is a second copy, which does not train",
    ),
    (
        FINETUNE,
        "finetune_patch/fold",
        "finetune_frame/fold",
        "output_folder does not begin with results/ESC50/finetune_patch/",
    ),
]


@pytest.fixture
def recipes(tmp_path) -> Path:
    """A copy to make mistakes in."""
    return shutil.copytree(RECIPES, tmp_path / "recipes")


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"), MISTAKES, ids=[mistake[-1] for mistake in MISTAKES]
)
def test_a_mistake_is_found(recipes, name, old, new, problem):
    change(recipes / name, old, new)
    assert problem in find_problems(recipes / (PRETRAIN if name == SHARED else name))


def test_a_file_that_does_not_load_is_found(recipes):
    change(recipes / FINETUNE, "objectives.EpochDecay", "objectives.EpochDeacy")
    (problem,) = find_problems(recipes / FINETUNE)
    assert problem.startswith("does not load: ") and "EpochDeacy" in problem


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("lr: 1.0e-4", "lr: 1.0e-3", "lr"),
        ("max_frames: 96", "max_frames: 48", "spec_augment"),
        ("NoiseAndRoll\n", "NoiseAndRoll {max_shift: 5}\n", "noise_and_roll"),
        ("torch.optim.Adam {", "torch.optim.AdamW {", "opt_class"),
        ("first_epoch: 6", "first_epoch: 5", "schedule"),
        ("patch_stride: [10, 10]", "patch_stride: [16, 16]", "patch_stride"),
        ("grad_accumulation_factor: 1\n", "", "grad_accumulation_factor"),
    ],
)
def test_a_value_that_was_not_published_is_found(recipes, old, new, key):
    change(recipes / FINETUNE, old, new)
    written = parse((recipes / FINETUNE).read_text())
    assert find_unpublished(written, PUBLISHED["ESC50/finetune_patch"]) == [key]


def test_a_difference_between_files_is_found():
    first, second = parse("a: 1\nb: !new:x.Y\n    c: 2\n"), parse("a: 1\nb: !new:x.Z\n    c: 2\n")
    assert find_differences(first, first) == set()
    assert find_differences(first, second) == {"b"}
    assert find_differences(first, parse("a: 1\n")) == {"b"}
    assert find_differences(parse("a: !ref <b>\n"), parse("a: <b>\n")) == {"a"}


def test_reading_code_tells_what_is_needed_from_what_is_not():
    reads = KeysRead()
    reads.visit(
        ast.parse(
            """
def main(self, hparams, other):
    hparams["a"], self.hparams.b, other["no"], self.no
    {split: hparams[f"{split}_c"] for split in ("train", "valid")}
    hparams["d"] = hparams["record"]["no"]
    if self.hparams.e is not None:
        self.hparams.f(hparams["g"])
    if other:
        hparams["h"]
    hparams.get("i", hparams["j"]), getattr(self.hparams, "k", None)
"""
        )
    )
    assert reads.needed == {"a", "b", "train_c", "valid_c", "record", "e", "h", "j"}
    assert reads.optional == {"f", "g", "i", "k"}
    assert reads.written == {"d"}
