"""The log of a training: complete lines whatever happens, nothing twice, the same values wherever they are shown."""

import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import BadInput
from training.monitoring import journal
from training.monitoring.journal import Journal

SIGMAS = (0.1, 0.5, 0.9)


def opened(folder: Path, from_step: int = 0, *, panels: int = 3, wandb: bool = False) -> Journal:
    return Journal(folder, panels, from_step=from_step, wandb=wandb, name="storyboard", settings={"rank": 16})


def run(folder: Path, steps: range, *, wandb: bool = False) -> None:
    """Logs a training's steps, with a validation and a sample at every fifth."""
    with opened(folder, steps.start - 1, wandb=wandb) as log:
        for step in steps:
            log.step(step, 1 / step, [2 / step, None, 3 / step], 1e-4, 0.5, seconds=0.25, memory=1.5)
            if step % 5 == 0:
                log.validation(
                    step, {("joint", sigma, panel): sigma * panel / step for sigma in SIGMAS for panel in (1, 2, 3)}
                )
                log.picture(step, Image.new("RGB", (48, 32), (step, 0, 0)))


def events(folder: Path) -> Any:
    """Everything that TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    return accumulator.Reload()


def age(folder: Path) -> None:
    """Backdates the event files, as after a killed run: TensorBoard orders them by the second in the name."""
    for number, path in enumerate(sorted(folder.glob("tensorboard/events*"))):
        path.rename(path.with_name(f"events.out.tfevents.{1_000_000_000 + number}.killed"))


# ---- the tables


def test_a_step_is_one_line_and_a_panel_that_was_not_trained_is_an_empty_cell(tmp_path: Path) -> None:
    run(tmp_path / "new" / "folder", range(1, 3))
    assert (tmp_path / "new" / "folder" / "log.csv").read_text().splitlines() == [
        "step,loss,loss_1,loss_2,loss_3,learning_rate,gradient_norm,seconds,memory",
        "1,1,2,,3,0.0001,0.5,0.25,1.5",
        "2,0.5,1,,1.5,0.0001,0.5,0.25,1.5",
    ]


def test_a_log_of_an_earlier_version_which_did_not_know_the_memory_goes_on(tmp_path: Path) -> None:
    run(tmp_path, range(1, 3))
    lines = (tmp_path / "log.csv").read_text().splitlines()
    (tmp_path / "log.csv").write_text("".join(f"{line.rpartition(',')[0]}\n" for line in lines))
    run(tmp_path, range(3, 4))
    assert journal.read_steps(tmp_path)["memory"].fillna(0).tolist() == [0, 0, 1.5]


def test_a_validation_is_one_line_per_noise_level_and_panel(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.validation(5, {("joint", 0.9, 1): 0.3, ("joint", 0.1, 2): 0.2, ("joint", 0.1, 1): 0.1})
    assert (
        tmp_path / "validation.csv"
    ).read_text() == "step,sigma,panel,loss,given\n5,0.1,1,0.1,joint\n5,0.1,2,0.2,joint\n5,0.9,1,0.3,joint\n"


def test_tables_read_back_as_frames(tmp_path: Path) -> None:
    run(tmp_path, range(1, 11))
    steps, validation = journal.read_steps(tmp_path), journal.read_validation(tmp_path)
    assert steps["step"].tolist() == list(range(1, 11))
    assert steps["loss_3"].tolist() == pytest.approx([3 / step for step in range(1, 11)])
    assert steps["loss_2"].isna().all()
    assert validation.groupby("step")["loss"].mean().to_dict() == pytest.approx({5: 0.2, 10: 0.1})


def test_nine_digits_restore_every_float32(tmp_path: Path) -> None:
    import numpy as np

    losses = np.random.default_rng(0).lognormal(0, 5, 200).astype(np.float32)
    with opened(tmp_path, panels=1) as log:
        for step, loss in enumerate(losses.tolist(), 1):
            log.step(step, loss, [loss], 1e-4, 1.0, seconds=1.0)
    assert (journal.read_steps(tmp_path)["loss"].to_numpy(np.float32) == losses).all()


def test_a_loss_that_is_not_a_number_is_logged_as_nan(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.step(1, math.nan, [math.nan, None, math.inf], 1e-4, math.nan, seconds=1.0)
    assert (tmp_path / "log.csv").read_text().splitlines()[1] == "1,nan,nan,,inf,0.0001,nan,1,"


def test_lines_are_on_disk_before_the_journal_is_closed(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.step(1, 0.5, [0.5, 0.5, 0.5], 1e-4, 1.0, seconds=1.0)
        log.validation(1, {("joint", 0.5, 1): 0.4})
        assert len(journal.read_steps(tmp_path)) == len(journal.read_validation(tmp_path)) == 1
        assert [event.step for event in events(tmp_path).Scalars("train/loss")] == [1]


def test_without_held_out_grids_the_table_is_empty_and_without_a_training_it_is_an_error(tmp_path: Path) -> None:
    opened(tmp_path).close()
    assert journal.read_validation(tmp_path).empty and journal.read_steps(tmp_path).empty
    with pytest.raises(BadInput, match=r"elsewhere/log.csv does not exist; give the folder of a training"):
        journal.read_steps(tmp_path / "elsewhere")


# ---- resuming after a kill


def test_a_resumed_training_leaves_the_same_tables_as_an_uninterrupted_one(tmp_path: Path) -> None:
    run(tmp_path / "whole", range(1, 21))
    run(tmp_path / "killed", range(1, 19))  # its last checkpoint is from step 10
    run(tmp_path / "killed", range(11, 21))
    for name in ("log.csv", "validation.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("half", ["8", "8,0.125,0.2", "8,0.125,0.25,,0.375,0.0001,0.5,0.2"])
def test_an_incomplete_last_line_is_ignored(half: str, tmp_path: Path) -> None:
    run(tmp_path, range(1, 8))
    whole = (tmp_path / "log.csv").read_text()
    (tmp_path / "log.csv").write_text(whole + half)
    assert journal.read_steps(tmp_path)["step"].tolist() == list(range(1, 8))
    opened(tmp_path, 8).close()
    assert (tmp_path / "log.csv").read_text() == whole


def test_lines_damaged_on_disk_are_dropped(tmp_path: Path) -> None:
    run(tmp_path, range(1, 4))
    whole = (tmp_path / "log.csv").read_bytes()
    (tmp_path / "log.csv").write_bytes(whole + b"\0" * 40 + b"\n")
    opened(tmp_path, 10).close()
    assert (tmp_path / "log.csv").read_bytes() == whole


def test_starting_over_keeps_nothing_of_an_earlier_training(tmp_path: Path) -> None:
    run(tmp_path, range(1, 7))
    age(tmp_path)
    opened(tmp_path, panels=2).close()
    assert (tmp_path / "log.csv").read_text() == "step,loss,loss_1,loss_2,learning_rate,gradient_norm,seconds,memory\n"
    assert (tmp_path / "validation.csv").read_text() == "step,sigma,panel,loss,given\n"
    tags = events(tmp_path).Tags()
    assert tags["scalars"] == tags["images"] == []


def test_a_log_with_other_panels_is_not_resumed(tmp_path: Path) -> None:
    run(tmp_path, range(1, 4))
    with pytest.raises(BadInput, match=r"log.csv has the columns step,loss,loss_1,loss_2,loss_3,l.* move it away"):
        opened(tmp_path, 3, panels=4)


def test_a_missing_log_starts_where_the_training_resumes(tmp_path: Path) -> None:
    run(tmp_path, range(11, 13))
    assert journal.read_steps(tmp_path)["step"].tolist() == [11, 12]


# ---- TensorBoard


def test_tensorboard_shows_losses_by_panel_and_noise_level_and_the_images(tmp_path: Path) -> None:
    run(tmp_path, range(1, 6))
    shown = events(tmp_path)
    assert {tag for tag in shown.Tags()["scalars"] if tag.startswith("train/")} == {
        f"train/{name}" for name in ("loss", "loss_1", "loss_3", "learning_rate", "gradient_norm", "seconds", "memory")
    }
    last = {tag: shown.Scalars(tag)[-1].value for tag in shown.Tags()["scalars"]}
    assert last["validation/loss"] == pytest.approx(0.5 * 2 / 5)
    assert last["validation/sigma_0.9"] == pytest.approx(0.9 * 2 / 5)
    assert last["validation/panel_3"] == pytest.approx(0.5 * 3 / 5)
    (picture,) = shown.Images("samples")
    assert (picture.step, picture.width, picture.height) == (5, 48, 32)


def test_tensorboard_shows_no_step_of_a_resumed_training_twice(tmp_path: Path) -> None:
    run(tmp_path, range(1, 19))
    age(tmp_path)
    run(tmp_path, range(11, 21))
    shown = events(tmp_path)
    assert [event.step for event in shown.Scalars("train/loss")] == list(range(1, 21))
    assert [event.step for event in shown.Scalars("validation/loss")] == [5, 10, 15, 20]
    assert [event.step for event in shown.Images("samples")] == [5, 10, 15, 20]


def test_tensorboard_reads_past_an_event_that_a_kill_cut_off(tmp_path: Path) -> None:
    run(tmp_path, range(1, 9))
    age(tmp_path)
    (killed,) = tmp_path.glob("tensorboard/events*")
    killed.write_bytes(killed.read_bytes()[:-7])
    run(tmp_path, range(6, 11))
    assert [event.step for event in events(tmp_path).Scalars("train/loss")] == list(range(1, 11))


def test_tensorboard_is_loaded_with_the_first_journal_and_not_before() -> None:
    import subprocess

    code = (
        "import sys, training.monitoring.journal; print({'tensorboard', 'torch', 'pandas', 'PIL'} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert ran.stdout == "set()\n"


# ---- Weights & Biases


class Run:
    """As much of a run as the journal uses; values of one step share a row, and steps never decrease."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self.asked = asked
        self.id = asked["id"] or "3f9k2c1a"
        self.rows: dict[int, dict[str, Any]] = {}
        self.finished = False

    def log(self, logged: Mapping[str, Any], step: int) -> None:
        assert not self.finished and step >= max(self.rows, default=0)
        self.rows.setdefault(step, {}).update(logged)

    def finish(self) -> None:
        self.finished = True


class Refusal(Exception):
    pass


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Run]]:
    """The runs that were opened, with a small stand-in for the package: the real one needs an account."""
    made: list[Run] = []
    package = ModuleType("wandb")

    def init(**asked: Any) -> Run:
        made.append(Run(asked))
        return made[-1]

    vars(package).update(init=init, Error=Refusal, Image=lambda image: SimpleNamespace(size=image.size))
    monkeypatch.setitem(sys.modules, "wandb", package)
    yield made


def test_weights_and_biases_gets_the_same_values_and_the_settings(tmp_path: Path, runs: list[Run]) -> None:
    run(tmp_path, range(1, 6), wandb=True)
    (one,) = runs
    assert (one.asked["project"], one.asked["name"]) == ("iclora", "storyboard")
    assert one.asked["config"] == {"rank": 16} and one.asked["dir"] == str(tmp_path)
    assert sorted(one.rows) == [1, 2, 3, 4, 5] and one.finished
    shown = events(tmp_path)
    assert set(one.rows[5]) == {*shown.Tags()["scalars"], "samples"}
    assert one.rows[5]["validation/loss"] == pytest.approx(shown.Scalars("validation/loss")[0].value)
    assert one.rows[5]["samples"].size == (48, 32)


def test_a_resumed_training_continues_its_run_and_a_new_one_gets_its_own(tmp_path: Path, runs: list[Run]) -> None:
    run(tmp_path, range(1, 6), wandb=True)
    (tmp_path / journal.WANDB_RUN).write_text("of-the-first")
    run(tmp_path, range(4, 8), wandb=True)
    assert (runs[1].asked["id"], runs[1].asked["resume"]) == ("of-the-first", "allow")
    run(tmp_path, range(1, 2), wandb=True)
    assert runs[2].asked["id"] is None
    assert (tmp_path / journal.WANDB_RUN).read_text() == "3f9k2c1a"


def test_without_the_package_the_training_is_refused_before_the_log_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, range(1, 4))
    before = (tmp_path / "log.csv").read_bytes()
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(BadInput, match=r"^train.wandb: the package is not installed; pip install wandb"):
        opened(tmp_path, wandb=True)
    assert (tmp_path / "log.csv").read_bytes() == before


def test_a_folder_named_wandb_is_not_mistaken_for_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(BadInput, match="not installed"):
        opened(tmp_path, wandb=True)
    sys.modules.pop("wandb", None)


def test_a_refusal_by_weights_and_biases_is_reported_with_ways_to_proceed(tmp_path: Path, runs: list[Run]) -> None:
    def refuse(**asked: Any) -> Run:
        raise Refusal("api_key not configured")

    vars(sys.modules["wandb"])["init"] = refuse
    with pytest.raises(BadInput, match=r"refuses \(api_key not configured\); run 'wandb login'"):
        opened(tmp_path, wandb=True)


def test_the_run_is_finished_if_the_log_cannot_be_opened(tmp_path: Path, runs: list[Run]) -> None:
    run(tmp_path, range(1, 4))
    with pytest.raises(BadInput, match="has the columns"):
        opened(tmp_path, 3, panels=4, wandb=True)
    assert runs[0].finished


def test_the_log_of_an_earlier_version_which_lacks_the_last_column_is_continued(tmp_path: Path) -> None:
    run(tmp_path, range(1, 6))
    table = tmp_path / "validation.csv"
    table.write_text("".join(f"{line.rpartition(',')[0]}\n" for line in table.read_text().splitlines()))
    with opened(tmp_path, from_step=5) as log:
        log.validation(10, {("joint", 0.1, 1): 0.4})
    read = journal.read_validation(tmp_path)
    assert read["step"].value_counts().to_dict() == {5: 9, 10: 1}
    assert set(read["given"]) == {"", "joint"}
    assert journal.held_out(read).to_dict() == pytest.approx({5: 0.2, 10: 0.4})
