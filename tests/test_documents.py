import argparse
import re
import shlex

import pytest

from ssast_recipes import __version__
from ssast_recipes.commands.demo import COMMON, CORPUS, FOLDS, KINDS, LABELS, PRETRAINING, TRAINING
from ssast_recipes.commands.main import COMMANDS, import_command
from tests.conftest import REPOSITORY

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "recipes/*/README.md")
    for path in REPOSITORY.glob(pattern)
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_and_pictures_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    inside = [target for target in targets if not re.match(r"https?://|mailto:", target)]
    for target in inside:
        name, _, heading = target.partition("#")
        linked = page if not name else page.parent / name
        assert linked.exists(), f"{page}: {target}"
        if heading:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headings]
            assert heading in slugs, f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_no_line_waits_to_be_written(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"^[A-Z]+_[A-Z_]+$|\bTODO\b|\bTBD\b", text, re.MULTILINE)


def commands(page):
    """The `ssast …` lines of a page's blocks for the shell."""
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            if language in ("", "bash") and re.match(r"(\$ )?ssast ", line):
                yield shlex.split(line.removeprefix("$ "), comments=True)[1:]


WRITTEN = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(("page", "words"), WRITTEN, ids=lambda part: str(part)[-40:])
def test_commands_are_as_they_are_written(page, words):
    """All options known, none missing; some are also run by other tests."""
    command, *rest = words
    if ">" in rest:
        rest = rest[: rest.index(">")]
    assert command in COMMANDS
    parser = argparse.ArgumentParser()
    import_command(command).add_arguments(parser)
    parser.parse_args(rest)


def test_commands_are_found_in_the_documents():
    shown = {words[0] for _, words in WRITTEN}
    assert {*COMMANDS} - shown <= {"index", "statistics", "recipes", "demo"}


def test_the_page_of_the_demo_tells_its_settings():
    page = (REPOSITORY / "docs" / "demo.md").read_text(encoding="utf-8")
    page = " ".join(page.split()).replace(",", "")
    per_fold = CORPUS["num_classes"] * CORPUS["clips_per_class_and_fold"]
    unlabelled = per_fold * list(FOLDS.values()).count("train")
    labelled = CORPUS["num_classes"] * LABELS["train"]
    chosen = {"from scratch": KINDS["scratch"], "pretrained": KINDS["pretrained"]}
    quietest, loudest = CORPUS["signal_to_noise"]
    for phrase in (
        f"{CORPUS['num_classes']} families",
        f"{CORPUS['clips_per_class_and_fold']} clips a family and fold: {unlabelled} in the three",
        f"{per_fold} to test",
        f"{quietest:.0f} to {loudest:.0f} dB below",
        f"{COMMON['embed_dim']} wide {COMMON['depth']} blocks {COMMON['num_heads']} heads",
        f"{COMMON['target_length']} frames in patches of 16 × 16: 48 tokens",
        f"{unlabelled - unlabelled // 20} clips without labels",
        f"{PRETRAINING['num_steps']} steps of {PRETRAINING['batch_size']}",
        f"{PRETRAINING['num_masked_patches']} of 48 patches masked",
        f"{LABELS['train']} labelled clips a family ({labelled})",
        f"in batches of {TRAINING['batch_size']}",
        *(f"{own['num_steps']} steps at {own['lr']:g} {told}" for told, own in chosen.items()),
    ):
        assert phrase in page, phrase


def test_the_step_that_the_readme_shows_is_the_one_that_trains():
    section = (REPOSITORY / "README.md").read_text(encoding="utf-8").partition("## How it works")[2]
    path = re.search(r"`(ssast_recipes/\S+\.py)`", section)[1]
    (shown, *_) = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for line in (REPOSITORY / path).read_text().splitlines()]
    first = lines.index(shown.splitlines()[0])
    assert lines[first : first + shown.count("\n")] == shown.splitlines()


def test_citation_and_changelog_tell_the_version():
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [__version__]
    changes = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)$", changes, re.MULTILINE)[1] == __version__
