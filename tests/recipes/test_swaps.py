"""Every swap of README.md and docs/swapping.md, run through train.py and seen to take effect.

The YAML comes from those pages: `@block(heading)` hands a test the block below a heading.
"""

import logging
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from speechbrain import Stage
from speechbrain.utils.run_opts import RunOptions
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from ssast_recipes.brains import ClassificationBrain, PretrainingBrain
from ssast_recipes.model.autoencoder import MaskedAutoencoder
from ssast_recipes.model.classifiers import WeightedSumModel
from ssast_recipes.model.grid import adapt_positions
from ssast_recipes.model.masking import ClusterMasker, OfficialClusterMasker
from ssast_recipes.model.patches import patchify, select_patches, standardise_patches
from ssast_recipes.model.randomness import ClipGenerator
from ssast_recipes.objectives.losses import (
    constant_patches,
    info_nce_loss,
    masked_reconstruction_loss,
)
from ssast_recipes.objectives.metrics import mean_average_precision
from ssast_recipes.records.predictions import read_predictions
from ssast_recipes.weights.formats.config import read_config
from ssast_recipes.weights.formats.ssast import ours_to_released
from tests.conftest import REPOSITORY
from tests.recipes.conftest import RECIPES, Run

DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "docs" / "swapping.md"]
HPARAMS = RECIPES / "ESC50" / "hparams"
# The sections that have blocks, and the file whose keys they replace.
FILES = {"Swapping parts": "pretrain_patch.yaml", "Pretraining": "pretrain_patch.yaml"}
FILES |= {"Fine-tuning": "finetune_patch.yaml"}
INCLUDE = "!include:../../shared/model.yaml"
# What makes a run quick; a block's own values go before.
SMALL = {"embed_dim": 64, "depth": 1, "num_heads": 1, "target_length": 64, "batch_size": 4}
SMALL |= {"num_workers": 0, "log_interval": 1}
QUICK = {
    "pretrain": {"num_masked_patches": 20, "num_steps": 2, "valid_interval": 100}
    | {"warmup_steps": 0},
    "finetune": {"num_classes": 4, "number_of_epochs": 1, "spec_augment": "{max_frames: 16}"},
}
# What a file need not have: of SpeechBrain, of the Brain and of `make_datasets`.
OPTIONAL = {*RunOptions().keys(), *ClassificationBrain.optional, "mixup"}
OPTIONAL |= {*PretrainingBrain.optional}
# A top-level key's value: the rest of its line, and all that is indented below.
VALUE = r"(.*\n(?:\n* .*\n)*)"


class Block(NamedTuple):
    """A block of YAML, the file whose keys it replaces, and the Python that stands above it."""

    file: str
    yaml: str
    python: str | None

    @property
    def values(self) -> dict[str, str]:
        """The text of each key's value."""
        return dict(re.findall(rf"^(\w+):{VALUE}", self.yaml, re.MULTILINE))

    def apply(self, text: str) -> str:
        """Replaces the keys in a YAML file's text; only what is optional may be new."""
        for key, value in self.values.items():
            old = re.search(rf"^{key}:{VALUE}", text, re.MULTILINE)
            assert old or key in OPTIONAL, f"{self.file} has no key {key}"
            begin, end = old.span() if old else (len(text), len(text))
            text = f"{text[:begin]}{key}:{value}{text[end:]}"
        return text


def read_blocks(text: str) -> dict[str, Block]:
    """All blocks of a page by their headings: one a heading."""
    blocks = {}
    for section, content in re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", text, flags=re.MULTILINE):
        for heading, below in re.findall(r"^### (.+)\n((?:(?!###).*\n)*)", content, re.MULTILINE):
            fenced = dict(re.findall(r"^```(\w+)\n(.*?)^```$", below, re.MULTILINE | re.DOTALL))
            if "yaml" in fenced:
                blocks[heading] = Block(FILES[section], fenced["yaml"], fenced.get("python"))
    return blocks


PAGES = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
BLOCKS = {heading: found for page in PAGES for heading, found in read_blocks(page).items()}
TESTED = set()


def block(heading: str) -> pytest.MarkDecorator:
    TESTED.add(heading)
    return pytest.mark.parametrize("block", [BLOCKS[heading]], ids=[heading])


@pytest.fixture
def run(run_recipe, esc50_options, tmp_path):
    """`run(block or file name, key=value, …)` in a folder outside the repository."""

    def run_changed(changed: Block | str, **values) -> Run:
        file = changed if isinstance(changed, str) else changed.file
        path, stated = HPARAMS / file, set()
        if isinstance(changed, Block):
            path, stated = tmp_path / "mine.yaml", set(changed.values)
            text = (HPARAMS / file).read_text(encoding="utf-8")
            assert INCLUDE in text
            text = text.replace(INCLUDE, f"!include:{RECIPES}/shared/model.yaml")
            path.write_text(changed.apply(text), encoding="utf-8")
            if changed.python:
                (tmp_path / "my_parts.py").write_text(changed.python, encoding="utf-8")
        quick = {**SMALL, **QUICK[file.split("_")[0]]}
        quick = {key: value for key, value in quick.items() if key not in stated}
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        options = {"output_folder": folder, **quick, **values}
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        return run_recipe("ESC50", path, *esc50_options, *words)

    return run_changed


@pytest.fixture(scope="session")
def pretrained(run_recipe, esc50_options, tmp_path_factory) -> Run:
    """A patch-based pretraining run, with nothing swapped."""
    options = {**SMALL, **QUICK["pretrain"], "output_folder": tmp_path_factory.mktemp("pretrained")}
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    return run_recipe("ESC50", HPARAMS / "pretrain_patch.yaml", *esc50_options, *words)


def drawn_masks(run: Run, masker) -> torch.Tensor:
    """The masks that a masker draws for a run's first batch."""
    places = run.batches(Stage.TRAIN)[0].batch.places.to(run.brain.device)
    generator = ClipGenerator(run.brain.hparams.seed, 1, places)
    return masker(generator, run.brain.hparams.encoder.grid_size)


def encoder_weights(weights):
    """The encoder's of a saved model's weights."""
    tensors = {name: value for name, value in weights.items() if isinstance(value, torch.Tensor)}
    prefix = "encoder."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def same(first, second, but=()) -> bool:
    """Whether two dicts of tensors are equal, some names left aside."""
    assert first.keys() == second.keys()
    return all(first[k].cpu().equal(second[k].cpu()) for k in first.keys() - set(but))


# ---- the pages themselves


def test_every_block_is_tested_and_stands_once():
    assert BLOCKS.keys() == TESTED
    assert sum(page.count("```yaml") for page in PAGES) == len(BLOCKS)
    assert len({found.yaml for found in BLOCKS.values()}) == len(BLOCKS)


def test_a_block_replaces_keys_with_all_that_is_indented_below_them():
    text = "a: 1 # one\nb: !new:x.Y\n    c: 2\n\n    d: 3\n\n# Comment\ne: 4\n"
    changed = Block("", "b: !new:x.Z\n    c: 5\ne: null\n", None).apply(text)
    assert changed == "a: 1 # one\nb: !new:x.Z\n    c: 5\n\n# Comment\ne: null\n"
    with pytest.raises(AssertionError, match="no key f"):
        Block("x.yaml", "f: 1\n", None).apply(text)


# ---- pretraining


@block("Another masker")
def test_another_masker(block, run, pretrained):
    done = run(block)
    (masked,) = done.batches(Stage.TRAIN)[0].outputs.masked
    assert masked.equal(drawn_masks(done, ClusterMasker(20)))
    (before,) = pretrained.batches(Stage.TRAIN)[0].outputs.masked
    assert before.equal(drawn_masks(pretrained, OfficialClusterMasker(20)))
    assert not masked.equal(before)


@block("The paper's InfoNCE axis")
def test_the_papers_info_nce_axis(block, run, pretrained):
    for done, axis in ((run(block), "targets"), (pretrained, "predictions")):
        outputs = done.batches(Stage.TRAIN)[0].outputs
        losses = {
            axis: info_nce_loss(outputs.predictions.contrastive, outputs.targets[0], axis).item()
            for axis in ("targets", "predictions")
        }
        assert done.log("train")[0]["contrastive_loss"] == pytest.approx(losses[axis], rel=1e-6)
        assert abs(losses["targets"] - losses["predictions"]) > 1e-3


def test_the_command_line_changes_a_plain_value_and_an_argument_of_a_part(run):
    by_block = run(BLOCKS["One objective alone"])
    options = {"reconstruction_head": "null", "schedule": "{stairs: 1}", "warmup_steps": 4}
    options |= {"num_steps": 5}
    by_command_line = run("pretrain_patch.yaml", **options)
    first, second = (done.log("train")[0] for done in (by_block, by_command_line))
    assert first.keys() == second.keys() and first["loss"] == second["loss"]
    rates = [record["learning_rate"] for record in by_command_line.log("train")]
    assert rates == pytest.approx([0, 0.25e-4, 0.5e-4, 0.75e-4, 1e-4])


def test_the_command_line_refuses_to_name_another_object(run):
    masker = "!new:ssast_recipes.model.RandomMasker {num_masked_patches: 20}"
    with pytest.raises(ValueError, match=r"--masker !new:.*RandomMasker.*write it into a copy of"):
        run("pretrain_patch.yaml", masker=masker)
    same_object = "!new:ssast_recipes.model.OfficialClusterMasker {cluster_factors: [2]}"
    assert run("pretrain_patch.yaml", masker=same_object).brain.hparams.masker == (
        OfficialClusterMasker(20, [2])
    )


@block("One objective alone")
def test_one_objective_alone(block, run):
    done = run(block)
    assert not [name for name in done.saved if name.startswith("reconstruction_head")]
    assert [name for name in done.saved if name.startswith("contrastive_head")]
    for record in done.log("train") + done.log("valid"):
        assert record["loss"] == record["contrastive_loss"]
        assert "reconstruction_loss" not in record
    assert done.results["metric"] == "masked_patch_accuracy"
    pictures = [path.name for path in (done.folder / "pictures").iterdir()]
    assert pictures and all(name.startswith("found") for name in pictures)  # nothing is redrawn


@block("The generative objective alone")
def test_the_generative_objective_alone(block, run):
    done = run(block, valid_interval=1, checkpoints_to_keep=2)
    assert not [name for name in done.saved if name.startswith("contrastive_head")]
    for record in done.log("train") + done.log("valid"):
        assert record["loss"] == pytest.approx(10 * record["reconstruction_loss"], rel=1e-6)
        assert "contrastive_loss" not in record
    errors = [record["reconstruction_loss"] for record in done.log("valid")]
    assert len(set(errors)) == 2
    values = {"last": errors[-1], "best": min(errors)}
    assert done.results["value"] == pytest.approx(values, rel=1e-6)
    assert done.results["metric"] == "reconstruction_loss"


@block("Another reconstruction loss")
def test_another_reconstruction_loss(block, run):
    done = run(block)
    first, record = done.batches(Stage.TRAIN)[0], done.log("train")[0]
    errors = (first.outputs.predictions.reconstruction - first.outputs.targets[0]).abs()
    assert record["reconstruction_loss"] == pytest.approx(errors.mean().item(), rel=1e-6)
    total = record["contrastive_loss"] + 5 * record["reconstruction_loss"]
    assert first.loss.item() == pytest.approx(total, rel=1e-6)


@block("Another width and depth")
def test_another_width_and_depth(block, run):
    done = run(block)
    assert done.saved["encoder.blocks.5.attention.qkv.weight"].shape == (3 * 256, 256)
    assert "encoder.blocks.6.attention.qkv.weight" not in done.saved
    assert done.saved["contrastive_head.output.weight"].shape == (256, 256)  # patch area, width
    geometry = done.results["geometry"]
    assert [geometry[key] for key in ("embed_dim", "depth", "num_heads")] == [256, 6, 4]


@block("Another optimiser and schedule")
def test_another_optimiser_and_schedule(block, run):
    done = run(block, num_steps=4, lr=0.1, warmup_steps=2)
    optimizer = done.brain.optimizer
    assert type(optimizer) is torch.optim.AdamW
    (group,) = optimizer.param_groups
    assert group["weight_decay"] == 0.05
    trained = {id(p) for p in done.brain.modules.parameters() if p.requires_grad}
    assert {id(p) for p in group["params"]} == trained
    rates = [record["learning_rate"] for record in done.log("train")]
    assert rates == pytest.approx([0.05, 0.1, 0.1, 0.05])  # half, full; cos 0, cos 90 degrees


@block("No weight decay on biases and norms")
def test_no_weight_decay_on_vectors(block, run):
    matrices, vectors = (done := run(block)).brain.optimizer.param_groups
    assert [group["weight_decay"] for group in (matrices, vectors)] == [5e-7, 0]
    assert {p.ndim > 1 for p in matrices["params"]} == {True}
    assert {p.ndim > 1 for p in vectors["params"]} == {False}
    trained = {id(p) for p in done.brain.modules.parameters() if p.requires_grad}
    assert {id(p) for group in (matrices, vectors) for p in group["params"]} == trained


@block("Two passes")
def test_two_passes(block, run, pretrained):
    done = run(block)
    outputs, record = done.batches(Stage.TRAIN)[0].outputs, done.log("train")[0]
    first, second = outputs.masked
    assert not first.equal(second)
    contrastive = info_nce_loss(outputs.predictions.contrastive, outputs.targets[0], "predictions")
    assert record["contrastive_loss"] == pytest.approx(contrastive.item(), rel=1e-6)
    reconstruction = masked_reconstruction_loss(
        outputs.predictions.reconstruction, outputs.targets[1]
    )
    assert record["reconstruction_loss"] == pytest.approx(reconstruction.item(), rel=1e-6)
    once = pretrained.batches(Stage.TRAIN)[0].outputs
    assert len(once.masked) == len(once.targets) == 1


@block("Silence is no target")
def test_silence_is_no_target(block, run):
    done = run(block, target_length=128)  # the clips end after half of it
    outputs, record = done.batches(Stage.TRAIN)[0].outputs, done.log("train")[0]
    sounding = ~constant_patches(outputs.targets[0])
    assert 0.1 < sounding.float().mean() < 0.9
    arguments = (outputs.predictions.contrastive, outputs.targets[0], "predictions")
    loss = info_nce_loss(*arguments, included=sounding).item()
    assert record["contrastive_loss"] == pytest.approx(loss, rel=1e-6)
    assert abs(loss - info_nce_loss(*arguments).item()) > 0.1


@block("Your own masker and loss")
def test_your_own_masker_and_loss(block, run):
    before = [sys.path.copy(), sys.excepthook, logging.root.handlers.copy()]
    modules = {"my_parts", "esc50_prepare", "ESC50_train"} - sys.modules.keys()
    done = run(block, target_length=512)
    first, record = done.batches(Stage.TRAIN)[0], done.log("train")[0]
    masked = torch.zeros(4, 8 * 32, device=done.brain.device)
    masked = masked.scatter_(1, first.outputs.masked[0], 1).view(4, 8, 32)
    assert masked.sum(dim=(1, 2)).tolist() == [200] * 4
    columns = masked[:, 0]
    assert masked.equal(columns[:, None].expand(4, 8, 32))  # whole columns …
    assert len(columns.unique(dim=0)) == 4  # … and others in every clip
    predictions, targets = first.outputs.predictions.contrastive, first.outputs.targets[0]
    similarities = torch.cosine_similarity(predictions[:, :, None], targets[:, None], dim=3)
    chances = (similarities / 0.1).log_softmax(dim=1).diagonal(dim1=1, dim2=2)
    assert record["contrastive_loss"] == pytest.approx(-chances.mean().item(), rel=1e-4)
    # And the next test finds this process as it was.
    assert [sys.path, sys.excepthook, logging.root.handlers] == before
    assert "my_parts" in modules and not modules & sys.modules.keys()


def test_run_options_of_the_file_reach_the_brain_and_those_of_the_command_line_win(run, pretrained):
    # SpeechBrain's own defaults are 5.0 and 1; the file says 0 and 1.
    assert pretrained.brain.max_grad_norm == 0
    assert pretrained.results["run_options"] == {}
    done = run("pretrain_patch.yaml", max_grad_norm=2, grad_accumulation_factor=2)
    assert (done.brain.max_grad_norm, done.brain.grad_accumulation_factor) == (2, 2)
    assert done.results["run_options"] == {"grad_accumulation_factor": 2, "max_grad_norm": 2.0}
    assert len(done.batches(Stage.TRAIN)) == 4  # for two steps


@block("A masked autoencoder")
def test_a_masked_autoencoder(block, run):
    done = run(block, valid_interval=1)
    model, seen = done.brain.modules.model, done.batches(Stage.TRAIN)[0]
    assert type(model) is MaskedAutoencoder and len(model.decoder.blocks) == 2
    outputs = seen.outputs
    patches = patchify(outputs.spectrograms, (16, 16))
    expected = select_patches(standardise_patches(patches), outputs.masked[0])
    assert torch.equal(outputs.targets[0], expected)
    assert (done.folder / "pictures").is_dir()
    config = read_config(done.folder / "model")
    assert config.decoder.depth == 2 and config.provenance["targets"] == "standardised_patches"
    tuned = run("finetune_patch.yaml", pretrained_encoder=done.folder)
    positions = ["position_embedding"]
    assert same(tuned.initial, encoder_weights(done.saved), but=positions)


# ---- fine-tuning


@pytest.fixture
def weights_at(block, pretrained, tmp_path, monkeypatch) -> Path:
    """Where a block says that pretrained weights lie, below the folder that the test runs in."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = Path(block.values["pretrained_encoder"].strip())
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def assert_finetuned_from(done: Run, weights) -> None:
    """The encoder began with the weights, its positions fitted to 12 × 5 patches, and moved."""
    pretrained = encoder_weights(weights)
    positions = pretrained["position_embedding"]
    fitted = adapt_positions(positions[:, 2:], (8, 4), (12, 5))
    pretrained["position_embedding"] = torch.cat([positions[:, :2], fitted], dim=1)
    assert same(done.initial, pretrained)
    trained = encoder_weights(done.saved)
    assert not same(done.initial, trained)
    assert done.results["geometry"]["grid_size"] == [12, 5]


@block("Weights of your own run")
def test_weights_of_a_run(block, run, pretrained, weights_at):
    shutil.copytree(pretrained.folder, weights_at)
    done = run(block)
    assert_finetuned_from(done, pretrained.saved)
    assert re.fullmatch(r"CKPT.*/model.ckpt", done.results["pretrained_from"]["name"])


@block("Weights of one checkpoint")
def test_weights_of_a_checkpoint(block, run, pretrained, weights_at):
    shutil.copytree(max(pretrained.folder.glob("save/CKPT*")), weights_at)
    done = run(block)
    assert_finetuned_from(done, pretrained.saved)
    assert done.results["pretrained_from"]["name"] == f"{weights_at.name}/model.ckpt"


@block("Released weights")
def test_released_weights(block, run, pretrained, weights_at):
    torch.save(ours_to_released(pretrained.saved), weights_at)
    done = run(block)
    assert_finetuned_from(done, pretrained.saved)
    assert done.results["pretrained_from"]["name"] == "SSAST-Tiny-Patch-400.pth"
    assert done.brain.hparams.size == "tiny"


@block("From scratch")
def test_from_scratch(block, run, pretrained):
    done = run(block)
    assert done.results["pretrained_from"] is None
    positions = ["position_embedding"]
    assert not same(done.initial, encoder_weights(pretrained.saved), but=positions)
    # The seed alone says what it began with.
    assert same(done.initial, run(block).initial)
    assert not same(done.initial, run(block, seed=2).initial)


@block("A linear probe")
def test_a_linear_probe(block, run, pretrained):
    done = run(block, pretrained_encoder=pretrained.folder)
    positions = ["position_embedding"]
    assert same(done.initial, encoder_weights(pretrained.saved), but=positions)
    assert same(encoder_weights(done.saved), done.initial)
    (group,) = done.brain.optimizer.param_groups
    classifier = done.brain.modules.model.classifier
    assert {id(p) for p in group["params"]} == {id(p) for p in classifier.parameters()}
    fresh = torch.ones(64)  # the layer norm's weights before training
    assert not done.saved["classifier.norm.weight"].equal(fresh)


@block("Another overlap of patches")
def test_another_overlap(block, run, pretrained):
    done = run(block, pretrained_encoder=pretrained.folder)
    assert same(done.initial, encoder_weights(pretrained.saved))  # the very positions
    assert done.results["geometry"]["patch_stride"] == [16, 16]
    assert done.results["geometry"]["grid_size"] == [8, 4]
    assert not same(encoder_weights(done.saved), done.initial)


@block("Longer clips")
def test_longer_clips(block, run, pretrained):
    done = run(block, pretrained_encoder=pretrained.folder)
    positions = pretrained.saved["encoder.position_embedding"]
    stretched = adapt_positions(positions[:, 2:], (8, 4), (12, 101))
    stretched = torch.cat([positions[:, :2], stretched], dim=1)
    assert done.initial["position_embedding"].cpu().equal(stretched)
    assert done.brain.modules.front_end.target_length == 1024
    assert done.brain.hparams.read_waveform.max_duration == 10.255


def test_another_patch_size_or_width_is_a_clear_error(run, pretrained):
    for key, value in {"patch_size": "[8, 16]", "embed_dim": 128, "depth": 2}.items():
        with pytest.raises(ValueError, match=rf"model.ckpt: .*{key}.*as pretrained"):
            run("finetune_patch.yaml", pretrained_encoder=pretrained.folder, **{key: value})


def test_frame_based_patches(run):
    pretrained = run("pretrain_frame.yaml")
    assert pretrained.results["geometry"]["grid_size"] == [1, 32]
    done = run("finetune_frame.yaml", pretrained_encoder=pretrained.folder)
    assert done.results["geometry"]["grid_size"] == [1, 63]  # a stride of 1 frame
    positions = ["position_embedding"]
    assert same(done.initial, encoder_weights(pretrained.saved), but=positions)
    assert done.results["pretrained_from"]["name"].startswith("CKPT")


def test_patch_based_weights_do_not_fit_a_frame_based_encoder(run, pretrained):
    with pytest.raises(ValueError, match=r"patch_size.*as pretrained"):
        run("finetune_frame.yaml", pretrained_encoder=pretrained.folder)


@block("The weighted sum of hidden states")
def test_the_weighted_sum(block, run):
    done = run(block, depth=2)
    model = done.brain.modules.model
    assert type(model) is WeightedSumModel and model.padding == "masked"
    (name,) = {name for name in done.saved if not name.startswith(("encoder.", "classifier."))}
    assert done.saved[name].shape == (2,)  # one a block
    assert done.saved[name].unique().numel() == 2  # equal at first


def assert_loss_is_bce(done: Run) -> None:
    for seen in done.batches(Stage.TRAIN):
        loss = binary_cross_entropy_with_logits(seen.outputs.float(), seen.batch.targets)
        torch.testing.assert_close(seen.loss, loss)


@block("What helps small encoders with few labels")
def test_what_helps_with_few_labels(block, run, pretrained):
    values = {"num_steps": 3, "head_warmup_steps": 2, "valid_interval": 0, "lr": 0.15}
    done = run(block, pretrained_encoder=pretrained.folder, **values)
    rates = [record["learning_rate"] for record in done.log("train")]
    lowest = 0.15 * 0.75**2  # of the patch embedding, below one block
    # The warm-up of 150 steps is shortened to none of three.
    assert rates == pytest.approx([lowest * share for share in (1, 0.75, 0.25)])
    outputs = done.batches(Stage.TRAIN)[0]
    expected = torch.nn.functional.cross_entropy(
        outputs.outputs.float(), outputs.batch.targets, label_smoothing=0.1
    )
    assert outputs.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    state = done.brain.optimizer.state[done.brain.model.encoder.class_token]
    assert state["step"].item() == 1  # the third step alone
    assert done.brain.hparams.drop_path == 0.1


@block("Padding is not heard")
def test_padding_is_not_heard(block, run):
    done = run(block, target_length=96)
    assert done.brain.hparams.noise_and_roll.max_shift == 0
    model, front_end = done.brain.model.eval(), done.brain.front_end
    batch = done.batches(Stage.TRAIN)[-1].batch
    spectrograms = front_end(batch.waveforms, batch.num_samples)
    frames = front_end.filterbank.num_frames(batch.num_samples)
    changed = spectrograms.clone()
    for clip, length in enumerate(frames.tolist()):
        changed[clip, -(-length // 16) * 16 :] = 3.0
    assert not changed.equal(spectrograms)
    with torch.no_grad():
        torch.testing.assert_close(model(changed, frames), model(spectrograms, frames))


@block("Several labels a clip")
def test_several_labels(block, run):
    done = run(block)
    assert_loss_is_bce(done)
    targets = torch.cat([seen.batch.targets for seen in done.batches(Stage.TRAIN)])
    assert targets.shape == (16, 4) and set(targets.unique().tolist()) == {0, 1}
    assert done.results["metric"] == "mAP"
    assert done.results["metrics"]["last"].keys() == {"loss", "mAP"}
    logits, labels = read_predictions(done.folder / "predictions.csv", "last")
    expected = mean_average_precision(logits, one_hot(labels, 4).float()).item()
    assert done.results["value"]["last"] == pytest.approx(expected, abs=1e-5)


@block("Mixup")
def test_mixup(block, run):
    done = run(block)
    assert_loss_is_bce(done)
    targets = torch.cat([seen.batch.targets for seen in done.batches(Stage.TRAIN)])
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(16, device=targets.device))
    mixed = ((targets > 0) & (targets < 1)).any(dim=1).float().mean()  # of another class: 3 of 4
    assert 0.1 < mixed < 0.8
    assert done.results["metric"] == "accuracy"


@block("Rare classes more often")
def test_rare_classes(block, run):
    done = run(block)
    clips = torch.cat([seen.batch.indices for seen in done.batches(Stage.TRAIN)]).tolist()
    assert len(clips) == 16 > len(set(clips))  # drawn with replacement


@block("Averaged weights")
def test_averaged_weights(block, run):
    done = run(block)
    assert done.results["epochs"] == {
        "last": 4,
        "averaged": [3, 4],
        "best": done.results["epochs"]["best"],
    }
    assert done.results["value"].keys() == {"last", "averaged", "best"}


@block("Stopping early")
def test_stopping_early(block, run):
    done = run(block, number_of_epochs=6, lr=0)  # nothing gets better after the first
    assert [record["epoch"] for record in done.log("valid")] == [1, 2, 3, 4]
