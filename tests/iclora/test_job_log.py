"""`--log FILE`: what a command does as JSON lines, and the exit codes."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from iclora import cli
from iclora.cli import endings
from iclora.job_log import JobLog
from miniature import film
from miniature.world import draw_scene
from pipeline.errors import BadInput, Diverged, EmptyResult, MissingWeights
from pipeline.progress import LOG, Progress

ROOT = Path(__file__).parents[2]
BARE = ("--captioner", "sidecar", "--scorer", "none", "--set", "group.floor=0.0")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A sequence of three images with texts, and a broken one."""
    rng = random.Random(3)
    for number in range(1, 4):
        path = film.picture(draw_scene(rng), tmp_path / "pictures" / "day" / f"{number}.png", (320, 160))
        path.with_suffix(".txt").write_text(f"part {number} is told here", encoding="utf-8")
    (tmp_path / "pictures" / "day" / "4.png").write_bytes(b"no picture")
    return tmp_path / "pictures"


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_finished_command_has_told_its_start_every_stage_its_progress_and_its_end(
    iclora: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "9")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    code, _, _ = iclora("dataset", "storyboard", "--source", str(pictures), *BARE, "--log", "logs/one.jsonl")
    told = lines(Path("logs/one.jsonl"))
    assert code == 0 and [told[0]["event"], told[-1]["event"]] == ["start", "finish"]
    assert told[0]["command"].startswith("iclora dataset storyboard --source ") and told[0]["process"] == os.getpid()
    assert told[0]["job"] == "9_3" and told[-1]["exit_code"] == 0
    stages = {line["stage"]: line for line in told if line["event"] == "stage"}
    assert list(stages) == ["collect", "inspect", "group", "compose", "caption", "filter", "export"]
    assert (stages["collect"]["entered"], stages["collect"]["kept"]) == (4, 3)
    assert stages["collect"]["rejected"] == {"unsupported": 1}
    ends = [line for line in told if line["event"] == "progress" and line["done"] == line["of"]]
    assert ("collect", 4, 1) in [(line["stage"], line["of"], line["failures"]) for line in ends]
    assert all(line["rate"] >= 0 for line in ends)


def test_a_second_command_adds_its_lines_and_those_of_a_killed_one_stay(iclora: Run, pictures: Path) -> None:
    log = Path("one.jsonl")
    log.write_bytes(b'{"event": "start"}\n{"event": "prog')
    iclora("collect", "storyboard", "--source", str(pictures), "--log", str(log))
    first, cut_off, *rest = log.read_text(encoding="utf-8").splitlines()
    assert json.loads(first) == {"event": "start"} and cut_off == '{"event": "prog'
    assert [json.loads(rest[0])["event"], json.loads(rest[-1])["event"]] == ["start", "finish"]


def test_a_refusal_and_an_empty_result_are_told_with_their_exit_codes(
    iclora: Run, pictures: Path, tmp_path: Path
) -> None:
    log = tmp_path / "refused.jsonl"
    code, _, errors = iclora("collect", "storyboard", "--source", "nowhere", "--log", str(log))
    *_, refusal, finish = lines(log)
    assert (code, finish["exit_code"]) == (2, 2)
    assert errors == f"error: {refusal['message']}\n" and refusal["event"] == "refusal"
    for number in (2, 3):
        (pictures / "day" / f"{number}.png").unlink()
    log = tmp_path / "empty.jsonl"
    code, _, errors = iclora("dataset", "storyboard", "--source", str(pictures), *BARE, "--log", str(log))
    *_, refusal, finish = lines(log)
    assert (code, finish["exit_code"]) == (1, 1) and errors == f"error: {refusal['message']}\n"


def test_a_log_that_can_not_be_written_is_refused_before_any_work(iclora: Run, pictures: Path) -> None:
    code, output, errors = iclora("collect", "storyboard", "--source", str(pictures), "--log", str(pictures))
    assert (code, output) == (2, "") and "can't be written (Is a directory); name another file with --log." in errors
    assert not Path("runs").exists()


def test_work_goes_on_without_its_log_where_the_disk_is_full(tmp_path: Path) -> None:
    warnings: list[str] = []
    log = JobLog(Path("/dev/full") if Path("/dev/full").exists() else tmp_path, warnings.append)
    log.write("wait", message="for nothing")
    log.finish(0)
    assert len(warnings) == 1 and "/dev/full can't be written any more (No space left on device)" in warnings[0]


def test_progress_is_told_at_its_first_and_last_and_otherwise_every_few_seconds(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "one.jsonl", print)
    for stage, total in (("inspect", 1_000), ("compose", 10)):
        for done in range(total + 1):
            log.report(stage, done, total)
            log.note(f"{done} rejected", done)
    told = [(line["stage"], line["done"], line["failures"]) for line in lines(tmp_path / "one.jsonl")[1:]]
    assert told == [("inspect", 0, 0), ("inspect", 1_000, 999), ("compose", 0, 0), ("compose", 10, 9)]


@pytest.mark.parametrize("deaf", [False, True])
def test_a_command_that_ctrl_c_ends_has_told_so_even_if_it_could_not_end_by_itself(deaf: bool, tmp_path: Path) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from iclora import cli; from iclora.run import Run\n"
        "def advance(*_, **__):\n"
        "    print('begun', flush=True)\n"
        "    try:\n        time.sleep(60)\n"
        f"    except KeyboardInterrupt:\n        {'time.sleep(60)' if deaf else 'raise'}\n"
        "Run.advance = advance\n"
        "cli.main()"
    )
    words = [sys.executable, "-c", code, "collect", "storyboard", "--log", "one.jsonl"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and "begun\n" in iter(process.stdout.readline, "")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == endings.STOPPED == 130
    assert [line["exit_code"] for line in lines(tmp_path / "one.jsonl") if line["event"] == "finish"] == [130]


def test_every_error_has_the_exit_code_that_the_command_ends_with(iclora: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, code in (
        (EmptyResult("nothing is left."), endings.EMPTY),
        (BadInput("it can't be used."), endings.REFUSED),
        (MissingWeights("they aren't here."), endings.REFUSED),
        (OSError(28, "No space left on device"), endings.REFUSED),
    ):

        def failing(*_: object, _error: Exception = error, **__: object) -> None:
            raise _error

        monkeypatch.setattr("iclora.open_run", failing)
        Path("one.jsonl").unlink(missing_ok=True)
        assert iclora("collect", "storyboard", "--log", "one.jsonl")[0] == code == endings.exit_code(error)
        told = lines(Path("one.jsonl"))
        assert [line["event"] for line in told] == ["start", "refusal", "finish"]
        assert told[-1]["exit_code"] == code


def test_a_training_tells_its_steps_and_its_loss_until_it_is_refused(
    iclora: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(progress: Progress) -> None:
        (tmp_path / "training").mkdir()
        for step in range(4):
            progress("training", step, 3)
            LOG.debug("loss %.1f", 0.5 - step / 10)
        raise Diverged("the loss is not finite.")

    job = SimpleNamespace(folder=tmp_path / "training")
    fake = SimpleNamespace(job=job, check=lambda: None, is_main=True, lines=lambda: ["3 steps"], run=run)
    monkeypatch.setattr("iclora.open_training", lambda *_, **__: fake)
    assert iclora("train", "storyboard", "--log", "one.jsonl")[0] == endings.REFUSED
    told = lines(Path("one.jsonl"))
    for log in (told, lines(tmp_path / "training" / "log.jsonl")):
        assert [line["event"] for line in log] == ["start", "progress", "progress", "refusal", "finish"]
    assert (told[2]["done"], told[2]["of"], told[2]["note"]) == (3, 3, "loss 0.3")


# ---- the log of a run, and how much a command says


def test_a_run_keeps_a_log_of_all_its_commands_beside_the_one_that_was_asked_for(iclora: Run, pictures: Path) -> None:
    iclora("collect", "storyboard", "--source", str(pictures), "--log", "one.jsonl")
    iclora("inspect", "storyboard")
    told = lines(Path("runs/storyboard/log.jsonl"))
    assert [line["event"] for line in told].count("finish") == 2
    commands = [line["command"].split()[1] for line in told if line["event"] == "start"]
    assert commands == ["collect", "inspect"]
    assert [line["stage"] for line in lines(Path("one.jsonl")) if line["event"] == "stage"] == ["collect"]


def test_the_log_of_a_run_has_what_is_reviewed_replaced_and_packed(iclora: Run, pictures: Path) -> None:
    iclora("dataset", "storyboard", "--source", str(pictures), *BARE)
    for words in (
        *(("review",), ("review", "--apply", "runs/storyboard/captions.csv", "--dry-run"), ("pack",), ("show",)),
        ("replace", "told", "said", "--yes"),
        ("compare",),
    ):
        iclora(words[0], "storyboard", *words[1:])
    told = lines(Path("runs/storyboard/log.jsonl"))
    commands = [line["command"].split()[1] for line in told if line["event"] == "start"]
    assert commands == ["dataset", "review", "review", "pack", "replace", "compare"]
    assert [line["exit_code"] for line in told if line["event"] == "finish"] == [0, 0, 0, 0, 0, 2]
    assert ("pack", 1, True) in {(line["stage"], line["done"], line["of"] > 1) for line in told if "done" in line}
    waits = {line["message"] for line in told if line["event"] == "wait"}
    assert waits >= {"looking for 'told'", "writing captions.csv and review.html"}


def test_a_hand_over_is_logged_with_its_training_and_nowhere_else(iclora: Run, tmp_path: Path) -> None:
    home = tmp_path / "training"
    home.mkdir()
    (home / "a.safetensors").write_bytes(b"{}")
    assert iclora("handover", "training/a.safetensors")[0] == endings.REFUSED
    assert not (home / "log.jsonl").exists()
    (home / "log.jsonl").touch()
    assert iclora("handover", "training/a.safetensors")[0] == endings.REFUSED
    assert [line["event"] for line in lines(home / "log.jsonl")] == ["start", "refusal", "finish"]


def test_a_table_for_another_program_is_not_mixed_with_what_is_waited_for(iclora: Run, pictures: Path) -> None:
    iclora("collect", "storyboard", "--source", str(pictures))
    code, output, errors = iclora("show", "storyboard", "rejected", "--json", "--verbose")
    assert code == 0 and [row["stage"] for row in json.loads(output)] == ["collect"] and errors == ""
    code, output, errors = iclora("show", "storyboard", "unmatched", "--json", "--verbose")
    assert code == 0 and json.loads(output) == []


def test_the_log_of_the_run_can_be_the_one_that_is_asked_for_and_is_kept_once(iclora: Run, pictures: Path) -> None:
    words = ["storyboard", "--source", str(pictures), "--out", "run", *BARE]
    code, _, err = iclora("dataset", *words, "--log", "run/../run/log.jsonl")
    assert code == 0, err
    events = [json.loads(line)["event"] for line in Path("run/log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (events.count("start"), events.count("finish")) == (1, 1)


def test_a_command_that_is_refused_before_it_has_a_run_leaves_no_log(iclora: Run) -> None:
    assert iclora("collect", "storyboard", "--source", "nowhere")[0] == endings.REFUSED
    assert iclora("evaluate", "storyboard")[0] == endings.REFUSED
    assert not Path("runs").exists()


def test_quiet_tells_results_and_errors_alone(iclora: Run, pictures: Path) -> None:
    code, output, errors = iclora("collect", "storyboard", "--source", str(pictures), "--quiet")
    assert (code, errors) == (0, "")
    assert output.split()[:5] == ["stage", "in", "kept", "rejected", "seconds"]
    code, output, errors = iclora("collect", "storyboard", "--source", "nowhere", "--quiet")
    assert (code, output) == (2, "") and errors.startswith("error: ")


def test_verbose_tells_what_is_begun_and_where_an_error_comes_from(iclora: Run) -> None:
    code, output, errors = iclora("collect", "storyboard", "--verbose", "--set", "collect.nothing=1")
    assert code == 2 and errors.startswith("Traceback ") and "\nerror: " in errors
    code, output, _ = iclora("collect", "couple-profile", "--verbose")
    assert code == 0
    assert re.search(r"^\d\d:\d\d:\d\d drawing the miniature's source$", output, re.M)


def test_quiet_and_verbose_are_not_both_possible(iclora: Run) -> None:
    code, _, errors = iclora("collect", "storyboard", "--verbose", "--quiet")
    assert code == 2 and errors == "error: --quiet and --verbose contradict each other; leave one out.\n"


def test_every_command_can_be_quiet_or_verbose_but_for_the_two_that_never_work_for_long() -> None:
    options = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in typer.main.get_command(cli.app).commands.items()  # type: ignore[attr-defined]
    }
    assert {name for name, known in options.items() if not known >= {"--quiet", "--verbose"}} == {"tasks", "watch"}
    assert len(options) > 20


def test_quiet_survey_tells_what_it_found_and_verbose_where_an_error_comes_from(iclora: Run, pictures: Path) -> None:
    code, output, errors = iclora("survey", str(pictures), "--quiet")
    assert (code, errors) == (0, "") and "page: survey.html" in output
    assert "Traceback " in iclora("review", "storyboard", "--verbose")[2]


def test_a_command_whose_output_nobody_reads_goes_on_and_says_so(pictures: Path) -> None:
    words = [sys.executable, "-m", "iclora", "collect", "storyboard", "--source", str(pictures), "--out", "run"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=pictures.parent) as ran:
        assert ran.stdout and ran.stderr
        ran.stdout.close()
        errors = ran.stderr.read()
    assert ran.returncode == 0
    assert errors == "warning: nobody reads the output any more; the work goes on.\n"
    assert lines(pictures.parent / "run" / "log.jsonl")[-1]["exit_code"] == 0


def test_a_table_of_which_only_the_start_is_read_ends_in_silence() -> None:
    words = [sys.executable, "-m", "iclora", "tasks"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as ran:
        assert ran.stdout and ran.stderr
        ran.stdout.close()
        assert ran.stderr.read() == ""
    assert ran.returncode == 0
