"""The text of hparams YAML: what is read of it, and what a copy with other values leaves."""

import difflib
import math
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from ssast_recipes.records.hparams import compose, read_hparams, read_value
from ssast_recipes.records.hparams_text import included_files, read_lines, write_hparams

RECIPES = Path(__file__).parents[2] / "recipes"
# Of all forms: blocks, includes, choices, lists on lines of their own.
FILES = [
    RECIPES / recipe / "hparams" / f"{name}.yaml"
    for recipe, name in {
        "ESC50": "finetune_patch",
        "OwnAudio": "pretrain",
        "AudioSet": "pretrain_joint_patch",
        "SpeechCommands": "finetune_v1_frame",
        "VoxCeleb": "finetune_patch",
    }.items()
]
TEXT = """\
# About

lr: 1.0e-4 # published
missing: !PLACEHOLDER # e.g. /data
masker: !new:mine.Masker # a block
    num: 4 # of it
    # behind it

# Head of the next
sizes: [1, # one
    2] # two
empty:
anchored: &name "a # b"  # no comment
same: *name
text: |
  two # words

  lines
twice: ü # ß
"""


def changed_lines(before: str, after: str) -> list[str]:
    diff = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in list(diff)[2:] if not line.startswith("@@")]


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("lr", ["-lr: 1.0e-4 # published", "+lr: 7 # published"]),
        ("missing", ["-missing: !PLACEHOLDER # e.g. /data", "+missing: 7 # e.g. /data"]),
        (
            "masker",
            ["-masker: !new:mine.Masker # a block", "-    num: 4 # of it", "+masker: 7 # of it"],
        ),
        ("sizes", ["-sizes: [1, # one", "-    2] # two", "+sizes: 7 # two"]),
        ("empty", ["-empty:", "+empty: 7"]),
        (
            "anchored",
            ['-anchored: &name "a # b"  # no comment', "+anchored: &name 7  # no comment"],
        ),
        ("same", ["-same: *name", "+same: 7"]),
        ("text", ["-text: |", "-  two # words", "-", "-  lines", "+text: 7"]),
        ("twice", ["-twice: ü # ß", "+twice: 7 # ß"]),
    ],
)
def test_a_copy_has_other_values_and_else_the_same_lines(tmp_path, key, changes):
    (tmp_path / "a.yaml").write_text(TEXT, encoding="utf-8")
    write_hparams(tmp_path / "a.yaml", tmp_path / "b.yaml", {key: 7})
    written = (tmp_path / "b.yaml").read_text(encoding="utf-8")
    assert changed_lines(TEXT, written) == changes


@pytest.mark.parametrize("value", [None, True, 5e-7, "a: b # c", "!new:os.getcwd", [1, "ü"], ""])
def test_values_are_read_back(tmp_path, value):
    (tmp_path / "a.yaml").write_text(TEXT, encoding="utf-8")
    write_hparams(tmp_path / "a.yaml", tmp_path / "b.yaml", {"lr": value, "twice": value})
    before, after = (dict(compose((tmp_path / name).read_bytes())) for name in ("a.yaml", "b.yaml"))
    assert read_value(after["lr"]) == read_value(after["twice"]) == value
    for key in before.keys() - {"lr", "twice"}:
        assert yaml.serialize(after[key]) == yaml.serialize(before[key])


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parents[1].name}/{path.stem}")
def test_every_key_of_every_recipe_can_be_given(tmp_path, path):
    keys = [key for key in read_hparams(path) if not key.startswith("__")]
    write_hparams(path, tmp_path / "a.yaml", dict.fromkeys(keys, 7))
    written = read_hparams(tmp_path / "a.yaml")
    assert {key: read_value(written[key]) for key in keys} == dict.fromkeys(keys, 7)
    comments = [
        line.partition("# ")[2] for line in path.read_text().splitlines() if line[0:1] != " "
    ]
    text = (tmp_path / "a.yaml").read_text()
    assert [comment for comment in comments if comment not in text] == []


def test_files_that_are_included_come_along_and_keep_their_text(tmp_path):
    for name, text in {
        "recipe/hparams/a.yaml": "lr: 1\nparts: !include:../../shared/parts.yaml\n    size: 1\n",
        "shared/parts.yaml": "size: 0 # !include:none.yaml\nmore: !include:more.yaml\n",
        "shared/more.yaml": "deep: 1\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    source, target = tmp_path / "recipe" / "hparams" / "a.yaml", tmp_path / "run" / "a.yaml"
    write_hparams(source, target, {"lr": 2})
    assert target.read_text() == "lr: 2\nparts: !include:parts.yaml\n    size: 1\n"
    assert included_files(target) == [tmp_path / "run" / "parts.yaml"]
    for name in ("parts.yaml", "more.yaml"):
        assert (target.parent / name).read_text() == (tmp_path / "shared" / name).read_text()
    write_hparams(target, target, {"lr": 3})  # in its place
    assert target.read_text() == "lr: 3\nparts: !include:parts.yaml\n    size: 1\n"


def test_a_key_that_is_not_there_is_told_and_nothing_written(tmp_path):
    (tmp_path / "a.yaml").write_text("lr: 1\nnested:\n    deep: 2\n")
    with pytest.raises(KeyError, match="a.yaml has no key deep"):
        write_hparams(tmp_path / "a.yaml", tmp_path / "b.yaml", {"lr": 2, "deep": 3})
    assert not (tmp_path / "b.yaml").exists()


def test_keys_are_read_with_their_comments():
    found = {line.key: line[1:] for line in read_lines(TEXT)}
    assert found == {
        "lr": ("1.0e-4", "published", ["About"]),
        "missing": ("!PLACEHOLDER", "e.g. /data", []),
        "masker": ("!new:mine.Masker", "a block", []),
        "sizes": ("[1,", "one", ["Head of the next"]),
        "empty": ("", "", []),
        "anchored": ('&name "a # b"', "no comment", []),
        "same": ("*name", "", []),
        "text": ("|", "", []),
        "twice": ("ü", "ß", []),
    }


@pytest.mark.parametrize("text", ["a: [", "a: 1\nb", "\x00", "{a: 1]", "[" * 1500])
def test_what_is_no_yaml_is_one_line(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match="a.yaml is not YAML: ") as raised:
        read_hparams(tmp_path / "a.yaml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "- a", "a", "? [a]\n: 1", "null"])
def test_what_holds_no_keys_is_told(text):
    with pytest.raises(ValueError, match="mine.yaml holds no keys and values"):
        compose(text, "mine.yaml")


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir", "!apply:os.mkdir", "!new:os.mkdir"]
)
def test_reading_makes_nothing(tmp_path, tag):
    trace = tmp_path / "trace"
    (tmp_path / "a.yaml").write_text(f"a: {tag} [{trace}]\nb: {tag} {trace}\n")
    nodes = read_hparams(tmp_path / "a.yaml")
    assert [read_value(node) for node in nodes.values()] == [[str(trace)], str(trace)]
    read_lines((tmp_path / "a.yaml").read_text())
    write_hparams(tmp_path / "a.yaml", tmp_path / "b.yaml", {"a": 1})
    assert not trace.exists()


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1, *x]",
        "a: {[b]: 1}",
        "a: !apply:operator.getitem [[1, 2], 3]",
        "a: !apply:operator.getitem {b: 1}",
        "a: &a [1,1]\n"
        + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghijklm")),
        "a: " + "- " * 200 + "1",
    ],
    ids=["itself", "key", "choice", "no list", "ten million", "deep"],
)
def test_what_could_not_be_read_later_is_told_at_once(text):
    with pytest.raises(ValueError, match="mine.yaml"):
        compose(text, "mine.yaml")


@pytest.mark.parametrize("word", ["2001-99-99", "=", "<<"])
def test_words_that_mean_something_to_yaml_alone_are_words(word):
    assert read_value(dict(compose(f"a: {word}"))["a"]) == word


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("a:\n- 1\n- 2\nb: 3\n", "a", [4, 5]),  # dashes where keys begin
        ("a:\n- 1\n- 2\nb: 3\n", "a", 4),
        ("a: &x 1\nb: *x\n", "a", 4),
        ("a: &x\n- 1\nb: *x\n", "a", [4]),
        ("a: 1\nb: 3\n", "a", math.inf),
        ("a: 1\nb: 3\n", "a", {"c": [-math.inf]}),
    ],
)
def test_a_copy_has_the_value_whatever_stood_there(tmp_path, text, key, value):
    (tmp_path / "a.yaml").write_text(text)
    write_hparams(tmp_path / "a.yaml", tmp_path / "b.yaml", {key: value})
    found = yaml.safe_load((tmp_path / "b.yaml").read_text())
    assert found[key] == value
    assert found["b"] == (value if "*x" in text else 3)


def test_what_others_mean_within_a_value_cannot_be_replaced(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [&x 1]\nb: *x\n")
    with pytest.raises(ValueError, match="a.yaml: a cannot be given other values"):
        write_hparams(tmp_path / "a.yaml", tmp_path / "b.yaml", {"a": 2})
    assert not (tmp_path / "b.yaml").exists()
