import json
import shlex

import pytest

from ssast_recipes.commands.main import main
from ssast_recipes.records.configuration import FOLDER_KEYS
from ssast_recipes.records.overrides import check_overrides
from ssast_recipes.records.settings import read_settings
from ssast_recipes.reporting.tables.plan import Places, make_plan
from ssast_recipes.reporting.tables.rows import read_table, table_names
from ssast_recipes.reporting.tables.scales import read_scale, scale_table
from tests.jobs_in_process import run_in_process

DATA = ["AudioSet", "ESC-10", "ESC-50", "IEMOCAP", "LibriSpeech", "SpeechCommands", "VoxCeleb1"]


@pytest.fixture
def places(tmp_path):
    for name in DATA:
        (tmp_path / "data" / name).mkdir(parents=True)
    return Places(tmp_path / "out", tmp_path / "data")


def plan(places, *names, scale="full", **options):
    tables = [scale_table(read_table(name), read_scale(scale)) for name in names]
    return make_plan(tables, places, **options)


def folders(jobs):
    return [job.folder for job in jobs]


SMALLER = [pytest.param(name, marks=pytest.mark.slow) for name in ("small", "smoke")]


@pytest.mark.parametrize("scale", ["full", *SMALLER])
def test_every_command_parses_and_knows_its_keys(places, scale):
    """As SpeechBrain and `read_experiment` would take them."""
    jobs = plan(places, *table_names(), scale=scale).jobs
    seen = set()
    for job in jobs:
        keys = tuple(sorted(job.options))
        if job.hparams_file and (job.hparams_file, job.train, keys) not in seen:
            seen.add((job.hparams_file, job.train, keys))
            words = job.command[3:]
            assert all(word.startswith("--") and "=" in word for word in words)
            pairs = [word[2:].split("=", 1) for word in words]
            overrides = "\n".join(f"{key}: {value}" for key, value in pairs)
            check_overrides(job.command[2], overrides)  # raises of a key that is not there
    assert len(seen) > 10


def test_a_pretraining_that_rows_share_is_one_run(places):
    jobs = plan(places, "table1", "table2", "table3", "sizes").jobs
    assert len(set(folders(jobs))) == len(jobs)
    pretrainings = [job for job in jobs if job.hparams_file.startswith("pretrain")]
    kinds = [f"{job.train.parent.name}/{job.hparams_file}" for job in pretrainings]
    # 400, 250, 100 masked, two objectives alone, two sizes; AudioSet 20K and 2M; two by frames.
    assert kinds.count("AudioSet/pretrain_joint_patch.yaml") == 7
    assert kinds.count("AudioSet/pretrain_patch.yaml") == 2
    assert kinds.count("AudioSet/pretrain_joint_frame.yaml") == 2
    assert kinds.count("Librispeech/pretrain_patch.yaml") == 1
    assert [job.name for job in jobs].count("preparing LibriSpeech") == 1
    # 11 rows with a pretraining, 2 from scratch, 2 with others' weights: 6 tasks, two of 5 folds.
    assert len(jobs) - len(pretrainings) - 3 == (12 + 2 + 2) * (4 + 2 * 5)


def test_what_a_run_needs_stands_before_it(places):
    jobs = plan(places, "table1").jobs
    for number, job in enumerate(jobs):
        for before in job.after:
            assert before in jobs[:number]
        if "pretrained_encoder" in job.options:
            assert job.options["pretrained_encoder"] == job.after[-1].folder


def test_folds_and_seeds_are_runs_of_their_own(places):
    jobs = plan(places, "esc10", rows=["joint, 78 % masked"], seeds=[1, 2]).jobs
    tuned = [job for job in jobs if job.hparams_file.startswith("finetune")]
    assert sorted((job.options["test_fold"], job.options["seed"]) for job in tuned) == [
        (fold, seed) for fold in range(1, 6) for seed in (1, 2)
    ]
    pretrained = [job for job in jobs if job not in tuned]
    assert sorted(job.options["test_fold"] for job in pretrained) == [1, 2, 3, 4, 5]
    assert {job.after[0].options["test_fold"] == job.options["test_fold"] for job in tuned} == {
        True
    }
    assert len({job.folder.parents[1] for job in tuned}) == 1  # one folder for all folds


def test_places_do_not_change_what_is_run(places, tmp_path):
    other = Places(tmp_path / "elsewhere", places.data_root)
    first, second = plan(places, "table3").jobs, plan(other, "table3").jobs
    assert [folder.relative_to(places.output) for folder in folders(first)] == [
        folder.relative_to(other.output) for folder in folders(second)
    ]


def test_released_weights_stand_in_for_pretraining(places):
    jobs = plan(places, "table3", released=True, tasks=["KS2"]).jobs
    assert [job.name for job in jobs if not job.hparams_file] == [
        f"importing ssast-base-{kind}"
        for kind in ("patch-400", "frame-400", "patch-250", "frame-250")
    ]
    assert not any(job.hparams_file.startswith("pretrain") for job in jobs)


def test_a_small_scale_keeps_the_masked_share(places):
    jobs = plan(places, "table2", scale="smoke").jobs
    masked = {
        job.options["num_masked_patches"] for job in jobs if job.hparams_file.startswith("pretrain")
    }
    assert masked == {50, 31, 12}  # of 64, as 400, 250 and 100 of 512
    jobs = plan(places, "esc10", scale="small").jobs
    assert {job.options["embed_dim"] for job in jobs} == {96}  # a table of one scale
    jobs = plan(places, "sizes", scale="small", tasks=["KS1"]).jobs
    assert {job.options.get("size", "base") for job in jobs} == {"base", "small", "tiny"}
    assert {
        job.options["num_steps"] for job in jobs if job.hparams_file.startswith("pretrain")
    } == {20000}
    jobs = plan(places, "mae_ast", scale="small", tasks=["KS2"]).jobs
    warm_ups = [
        (job.hparams_file, job.options.get("warmup_steps"))
        for job in jobs
        if job.hparams_file.startswith("pretrain")
    ]
    share = round(20000 * 32000 / 550000)  # which would not end, were it as long as published
    assert ("pretrain_mae_ast_patch.yaml", share) in warm_ups
    assert ("pretrain_joint_patch.yaml", None) in warm_ups


# ---- the command


def reproduce(*words):
    return main(["reproduce", *map(str, words)])


def test_other_seeds_begin_with_the_same_pretraining(places):
    rows = {"rows": ["250 masked patches"], "tasks": ["KS2"]}
    first, second = (plan(places, "table2", **rows, seeds=seeds).jobs for seeds in ([1], [2, 3]))
    encoder = [job.folder for job in first if job.hparams_file.startswith("pretrain")][-1]
    assert [
        job.options["pretrained_encoder"] for job in second if "finetune" in job.hparams_file
    ] == [
        encoder,
        encoder,
    ]


def test_missing_data_are_told_once_each_and_skipped(tmp_path, capsys):
    (tmp_path / "data" / "ESC-50").mkdir(parents=True)
    words = ["table1", "--data-root", tmp_path / "data", "--output", tmp_path / "out"]
    words += ["--commands", tmp_path / "run.sh"]
    assert reproduce(*words) == 0
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if line.startswith(("not there", "skipped"))]
    rows, tasks = 5, 6
    begun = len((tmp_path / "run.sh").read_text().splitlines()) // 5
    assert (
        f"not there: {tmp_path}/data/VoxCeleb1, which {rows} of {rows * tasks} cells need" in told
    )
    assert told[-1] == f"skipped: {rows * tasks - begun} of {rows * tasks} cells, for want of data"
    assert len(told) == len(set(told)) == 5 + 1
    assert begun == 3  # from scratch and with others' weights
    assert not (tmp_path / "out").exists()


def test_a_dry_run_plans_without_data(places):
    whole = plan(places, "table1").jobs
    for name in DATA:
        (places.data_root / name).rmdir()
    found = plan(places, "table1", without_data=True)
    assert folders(found.jobs) == folders(whole) and not found.skipped
    assert found.missing.pop(places.data_root / "VoxCeleb1") == 5 and len(found.missing) == 5
    assert not plan(places, "table1").jobs


def test_commands_may_be_farmed_out(places, tmp_path, capsys):
    words = ["esc10", "--data-root", places.data_root, "--output", tmp_path / "out"]
    assert reproduce(*words, "--commands", tmp_path / "run.sh") == 0
    lines = (tmp_path / "run.sh").read_text().splitlines()
    assert len(lines) == 140 and "140 runs, 0 of them finished; the others take about" in (
        capsys.readouterr().out
    )
    assert "--masker={cluster_factors: [1, 2]}" in shlex.split(lines[5])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["table9"], "there is no table 'table9'"),
        (["table1", "--rows", "SSAST"], "there is no row 'SSAST'; there are: SSAST 400, SSAST 250"),
        (["table1", "--tasks", "XY"], "there is no task 'XY'; there are: AS, ESC"),
        (["table1", "--folds", "one"], "--folds one: give whole numbers"),
        (["table1", "--processes", "0"], "--processes is 1 or more, not 0"),
        (["table1", "--data", "ESC-50"], "--data ESC-50: give NAME=FOLDER"),
        (["table1", "--data", "ESC=x"], "--data ESC=…: nothing is read from there; there are: Aud"),
        (["table1", "--folds", "7"], "there is no fold 7; there are: 1, 2, 3, 4, 5"),
    ],
)
def test_wrong_words_are_told(tmp_path, monkeypatch, capsys, words, line):
    monkeypatch.chdir(tmp_path)
    assert reproduce(*words) == 1
    assert line in capsys.readouterr().err


# ---- smoke


@pytest.fixture
def in_process(monkeypatch, quiet_logging):
    monkeypatch.setattr("ssast_recipes.runs.jobs.run_jobs", run_in_process)


def run_smoke(tmp_path, capsys, *words):
    assert reproduce(*words, "--scale", "smoke", "--output", tmp_path) == 0
    capsys.readouterr()
    words = ["tables", str(words[0]), str(tmp_path), "--scale", "smoke", "--format", "csv"]
    assert main(words) == 0
    return capsys.readouterr().out


def test_a_sample_runs_and_fills_what_it_is_of(tmp_path, capsys, in_process):
    rows = "joint, 78 % masked;frame, from scratch"
    text = run_smoke(tmp_path, capsys, "esc10", "--rows", rows)
    results = sorted(tmp_path.rglob("results.json"))
    assert [path.relative_to(tmp_path / "smoke").parts[0] for path in results] == ["ESC50"] * 3
    tuned = json.loads(next(path for path in results if "finetune_patch" in str(path)).read_text())
    assert tuned["pretrained_from"]["run"]["settings"]["masker"].startswith("OfficialClusterMasker")
    hparams = next(tmp_path.rglob("ESC50/finetune_patch*/**/hyperparams.yaml")).read_text()
    assert read_settings(hparams) == tuned["settings"]
    assert not set(tuned["settings"]) & set(FOLDER_KEYS)
    assert text.count("not run") == 17
    assert '"joint, 78 % masked",ESC10,,50.0000,,1,,"16 training clips, not 320; 4 test' in text
    before = {path: path.stat().st_mtime_ns for path in results}
    run_smoke(tmp_path, capsys, "esc10", "--rows", rows)  # nothing is left to do
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("results.json")}


@pytest.mark.slow
@pytest.mark.parametrize("name", table_names())
def test_every_configuration_runs(tmp_path, capsys, in_process, name):
    run_smoke(tmp_path, capsys, name)
    places = Places(tmp_path / "smoke", tmp_path / "smoke" / "data")
    jobs = plan(places, name, scale="smoke").jobs
    assert jobs and all(job.finished for job in jobs)
