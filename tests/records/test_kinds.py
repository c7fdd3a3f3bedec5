"""Kinds and ranges of values: every key of ours has one, and what is none of it is told."""

from pathlib import Path

import pytest

from ssast_recipes.records.hparams import List, Map, compose, read_hparams
from ssast_recipes.records.kinds import KINDS, check_values
from ssast_recipes.records.overrides import check_overrides
from ssast_recipes.system.recipes import recipe_folder

FILES = sorted(recipe_folder().glob("*/hparams/*.yaml"))
# Of one recipe, whose preparation says what they may be; and what only code of ours is named by.
ELSEWHERE = {"validation", "version", "output_keys", "epoch_counter"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_every_value_of_ours_is_of_a_known_kind(path):
    """Kinds are not taken from the files: a key without one fails, and a wrong kind does."""
    hparams = read_hparams(path)
    plain = {
        key
        for key, node in hparams.items()
        if not node.tag.startswith("!") and not isinstance(node, Map) and key[0] != "_"
    }
    objects = {"sample_weights", "noise_and_roll", "spec_augment", "masker"}  # null, for none
    assert plain - objects - ELSEWHERE <= KINDS.keys()
    check_values(str(path), hparams.items())
    assert any(isinstance(node, List) for node in hparams.values())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("lr: 1,5e-4", "--lr is '1,5e-4'; give a number from 0 on, with a decimal point"),
        ("lr: .nan", "--lr is nan; give a number from 0 on"),
        ("lr: -1.0e-4", "--lr is -0.0001; give a number from 0 on"),
        ("batch_size: abc", "--batch_size is 'abc'; give a whole number from 1 on"),
        ("batch_size: 2.5", "--batch_size is 2.5; give a whole number from 1 on"),
        ("batch_size: True", "--batch_size is True; give a whole number from 1 on"),
        ("log_interval: 0", "--log_interval is 0; give a whole number from 1 on"),
        ("num_steps: 0", "--num_steps is 0; give a whole number from 1 on"),
        ("num_steps: null", "--num_steps is null; give a whole number from 1 on"),
        ("max_duration: 0", "--max_duration is 0; give a number above 0 or null"),
        ("max_rejected: 10", "--max_rejected is 10; give a number from 0 to 1"),
        ("padding: maskd", "--padding is 'maskd'; give one of released, masked"),
        ("keep_in_memory: 'yes'", "--keep_in_memory is 'yes'; give True or False"),
        ("patch_size: 16", "--patch_size is 16; give two whole numbers, as [16, 16]"),
        ("patch_size: [16]", "--patch_size is [16]; give two whole numbers, as [16, 16]"),
        ("train_manifests: a.csv", "give a list of files, as [a.csv, b.csv]"),
        ("output_folder: 2024", "--output_folder is 2024; give a path, such as ./2024"),
        ("embed_dim: 0", "--embed_dim is 0; give a whole number from 1 on or null"),
        ("weight_decay: high", "--weight_decay is 'high'; give a number from 0 on"),
        ("betas: [0.9, 1.5]", "give two numbers from 0 to below 1"),
    ],
)
def test_what_is_no_such_value(given, told):
    path = recipe_folder("OwnAudio") / "hparams" / "pretrain.yaml"
    with pytest.raises(ValueError) as raised:
        check_overrides(str(path), f"data_folder: /data\n{given}")
    assert told in str(raised.value)


@pytest.mark.parametrize(
    "given",
    [
        "lr: 1e-4",
        "lr: 0",
        "max_duration: null",
        "max_duration: !ref <target_length> / 50",
        "num_workers: 0",
        "probe_data: null",
        "mean: -4",
    ],
)
def test_what_is_one(given):
    path = recipe_folder("OwnAudio") / "hparams" / "pretrain.yaml"
    check_overrides(str(path), f"data_folder: /data\n{given}")


def test_a_file_of_ones_own_is_checked_as_well(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("batch_size: 0\nmy_rate: 0.5\n")
    with pytest.raises(ValueError, match=r"mine.yaml: batch_size is 0; give a whole number from 1"):
        check_overrides(str(path), "")
    path.write_text("my_rate: 0.5\nmy_switch: False\nmy_word: dog\n")
    assert check_overrides(str(path), "my_rate: 1\nmy_word: 3\nmy_switch: null")
    with pytest.raises(ValueError, match="--my_rate is 'high'; give a number or null"):
        check_overrides(str(path), "my_rate: high")
    with pytest.raises(ValueError, match="--my_switch is 'on it'; give True or False or null"):
        check_overrides(str(path), "my_switch: on it")


@pytest.mark.parametrize("text", ["num_steps: null\nnumber_of_epochs: 5\n", "num_steps: 5\n"])
def test_steps_or_epochs_are_counted(text):
    check_values("mine.yaml", compose(text))
    with pytest.raises(ValueError, match="num_steps is null"):
        check_values("mine.yaml", compose("num_steps: null\n"))


def test_files_are_there():
    assert len(FILES) > 20 and all(isinstance(path, Path) for path in FILES)


def test_a_name_of_ours_may_be_of_another_kind_in_a_users_file():
    """A size of 224 is for the user's own parts; ours refuse it themselves."""
    check_values("mine.yaml", compose("size: 224"), compose("size: 96"))
    with pytest.raises(ValueError, match="--size is 'tiny'; give a number or null"):
        check_values("mine.yaml", compose("size: 224"), compose("size: tiny"))
    with pytest.raises(ValueError, match="--size is 224; give one of tiny, small, base"):
        check_values("ours.yaml", compose("size: base"), compose("size: 224"))
    with pytest.raises(ValueError, match="batch_size is 'many'"):
        check_values("ours.yaml", compose("batch_size: many"))
