from collections import Counter

from ssast_recipes.data.manifest import Clip
from ssast_recipes.data.preparation.counts import Published, SplitCounts, format_report


def clip(number, seconds, *labels):
    return Clip(f"{number}", f"/{number}.wav", 0.0, seconds, 16000, labels)


def test_clips_are_counted_while_they_pass():
    counts = SplitCounts()
    clips = [clip(1, 2.0, "dog", "rain"), clip(2, 0.5), clip(3, 4.0, "dog")]
    passing = counts.counting(clips)
    assert next(passing) is clips[0] and counts.num_clips == 1
    assert list(passing) == clips[1:]
    assert counts == SplitCounts(3, 6.5, 0.5, 4.0, Counter(dog=2, rain=1))


def test_splits_stand_beside_the_published_numbers():
    counts = {
        "train": SplitCounts(84_000, 83_000 * 1.0, 0.37, 1.0),
        "held_out": SplitCounts(11_006, 11_000.0, 0.5, 1.0),
        "mine": SplitCounts(2, 7200.0, 3600.0, 3600.0),
    }
    published = Published("Words", {"train": 84_843, "held_out": 11_005})
    assert format_report(counts, published).splitlines() == [
        "split      clips  published  missing  hours   shortest    longest",
        "train     84,000     84,843      843  23.06     0.37 s     1.00 s",
        "held_out  11,006     11,005        0   3.06     0.50 s     1.00 s",
        "mine           2                       2.00  3600.00 s  3600.00 s",
    ]


def test_few_classes_get_a_line_each_in_their_order():
    counts = {
        "train": SplitCounts(1200, 1.0, 1.0, 1.0, Counter(yes=1200)),
        "test": SplitCounts(5, 1.0, 1.0, 1.0, Counter(yes=2, no=3)),
    }
    report = format_report(counts, Published("Words", {}, 35), ["yes", "no"])
    assert report.splitlines()[3:] == [
        "2 of 35 classes",
        "class  train  test",
        "yes    1,200     2",
        "no         0     3",
    ]


def test_many_classes_are_summed_up():
    classes = [f"id{number}" for number in range(1251)]
    everybody = Counter({name: 10 + number for number, name in enumerate(classes)})
    few = Counter(dict.fromkeys(classes[4:], 2))
    counts = {
        "train": SplitCounts(100, 1.0, 1.0, 1.0, everybody),
        "test": SplitCounts(100, 1.0, 1.0, 1.0, few),
    }
    report = format_report(counts, Published("Voices", {}, 1251), classes)
    assert report.splitlines()[3:] == [
        "1251 of 1251 classes",
        "clips per class  least  median  greatest  classes without",
        "train               10     635     1,260                0",
        "test                 0       2         2                4",
        "test has no clip of id0, id1, id2, …",
    ]
    assert max(map(len, report.splitlines())) < 80
