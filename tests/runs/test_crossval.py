"""`ssast crossval`, mostly with a train.py that is made up here and trains nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssast_recipes.commands import main as cli
from ssast_recipes.data.synthetic import make_esc50
from ssast_recipes.runs.crossval_table import format_table, summarise
from tests.conftest import REPOSITORY
from tests.processes import has_members, running, wait_until

# Accuracy after every epoch, by seed and fold.
SCORES = {
    "1": {"1": [0.5, 0.9, 0.7], "2": [0.6, 0.7, 0.8], "3": [0.4, 0.65, 0.6]},
    "2": {"1": [0.8, 0.4, 0.6], "2": [0.9, 0.5, 0.5]},
}

TRAIN = """
import json, os, signal, sys, time
from pathlib import Path

arguments = sys.argv[1:]
options = {key: value for key, value in zip(arguments, arguments[1:]) if key.startswith("--")}
with open("calls.jsonl", "a") as file:
    file.write(json.dumps(arguments) + "\\n")
fold, seed = options["--test_fold"], options.get("--seed", "1")
if options.get("--crash") == fold:
    sys.exit(3)
folder = Path(options["--output_folder"])
(folder / "save").mkdir(parents=True, exist_ok=True)
(folder / "log.txt").write_text("")
print("training on", options["--data_folder"])
if options.get("--sleep"):
    def end(number, frame):
        time.sleep(0.5)  # longer than subprocess would wait by itself
        sys.exit("the fold ends")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    Path("pid").write_text(str(os.getpid()))
    time.sleep(float(options["--sleep"]))
(folder / "save" / "checkpoint").write_text("")
lines = Path(arguments[0]).read_text().splitlines(keepends=True)
given = [f"{key[2:]}: {value}\\n" for key, value in options.items()]
given_keys = {line.partition(":")[0] for line in given}
keys = {line.partition(":")[0] for line in lines}
lines = [line for line in lines if line.partition(":")[0] not in given_keys]
lines += [line for line in given if line.partition(":")[0] in keys]
(folder / "hyperparams.yaml").write_text("".join(lines))
if Path(f"fail{fold}").exists():
    sys.exit(3)
scores = json.loads(Path("scores.json").read_text())[seed][fold]
best = max(scores)
results = {
    "metric": "accuracy", "value": {"last": scores[-1], "best": best},
    "epochs": {"last": len(scores), "best": scores.index(best) + 1}, "seed": int(seed),
    "history": [{"epoch": i, "accuracy": score} for i, score in enumerate(scores, 1)],
}
(folder / "results.json").write_text(json.dumps(results))
"""

HPARAMS = """\
lr: 0.1 # high
number_of_epochs: 3
valid_manifests: [test.csv] # a comment
test_manifests: [test.csv]
model: !new:a.B
    c: 1
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    """A recipe folder, the current one being beside it."""
    folder = tmp_path / "recipes" / "Fake"
    (folder / "hparams").mkdir(parents=True)
    (folder / "train.py").write_text(TRAIN)
    (folder / "hparams" / "tune.yaml").write_text(HPARAMS)
    (tmp_path / "scores.json").write_text(json.dumps(SCORES))
    monkeypatch.chdir(tmp_path)
    return folder


def run(*arguments: str) -> int:
    """Runs `ssast crossval` in the recipe's surroundings."""
    given = [*arguments, "--data_folder", "data"]
    return cli.main(["crossval", "recipes/Fake/train.py", "hparams/tune.yaml", *given])


def calls() -> list[list[str]]:
    path = Path("calls.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def folds_run() -> list[str]:
    return [arguments[arguments.index("--test_fold") + 1] for arguments in calls()]


def test_every_fold_is_a_process_and_the_table_averages(recipe, capfd):
    assert run("--folds", "1-3") == 0
    assert [arguments[1:] for arguments in calls()] == [
        [
            *("--test_fold", fold),
            *("--output_folder", f"results/Fake/crossval_tune/fold{fold}"),
            *("--data_folder", "data"),
        ]
        for fold in "123"
    ]
    printed = capfd.readouterr().out
    assert printed.count("training on data") == 3
    # By hand: last 70, 80, 60; best 90, 80, 65; the mean over folds is 50, 75, 70 by epoch, and
    # 90, 70, 65 are its second's.
    assert printed.split("results/Fake/crossval_tune/fold3\n")[1] == (
        "training on data\n"
        "\n"
        "accuracy in % (epoch)\n"
        "\n"
        "fold      seed    last epoch    best epoch\n"
        "------  ------  ------------  ------------\n"
        "1            1     70.00 (3)     90.00 (2)\n"
        "2            1     80.00 (3)     80.00 (3)\n"
        "3            1     60.00 (3)     65.00 (2)\n"
        "\n"
        "mean ± standard deviation over 3 folds\n"
        "  last epoch                                        70.00 ± 10.00\n"
        "  each fold's own best epoch *                      78.33 ± 12.58\n"
        "  best epoch by the folds' average (as released) *  75.00 ± 13.23 (2)\n"
        "* chosen on the test clips\n"
        "\n"
        "written to results/Fake/crossval_tune/crossval.json\n"
    )


def test_the_summary_is_written(recipe):
    assert run("--folds", "1-2", "--output", "here") == 0
    summary = json.loads(Path("here/crossval.json").read_text())
    assert summary["recipe"] == "Fake/train.py"
    assert summary["hparams_file"] == "tune.yaml"
    assert summary["arguments"] == ["--data_folder", "data"]
    assert summary["averages"]["last"] == {
        "mean": 0.75,
        "standard_deviation": pytest.approx(0.005**0.5),
    }
    assert summary["averages"]["best_by_average"]["epochs"] == [2]
    assert [(one["fold"], one["value"]["last"]) for one in summary["runs"]] == [(1, 0.7), (2, 0.8)]
    assert not any("history" in one for one in summary["runs"])
    assert {path.name for path in Path("here").glob("*.*")} == {"arguments.json", "crossval.json"}


def test_seeds_are_averaged_over_folds_first(recipe, capfd):
    assert run("--folds", "1,2", "--seeds", "1,2") == 0
    folders = ["fold1/seed1", "fold2/seed1", "fold1/seed2", "fold2/seed2"]
    assert [arguments[4:7] for arguments in calls()] == [
        [f"results/Fake/crossval_tune/{folder}", "--seed", folder[-1]] for folder in folders
    ]
    table = capfd.readouterr().out.split("accuracy in %")[1]
    # By hand: 75 and 55; 85 and 85; the second epoch's 80 and the first one's 85.
    assert "over 2 seeds, each the mean of 2 folds\n" in table
    assert "2            2     50.00 (3)     90.00 (1)\n" in table
    assert "  65.00 ± 14.14\n" in table
    assert "  85.00 ± 0.00\n" in table
    assert "  82.50 ± 3.54 (2, 1)\n" in table


def test_one_fold_has_no_standard_deviation(recipe, capfd):
    assert run("--folds", "2") == 0
    table = capfd.readouterr().out
    assert "over 1 fold\n" in table
    assert "  last epoch                                        80.00\n" in table


def test_of_equal_epochs_the_first_is_taken():
    history = [{"epoch": epoch, "accuracy": value} for epoch, value in ((1, 0.5), (2, 0.5))]
    values = {"value": {"last": 0.5, "best": 0.5}, "history": history[::-1]}
    record = {"metric": "accuracy", "validated_on_test": True, **values}
    assert summarise([[record]])["averages"]["best_by_average"]["epochs"] == [1]


def test_the_average_chooses_no_epoch_by_other_clips(recipe, capfd):
    assert run("--folds", "1-2", "--valid_manifests", "[valid.csv]") == 0
    table = capfd.readouterr().out
    assert "(as released)  left out: the validation clips are not the test clips\n" in table
    assert "*" not in table
    others = HPARAMS.replace("_manifests", "_files")  # a recipe with other names for them
    (recipe / "hparams" / "tune.yaml").write_text(others)
    for fold in (1, 2):
        Path(f"results/Fake/crossval_tune/fold{fold}/hyperparams.yaml").write_text(others)
    assert run("--folds", "1-2", "--valid_manifests", "[valid.csv]") == 0
    assert capfd.readouterr().out.split("accuracy")[1] == table.split("accuracy")[1]


def test_what_was_measured_is_shown_without_best_and_with_averaged():
    def record(fold, **values):
        epochs = {"last": 3, "averaged": [2, 3], "best": 1}
        given = {"value": values, "epochs": {name: epochs[name] for name in values}}
        record = {"metric": "accuracy", "validated_on_test": True, "history": [], "seed": 1}
        return {**record, **given, "fold": fold}

    summary = summarise([[record(1, last=0.5), record(2, last=0.7)]])
    assert list(summary["averages"]) == ["last"]
    assert format_table(summary) == (
        "accuracy in % (epoch)\n"
        "\n"
        "fold      seed    last epoch\n"
        "------  ------  ------------\n"
        "1            1     50.00 (3)\n"
        "2            1     70.00 (3)\n"
        "\n"
        "mean ± standard deviation over 2 folds\n"
        "  last epoch  60.00 ± 14.14"
    )
    values = {"last": 0.5, "averaged": 0.6}
    table = format_table(summarise([[record(1, **values), record(2, **values, best=0.9)]]))
    assert "fold      seed    last epoch     averaged\n" in table
    assert "2            1     50.00 (3)  60.00 (2-3)\n" in table
    assert table.endswith("\n  averaged weights  60.00 ± 0.00")


def test_a_run_without_validation_is_averaged(recipe, capfd):
    text = TRAIN.replace(', "best": best}', "}").replace(', "best": scores.index(best) + 1}', "}")
    (recipe / "train.py").write_text(text)
    assert run("--folds", "1-2") == 0
    table = capfd.readouterr().out
    assert "last epoch" in table and "best" not in table and "*" not in table


def test_the_average_chooses_no_epoch_of_unlike_histories(recipe, capfd):
    scores = {"1": {"1": [0.5, 0.6], "2": [0.5]}}
    Path("scores.json").write_text(json.dumps(scores))
    assert run("--folds", "1-2") == 0
    assert "left out: the folds' histories have different epochs\n" in capfd.readouterr().out


def test_what_is_finished_is_not_run_again(recipe, capfd):
    assert run("--folds", "1-3") == 0
    table = capfd.readouterr().out.split("accuracy in %")[1]
    assert run("--folds", "1-3") == 0
    assert folds_run() == ["1", "2", "3"]
    printed = capfd.readouterr().out
    assert printed.startswith("fold 1: finished before")
    assert printed.split("accuracy in %")[1] == table

    Path("results/Fake/crossval_tune/fold2/results.json").unlink()
    assert run("--folds", "1-3") == 0
    assert folds_run() == ["1", "2", "3", "2"]
    assert capfd.readouterr().out.split("accuracy in %")[1] == table


def test_folds_can_be_added(recipe):
    assert run("--folds", "3") == 0
    assert run("--folds", "1-3") == 0
    assert folds_run() == ["3", "1", "2"]


def test_changed_arguments_are_not_mixed(recipe, capfd):
    assert run("--folds", "1", "--lr", "0.2") == 0
    assert run("--folds", "1-2", "--lr", "0.3", "--head_lr_factor", "10") == 1
    assert folds_run() == ["1"]
    assert capfd.readouterr().err == (
        "ssast: error: results/Fake/crossval_tune has folds run with other arguments: --lr was "
        "0.2 and is 0.3; --head_lr_factor was not given and is 10: choose another --output\n"
    )
    assert run("--folds", "1-2") == 1
    assert "arguments: --lr was 0.2 and is not given: " in capfd.readouterr().err
    others = [word for key in "abcdef" for word in (f"--{key}", "1")]
    assert run("--folds", "1-2", "--lr", "0.2", *others) == 1
    assert "--d was not given and is 1; and 2 more: choose" in capfd.readouterr().err
    assert run("--folds", "1-2", "--lr", "0.3", "--output", "other") == 0
    assert folds_run() == ["1", "1", "2"]


@pytest.mark.parametrize("lost", ["results.json", "save/checkpoint"])
def test_checkpoints_and_results_are_not_mixed_either(recipe, lost):
    assert run("--folds", "1") == 0
    (Path("results/Fake/crossval_tune/fold1") / lost).unlink()
    assert run("--folds", "1", "--lr", "0.2") == 1


def test_a_changed_yaml_file_is_not_mixed(recipe, capfd):
    assert run("--folds", "1") == 0
    hparams_file = recipe / "hparams" / "tune.yaml"
    text = hparams_file.read_text()
    hparams_file.write_text(text.replace("# high", "# low"))
    assert run("--folds", "1") == 0
    hparams_file.write_text(text.replace("0.1", "0.2").replace("c: 1", "c: 2"))
    assert run("--folds", "1-2") == 1
    assert capfd.readouterr().err == (
        "ssast: error: fold 1 was run with another lr, model in "
        "recipes/Fake/hparams/tune.yaml (see "
        "results/Fake/crossval_tune/fold1/hyperparams.yaml): choose another --output, or put it "
        "back\n"
    )
    hparams_file.write_text(text.replace("epochs: 3", "epochs: 4"))
    assert run("--folds", "1-2") == 1
    assert "with another number_of_epochs in" in capfd.readouterr().err
    assert folds_run() == ["1"]


def test_a_changed_included_file_is_not_mixed(recipe, capfd):
    hparams_file = recipe / "hparams" / "tune.yaml"
    hparams_file.write_text(f"{HPARAMS}parts: !include:parts.yaml\n")
    for dropout in ("0.0", "0.1"):
        (recipe / "hparams" / "parts.yaml").write_text(f"dropout: {dropout}")
        status = run("--folds", "1")
        (record,) = Path("results").glob("*/*/fold1/hyperparams.yaml")
        # As SpeechBrain writes it.
        record.write_text(record.read_text().replace("!include:parts.yaml", "{dropout: 0.0}"))
    assert status == 1
    assert "fold 1 was run with another parts in" in capfd.readouterr().err


def test_seeds_are_not_mixed_with_the_yaml_files(recipe, capfd):
    assert run("--folds", "1") == 0
    assert run("--folds", "1", "--seeds", "1") == 1
    assert "--seeds was not given and is given" in capfd.readouterr().err


def test_another_device_changes_nothing(recipe):
    assert run("--folds", "1", "--device", "cuda:0", "--num_workers", "4") == 0
    assert run("--folds", "1-2", "--device", "cuda:1") == 0
    assert folds_run() == ["1", "2"]


def test_folds_of_unknown_arguments_are_not_taken(recipe, capfd):
    assert run("--folds", "1", "--output", "here") == 0
    Path("here/arguments.json").unlink()
    assert run("--folds", "1", "--output", "here") == 1
    assert "here has folds but no arguments.json" in capfd.readouterr().err


def test_a_failed_fold_stops_and_goes_on_later(recipe, capfd):
    Path("fail2").touch()
    assert run("--folds", "1-3") == 1
    assert folds_run() == ["1", "2"]
    log = "results/Fake/crossval_tune/fold2/log.txt"
    message = f"ssast: error: fold 2 failed (exit status 3): see {log}\n"
    assert capfd.readouterr().err == message
    Path("fail2").unlink()
    assert run("--folds", "1-3") == 0
    assert folds_run() == ["1", "2", "2", "3"]


def test_what_never_trained_may_be_mended(recipe, capfd):
    assert run("--folds", "1", "--crash", "1") == 1
    assert "there is no log.txt" in capfd.readouterr().err
    assert run("--folds", "1", "--crash", "0") == 0


@pytest.mark.parametrize(
    "program, message",
    [
        ("", "fold 1 ended without results.json"),
        ("import os; os.kill(os.getpid(), 9)", "fold 1 failed (signal 9)"),
    ],
)
def test_a_fold_without_results_fails(recipe, capfd, program, message):
    (recipe / "train.py").write_text(program)
    assert run("--folds", "1") == 1
    assert capfd.readouterr().err == (
        f"ssast: error: {message}: there is no log.txt, see the output above\n"
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"value": ', "results.json is damaged"),
        ('{"value": {"best": 0.5}}', "results.json is not of a fine-tuning"),
        ('{"value": {"last": 0.5, "best": 0.5}}', "results.json is not of a fine-tuning"),
    ],
)
def test_results_of_another_kind_are_refused(recipe, capfd, text, message):
    assert run("--folds", "1") == 0
    Path("results/Fake/crossval_tune/fold1/results.json").write_text(text)
    assert run("--folds", "1") == 1
    assert message in capfd.readouterr().err


def test_fold_and_seed_are_filled_in(recipe):
    name = "pretrained/fold{fold}/{seed}"
    assert run("--folds", "1-2", "--seeds", "2", "--encoder", name, "--size={fold}{x}") == 0
    for arguments, fold in zip(calls(), "12", strict=True):
        assert arguments[7:] == [
            *("--encoder", f"pretrained/fold{fold}/2"),
            *(f"--size={fold}{{x}}", "--data_folder", "data"),
        ]


def test_our_options_may_stand_anywhere_and_values_pass_unchanged(recipe):
    values = ["--stride", "[16, 16]", "--mean", "-6.6", "--seed", "1", "--name", "a=b"]
    begin = ["crossval", "--output", "here", "recipes/Fake/train.py", "--folds=2"]
    end = ["hparams/tune.yaml", *values[:3], "--output", "there", *values[3:], "--data_folder", "d"]
    assert cli.main([*begin, *end]) == 0
    assert calls()[0][3:] == ["--output_folder", "there/fold2", *values, "--data_folder", "d"]


def test_the_yaml_file_may_be_named_from_here(recipe):
    rest = ["recipes/Fake/hparams/tune.yaml", "--folds", "1", "--data_folder", "data"]
    assert cli.main(["crossval", "recipes/Fake/train.py", *rest]) == 0
    assert run("--folds", "1-2") == 0
    hparams_files = [Path(arguments[0]) for arguments in calls()]
    assert hparams_files == [Path("recipes/Fake/hparams/tune.yaml")] * 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--folds", "1-"], "--folds is to be like 1-5, 1,3,5 or 2, not '1-'"),
        (["--folds", ""], "--folds is to be like 1-5, 1,3,5 or 2, not ''"),
        (["--folds", "one"], "--folds is to be like 1-5, 1,3,5 or 2, not 'one'"),
        (["--folds", "1,5-1"], "--folds 1,5-1: 5-1 is empty; the lower number comes first"),
        (["--folds", "1-3,2"], "--folds 1-3,2: a number comes twice"),
        (["--seeds", "1;2"], "--seeds is to be like 1-5, 1,3,5 or 2, not '1;2'"),
        (["--test_fold", "1"], "--test_fold is given to every fold by crossval: use --folds"),
        (["--output_folder=a"], "--output_folder is given to every fold by crossval: use --output"),
        (["--seeds", "1", "--seed", "2"], "--seed is given to every fold by crossval: use --seeds"),
        (["--encoder", "a{seed}"], "{seed} is filled in from --seeds, which is not given"),
        (["2", "--folds", "1"], "'2' after the YAML file: expected --key value"),
    ],
)
def test_wrong_arguments_are_one_line(recipe, capfd, arguments, message):
    assert run(*arguments) == 1
    assert capfd.readouterr().err == f"ssast: error: {message}\n"
    assert not calls()
    assert not Path("results").exists()


@pytest.mark.parametrize(
    "files, message",
    [
        (["nowhere/train.py", "hparams/tune.yaml"], "nowhere/train.py: no such file"),
        (["recipes/Fake/train.py", "tune.yaml"], "tune.yaml: no such file, here or in recipes"),
        (["recipes/Fake/train.py", "../../scalar.yaml"], "scalar.yaml holds no keys and values"),
        (["recipes/Fake/train.py", "../../broken.yaml"], "broken.yaml is not YAML"),
    ],
)
def test_wrong_files_are_one_line(recipe, capfd, files, message):
    Path("scalar.yaml").write_text("a")
    Path("broken.yaml").write_text("a: [")
    assert cli.main(["crossval", *files]) == 1
    error = capfd.readouterr().err
    assert error.startswith("ssast: error: ") and message in error and error.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_fold_ends_with_its_parent(recipe, number):
    """The fold itself gets one signal, says what it has to say, and is waited for."""
    program = "import sys; from ssast_recipes.commands.main import main; sys.exit(main())"
    command = [sys.executable, "-c", program]
    files = ["crossval", "recipes/Fake/train.py", "hparams/tune.yaml"]
    options = ["--folds", "1", "--data_folder", "data", "--sleep", "60"]
    process = subprocess.Popen([*command, *files, *options], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not (Path("pid").exists() and Path("pid").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    printed = process.communicate(timeout=20)[1]
    assert process.returncode == 128 + number
    assert printed == "the fold ends\nssast: fold 1 interrupted; the same command goes on there\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("pid").read_text()), 0)


def test_a_fold_ends_with_its_killed_parent(recipe):
    program = "import sys; from ssast_recipes.commands.main import main; sys.exit(main())"
    files = ["crossval", "recipes/Fake/train.py", "hparams/tune.yaml"]
    options = ["--folds", "1", "--data_folder", "data", "--sleep", "60"]
    command = [sys.executable, "-c", program, *files, *options]
    with running(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: Path("pid").exists() and Path("pid").read_text())
        process.kill()
        assert process.communicate(timeout=20)[1] == "the fold ends\n"
        wait_until(lambda: not has_members(process.pid))


def test_a_pretraining_file_is_refused(recipe, capfd):
    (recipe / "hparams" / "tune.yaml").write_text(
        "brain_class: !name:ssast_recipes.brains.PretrainingBrain"
    )
    assert run("--folds", "1") == 1
    assert "tune.yaml pretrains: crossval averages the results of fine" in capfd.readouterr().err
    assert not calls() and not Path("results").exists()


def make_encoders(*folds: int) -> None:
    for fold in folds:
        Path(f"encoder{fold}.pth").write_text(f"weights {fold}")


def test_the_encoders_of_all_folds_are_looked_for_first(recipe, capfd):
    make_encoders(1, 3)
    assert run("--folds", "1-3", "--pretrained_encoder", "encoder{fold}.pth") == 1
    assert capfd.readouterr().err.startswith(
        "ssast: error: pretrained_encoder of fold 2: encoder2.pth does not exist; give"
    )
    assert not calls()
    make_encoders(2)
    assert run("--folds", "1-3", "--pretrained_encoder", "encoder{fold}.pth") == 0
    Path("encoder2.pth").unlink()  # of a finished fold
    assert run("--folds", "1-3", "--pretrained_encoder", "encoder{fold}.pth") == 0


@pytest.mark.parametrize("given", ["null", "!ref <folder>/encoder"])
def test_no_encoder_is_looked_for(recipe, given):
    hparams_file = recipe / "hparams" / "tune.yaml"
    hparams_file.write_text(f"pretrained_encoder: {given}")
    assert run("--folds", "1") == 0
    hparams_file.write_text("pretrained_encoder: absent")
    assert run("--folds", "1", "--output", "other") == 1


@pytest.mark.parametrize("lost", ["results.json", None])
def test_an_encoder_that_was_replaced(recipe, capfd, lost):
    make_encoders(1, 2)
    arguments = ["--pretrained_encoder", "encoder{fold}.pth"]
    assert run("--folds", "1", *arguments) == 0
    fold = Path("results/Fake/crossval_tune/fold1")
    if lost:  # begun, not finished
        (fold / lost).unlink()
        (fold / "save" / "checkpoint").rename(fold / "save" / "CKPT+1")
    Path("encoder1.pth").write_text("other weights")
    assert run("--folds", "1-2", *arguments) == 1
    assert capfd.readouterr().err == (
        "ssast: error: fold 1 was run with another encoder: encoder1.pth was replaced since; "
        "choose another --output, or put the old one back\n"
    )
    assert folds_run() == ["1"]
    make_encoders(1)
    assert run("--folds", "1-2", *arguments) == 0


def test_an_encoder_that_is_replaced_between_folds(recipe, capfd):
    """The first fold's process replaces it."""
    Path("encoder.pth").write_text("weights")
    with open(recipe / "train.py", "a") as file:
        file.write('\nPath("encoder.pth").write_text("other weights")\n')
    assert run("--folds", "1-2", "--pretrained_encoder", "encoder.pth") == 1
    assert "fold 1 was run with another encoder" in capfd.readouterr().err
    assert folds_run() == ["1"]


@pytest.mark.parametrize("before", [[], ["train.py", "tune.yaml", "--lr", "1"]])
def test_help_imports_no_torch(before):
    program = (
        "import sys; from ssast_recipes.commands.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n"
        "    print(end.code, {'torch', 'speechbrain'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", program, "crossval", *before, "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    assert "train.py YAML" in done.stdout and "--seeds SEEDS" in done.stdout
    assert done.stdout.endswith("\n0 set()\n")


@pytest.mark.slow
def test_the_esc50_recipe(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    make_esc50("corpus", num_classes=4, num_folds=2, clips_per_class_and_fold=2, sample_rate=16000)
    tiny = ["--size", "tiny", "--depth", "1", "--embed_dim", "32", "--num_heads", "2"]
    short = ["--target_length", "128", "--patch_stride", "[16,16]", "--number_of_epochs", "1"]
    data = ["--data_folder", "corpus", "--num_classes", "4", "--batch_size", "8"]
    command = [
        "crossval",
        str(REPOSITORY / "recipes/ESC50/train.py"),
        "hparams/finetune_patch.yaml",
    ]
    command += ["--folds", "1-2", *tiny, *short, *data, "--num_workers", "0", "--noprogressbar"]
    assert cli.main(command) == 0
    table = capfd.readouterr().out.split("accuracy in %")[1]

    output = Path("results/ESC50/crossval_finetune_patch")
    records = [json.loads((output / f"fold{k}/results.json").read_text()) for k in (1, 2)]
    assert [record["fold"] for record in records] == [1, 2]
    values = [record["value"]["last"] for record in records]
    mean, deviation = 50 * sum(values), 100 * abs(values[0] - values[1]) / 2**0.5
    # One epoch: the last, each fold's best and the best by average are the same.
    assert table.count(f"{mean:.2f} ± {deviation:.2f}") == 3
    assert "* chosen on the test clips" in table
    assert cli.main(command) == 0
    assert capfd.readouterr().out.count("finished before") == 2
