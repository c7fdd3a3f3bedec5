import pytest
import torch

from ssast_recipes.data.class_weights import (
    balanced_class_weights,
    class_balanced_weights,
    multi_label_weights,
)
from ssast_recipes.data.orders import epoch_draws
from ssast_recipes.data.pipelines import ClipDataset, WaveformReader

LABELS = [("a",), ("b",), ("a", "c"), (), ("a", "b", "c"), ("c",), ("a",)]
SINGLE = [("a",)] * 6 + [("b",)] * 3 + [("c",)]


def test_multi_label_weights_are_pslas():
    counts = {"a": 4, "b": 2, "c": 3}
    expected = [sum(1000 / (counts[name] + 0.01) for name in names) for names in LABELS]
    assert multi_label_weights(LABELS).tolist() == pytest.approx(expected, rel=1e-12)
    assert multi_label_weights(LABELS)[3] == 0


def test_class_balanced_weights_draw_every_class_equally_often():
    weights = class_balanced_weights(SINGLE)
    assert weights.tolist() == pytest.approx([10 / 6] * 6 + [10 / 3] * 3 + [10.0])
    drawn = torch.cat([epoch_draws(weights, 1, epoch)[0] for epoch in range(600)])
    classes = torch.bincount(torch.tensor([0] * 6 + [1] * 3 + [2])[drawn])
    assert ((classes - 2000).abs() < 4.5 * 37).all()  # of 6000 draws, a third each


def test_class_balanced_weights_are_for_one_label_a_clip():
    with pytest.raises(ValueError, match=r"clip 2 has the labels \['a', 'c'\].*multi_label_weig"):
        class_balanced_weights(LABELS)


def test_balanced_class_weights_average_to_one_over_the_clips():
    weights = balanced_class_weights(SINGLE, ["c", "b", "a"])
    assert weights.tolist() == pytest.approx([10 / 3, 10 / 9, 10 / 18])
    number = {"c": 0, "b": 1, "a": 2}
    assert sum(weights[number[names[0]]] for names in SINGLE).item() == pytest.approx(10)


def test_a_class_without_clips_cannot_be_balanced():
    with pytest.raises(ValueError, match="no training clip is labelled 'd'; give a list"):
        balanced_class_weights(SINGLE, ["a", "b", "c", "d"])


def test_labels_are_those_of_the_data_sets_order(tmp_path):
    manifest = tmp_path / "train.csv"
    manifest.write_text(
        "ID,path,start,duration,sample_rate,labels\n"
        "z,/z.wav,0.0,1.0,16000,dog;rain\n"
        "a,/a.wav,0.0,1.0,16000,dog\n"
        "m,/m.wav,0.0,1.0,16000,\n"
    )
    dataset = ClipDataset([manifest], WaveformReader())
    expected = {"z": ("dog", "rain"), "a": ("dog",), "m": ()}
    assert dataset.labels == [expected[name] for name in dataset.ids]
