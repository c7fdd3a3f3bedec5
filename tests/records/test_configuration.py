import pytest

from ssast_recipes.records.configuration import changed_keys, configuration_sha256

BEFORE = "lr: 0.1\nnum_steps: 10\n"


@pytest.mark.parametrize(
    "key",
    [
        *("num_steps", "valid_interval", "patience", "checkpoint_interval", "log_interval"),
        *("max_rejected", "probe_data", "probe_interval", "training_log"),
    ],
)
def test_how_long_a_run_goes_on_may_change(key):
    assert changed_keys(BEFORE, f"lr: 0.1\n{key}: 7\n") == []
    assert changed_keys(f"{BEFORE}{key}x: 3\n", f"{BEFORE}{key}x: 7\n") == [f"{key}x"]


def test_what_is_computed_may_not_change():
    now = "lr: 0.2\nnum_steps: 10\naverage_epochs: [3, 4]\n"
    assert changed_keys(BEFORE, now) == ["average_epochs", "lr"]


def test_more_clips_may_be_bad_than_preparation_thought():
    before, now = (
        f"prepare: !name:prepare\n    seed: {seed}\n    max_rejected: {share}\n"
        for seed, share in ((1, 0.01), (1, 0.5))
    )
    assert changed_keys(before, now) == []
    assert changed_keys(before, now.replace("seed: 1", "seed: 2")) == ["prepare"]


@pytest.mark.parametrize(
    ("key", "value", "is_new"),
    [
        ("positions", "learned", False),
        ("positions", "sinusoidal", True),
        ("low_frequency", 20, False),
        ("low_frequency", 50, True),
        ("high_frequency", 0, False),
        ("high_frequency", 4000, True),
    ],
)
def test_what_came_later_counts_only_where_it_says_something_new(tmp_path, key, value, is_new):
    text = "parts:\n    encoder: !apply:ast_encoder\n        size: tiny\n"
    later = f"{text}        {key}: {value}\n    {key}: {value}\n"
    assert changed_keys(text, later) == ["parts"] * is_new
    hashes = set()
    for name, written in (("before", text), ("now", later)):
        (tmp_path / name).write_text(written)
        hashes.add(configuration_sha256(tmp_path / name))
    assert len(hashes) == 1 + is_new


# ---- runs begun by earlier code, whose YAML files were laid out in another way

FLAT = """\
data_folder: /data
output_folder: /out
manifest_folder: /out/manifests
mean: -6.5
lr: 1.0e-4
train_manifests: [/out/manifests/train.csv]
model_parts:
    mean: -6.5
    front_end: &front !new:ssast_recipes.features.FrontEnd {mean: -6.5}
    encoder: &encoder !apply:ssast_recipes.builders.ast_encoder {size: tiny}
encoder: *encoder
front_end: *front
masker: !new:ssast_recipes.masking.ClusterMasker
    num_masked_patches: 200
label_encoder: !name:ssast_recipes.data.labels.ClassEncoder.from_file
head: &head !new:ssast_recipes.heads.Head
    width: !apply:getattr [*encoder, embed_dim]
model: &model !new:ssast_recipes.pretraining.MaskedPatchModel
    encoder: *encoder
    head: *head
modules: {front_end: *front, model: *model}
loss: !name:torch.nn.functional.cross_entropy
opt_class: !name:torch.optim.Adam {lr: 1.0e-4}
record: {protocol: ours}
"""
INCLUDED = """\
data_folder: .
output_folder: o
manifest_folder: o/manifests
average_epochs: null
mean: -6.5
lr: 0.0001
train_manifests:
    - o/manifests/train.csv
model_parts:
    mean: -6.5
    num_mel_bins: 128
    front_end: &front !new:ssast_recipes.model.FrontEnd {mean: -6.50}
    encoder: &encoder !apply:ssast_recipes.model.ast_encoder {size: tiny}
    inner:
        head: &head !new:ssast_recipes.model.Head
            width: !apply:getattr [*encoder, embed_dim]
        model: &model !new:ssast_recipes.model.MaskedPatchModel
            head: *head
            encoder: *encoder
encoder: *encoder
front_end: *front
train_objects:
    lr: 0.0001
    num_masked_patches: 200
    masker: &masker !new:ssast_recipes.model.ClusterMasker {num_masked_patches: 200}
    loss: &loss !name:torch.nn.functional.cross_entropy
    optimiser: &adam !name:torch.optim.Adam {lr: 1e-4}
masker: *masker
label_encoder: !name:ssast_recipes.data.ClassEncoder.from_file
model: *model
modules: {front_end: *front, model: *model}
loss: *loss
opt_class: *adam
record: {protocol: ours, more: of it}
"""


def test_another_layout_of_the_same_is_no_change():
    assert changed_keys(FLAT, INCLUDED) == changed_keys(INCLUDED, FLAT) == []


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ("lr: 0.0001\ntrain", "lr: 0.0002\ntrain", ["lr"]),
        ("mean: -6.5\nlr", "mean: -6.6\nlr", ["mean"]),
        ("manifests/train.csv", "manifests/test.csv", ["train_manifests"]),
        ("average_epochs: null", "average_epochs: [1, 2]", ["average_epochs"]),
        ("{mean: -6.50}", "{mean: -6.4}", ["front_end", "model_parts", "modules"]),
        ("mean: -6.5\n    num", "mean: -6.6\n    num", ["model_parts"]),
        ("{size: tiny}", "{size: base}", ["encoder", "head", "model", "model_parts", "modules"]),
        ("{num_masked_patches: 200}", "{num_masked_patches: 201}", ["masker", "train_objects"]),
        ("model.ClusterMasker", "model.RandomMasker", ["masker", "train_objects"]),
        ("ssast_recipes.model.ClusterMasker", "mine.ClusterMasker", ["masker", "train_objects"]),
        ("ClassEncoder.from_file", "MultiHotEncoder.from_file", ["label_encoder"]),
        ("ClassEncoder.from_file", "ClassEncoder.from_list", ["label_encoder"]),
        ("torch.optim.Adam", "mine.Adam", ["opt_class", "train_objects"]),
        ("loss: *loss", "loss: null", ["loss"]),
        ("loss: *loss\n", "", []),  # still in a block, under its name
        ("masker: *masker", "masker: 3", ["masker"]),
        ("{front_end: *front, model: *model}", "{model: *model}", ["modules"]),
        ("modules:", "teacher: !new:mine.Teacher\nmodules:", ["teacher"]),
        ("modules:", "more: {teacher: !new:mine.Teacher {}}\nmodules:", ["more"]),
        ("modules:", "more: {encoder: *encoder}\nmodules:", []),
    ],
)
def test_what_changed_is_told_whatever_the_layout(old, new, keys):
    assert INCLUDED.count(old) == 1
    now = INCLUDED.replace(old, new)
    assert changed_keys(FLAT, now) == changed_keys(now, FLAT) == keys


def test_a_number_is_no_word_and_no_truth_value():
    forms = ["1", "'1'", "True", "1.5"]
    found = {(a, b): changed_keys(f"a: {a}", f"a: {b}") for a in forms for b in forms}
    assert all(changed == ([] if a == b else ["a"]) for (a, b), changed in found.items())
    assert changed_keys("a: 1.0e-4\nb: 2", "a: 1e-4\nb: 2.0") == []


@pytest.mark.parametrize("text", ["a: [", "- a", ""])
def test_a_record_that_is_damaged_is_told(text):
    with pytest.raises(ValueError, match="hyperparams.yaml (is not YAML|holds no keys)"):
        changed_keys(text, "a: 1")
