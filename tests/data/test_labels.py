"""Label encoders: what a loss compares with, and labels that are not as they should be."""

import pytest
import torch

from ssast_recipes.data.labels import ClassEncoder, MultiHotEncoder

ENCODERS = [ClassEncoder, MultiHotEncoder]


@pytest.fixture
def classes_file(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("sea\ndog\nrain\n")
    return path


def test_classes_are_numbered_in_the_files_order(classes_file):
    encoder = ClassEncoder.from_file(classes_file, 3)
    assert encoder.classes == ["sea", "dog", "rain"]
    encoded = [encoder([name]) for name in encoder.classes]
    assert [(index.item(), index.dtype, index.ndim) for index in encoded] == [
        (number, torch.int64, 0) for number in range(3)
    ]


@pytest.mark.parametrize(
    "labels, expected",
    [
        (("sea",), [1, 0, 0]),
        (("rain", "sea"), [1, 0, 1]),
        (("dog", "dog"), [0, 1, 0]),
        (("sea", "rain", "dog"), [1, 1, 1]),
    ],
)
def test_every_label_is_a_one(classes_file, labels, expected):
    encoder = MultiHotEncoder.from_file(classes_file, 3)
    assert encoder.classes == ["sea", "dog", "rain"]
    target = encoder(labels)
    assert target.dtype == torch.float32 and target.tolist() == expected


@pytest.mark.parametrize("labels", [(), ("dog", "sea"), ("cat",)])
def test_a_class_index_needs_one_known_label(labels):
    with pytest.raises(ValueError, match="not one of 2 classes"):
        ClassEncoder(["dog", "sea"])(labels)


def test_labels_that_are_no_classes_are_refused_by_name():
    encoder = MultiHotEncoder(["dog", "sea"])
    with pytest.raises(ValueError, match=r"labels \['cat', 'owl'\] are not among 2 classes"):
        encoder(("dog", "cat", "owl"))


def test_a_clip_without_labels_is_not_one_without_classes():
    with pytest.raises(ValueError, match="there is no label of the 2 classes"):
        MultiHotEncoder(["dog", "sea"])(())


def test_a_clip_may_have_none_of_the_labels_where_that_is_said(classes_file):
    encoder = MultiHotEncoder.from_file(classes_file, 3, allows_none=True)
    assert encoder(()).tolist() == [0, 0, 0] and encoder(("dog",)).tolist() == [0, 1, 0]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("wanted", [2, 4])
def test_another_number_of_classes_is_refused(classes_file, encoder, wanted):
    with pytest.raises(
        ValueError, match=rf"num_classes is {wanted}, but .* lists 3; .*num_classes 3"
    ):
        encoder.from_file(classes_file, wanted)
