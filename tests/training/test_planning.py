"""The plan of a training: its figures, its sheet, and that it loads no weights."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from iclora import console
from pipeline.dataset import uses
from pipeline.errors import BadInput
from pipeline.task import ExportSection
from pipeline.wording import counted
from training import batches, checks, dataset, loop, planning, random_streams
from training.backends.base import Backend
from training.job import Job
from training.monitoring import figures, plan_sheet
from training.processes import Processes

CPU, GPU = torch.device("cpu"), torch.device("cuda")
Make = Callable[..., Job]
SMALL = "--set train.scales=[0.125] --set train.smallest_panel=48"


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub can be reached, and nothing has been downloaded from one before."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def plan(
    iclora: Callable[..., tuple[int, str, str]], grids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[int, str]]:
    """`plan("--set train.rank=8")` returns exit code and output, and loads no weights."""

    def planned(rest: str) -> tuple[int, str]:
        command = f"train storyboard --plan --data {grids} --out {tmp_path / 'run'} {SMALL} {rest}"
        with monkeypatch.context() as patch:
            patch.setattr(Backend, "load", None)
            code, out, err = iclora(*command.split())
        return code, out + err

    return planned


def test_what_is_trained_on_is_named_as_what_it_is(make_job: Callable[..., Job]) -> None:
    job = make_job(steps=30)
    alone = replace(job, task=uses.as_trained(job.task.model_copy(update={"export": ExportSection(use="panels")})))
    plan = planning.make(alone, CPU)
    told = list(planning.lines(alone, plan))
    assert told[0] == f"task storyboard: {len(job.data.train)} panels, {len(job.data.held_out)} held out"
    assert any(re.match(r"30 steps of \d+ panels?, \d at a time: each panel is seen \d", line) for line in told)
    assert [line for line in told if re.search(r"\bgrids?\b", line) and not line.startswith(("warning", "note"))] == []


def test_a_plan_is_complete_and_writes_only_its_sheet(
    plan: Callable[[str], tuple[int, str]], tiny_flux: Path, tmp_path: Path
) -> None:
    code, out = plan(f"--set train.model={tiny_flux} --set train.steps=30 --set train.scales=[0.125,0.25]")
    assert code == 0
    sheet = tmp_path / "run" / "training" / "plan.png"
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [sheet]
    lines = out.splitlines()
    assert lines[:3] == [
        "task storyboard: 6 grids of 3 x 1 panels, 2 held out",
        "canvas 128 x 192: panels of 128 x 64, 96 tokens, noise levels shifted 1.60 times",
        "canvas 256 x 384: panels of 256 x 128, 384 tokens, noise levels shifted 1.68 times",
    ]
    assert re.fullmatch(r"captions of \d+ to \d+ tokens, 128 are read", lines[3])
    assert lines[4:7] == [
        "30 steps of 4 grids, 1 at a time: each grid is seen 20 times",
        "joint mode: all panels are noised; caption dropout 0.05, permuted 0%",
        "rank 16, alpha 16, adamw at 0.0001 constant after 0 steps, average 0.99, seed 0",
    ]
    assert re.fullmatch(
        rf"base {re.escape(str(tiny_flux))}: 0\.1 million parameters \(fp32, on cpu\); LoRA on 17 layers, 0\.03 mill.*",
        lines[7],
    )
    assert lines[8].startswith("memory, about: reading texts 0.11 GiB, encoding pictures 0.01 GiB, training ")
    assert lines[9].startswith("in training: base 0.00, LoRA") and lines[10:] == [f"What the model will see: {sheet}"]


def test_flux_1_dev_is_planned_by_its_name_alone(plan: Callable[[str], tuple[int, str]], tmp_path: Path) -> None:
    """On a machine with none of its files and no network."""
    code, out = plan("--set train.base_weights=bf16 --set train.conditional=0.25")
    assert code == 0
    assert re.search(r"captions of about \d+ to \d+ tokens, 512 are read; the tokenizer of black-forest-labs/F", out)
    assert "warning: the base model 'black-forest-labs/FLUX.1-dev' is not on this machine" in out
    assert "may be too long" not in out
    assert (
        "base black-forest-labs/FLUX.1-dev: 11,901.4 million parameters (bf16, on cpu); LoRA on 418 layers, 65.37 mill"
        in out
    )
    assert re.search(r"memory, about: reading texts \d.*, training \d+\.\d\d GiB, drawing samples \d+\.\d\d GiB\n", out)
    assert re.search(r"in training: base 22\.17, LoRA, optimizer, average 0\.97, gradient 0\.24, activations \d", out)
    assert "given: randomly drawn panels without noise in 25% of the samples; joint mode in the other 75%" in out
    assert (tmp_path / "run" / "training" / "plan.png").exists()


@pytest.mark.slow
def test_a_plan_says_whether_a_gpu_is_large_enough_and_what_fits_it(plan: Callable[[str], tuple[int, str]]) -> None:
    """FLUX.1-dev on the task's own canvas, 1024 x 1536 pixels."""
    own = "--set train.scales=[1] --set train.smallest_panel=256"
    code, out = plan(f"{own} --gpu 24")
    assert code == 0 and "(bf16, on cuda)" in out
    assert re.search(
        r"^warning: a GPU with 24 GiB is too small for this training, by \d\.\d GiB \(training\)$", out, re.M
    )
    (fitting,) = re.findall(r"^what fits it: (.*)$", out, re.M)
    assert re.findall(r"(train\.\S+(?: train\.\S+)?) \(", fitting) == [
        *(f"train.preset={name}" for name in ("12gb", "16gb", "24gb")),
        "train.base_weights=bf16 train.offload=true",
    ]
    code, out = plan(f"{own} --gpu 24 --set train.preset=24gb --set train.micro_batch=4")
    assert "a GPU with 24 GiB has room" not in out  # four grids at a time
    assert (
        "preset 24gb: checkpointing=true, offload=false, base_weights=fp8, optimizer=adamw; set by hand: micro_b" in out
    )
    assert re.search(r"base 14\.1\d,", out)
    code, out = plan(f"{own} --gpu 4")
    assert code == 0 and "nothing fits it at this canvas, train.base_weights=bf16 train.offload=true (" in out


def test_another_gpu_is_for_a_plan(iclora: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = iclora("train", "storyboard", "--gpu", "24")
    assert code == 2 and "--gpu 24 says which GPU to plan for; add --plan" in err


def test_a_misspelt_setting_is_reported_with_the_likely_one(plan: Callable[[str], tuple[int, str]]) -> None:
    code, output = plan("--set train.learning_rat=1 --set train.rank=0")
    assert code == 2
    assert output.startswith("error: ") and output.count("\n") == 1
    assert "unknown key 'train.learning_rat', did you mean 'learning_rate'?" in output and "(known" not in output
    assert "train.rank: Input should be greater than or equal to 1, got 0" in output


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("--set train.learning_rate=inf", "train.learning_rate: Input should be a finite number, got inf"),
        ("--set train.scales=[0.1]", "at 0.1 the panels are 96 x 48"),
        ("--set train.warmup=5000", "warmup 5000 leaves no step of 5000"),
        ("--set train.panel_weights=[1,2]", "train.panel_weights has 2 numbers and storyboard has 3 panels"),
        ("--set condition=[1] --set train.permute=0.5", "would move the panels that storyboard gives (1)"),
        (
            "--set base=sana",
            "base=sana can't be trained here yet (available: chroma, flux-1, flux-1-fill, ",
        ),
        (
            "--set train.model=/nobody/nothing",
            "nothing' is not on this machine and can't be fetched (it is neither a folder nor a valid name",
        ),
        ("--set train.model=nobody/nothing", "the base model 'nobody/nothing' is not on this machine"),
    ],
)
def test_a_training_that_cannot_be_planned_is_reported_in_one_sentence(
    wrong: str, sentence: str, plan: Callable[[str], tuple[int, str]]
) -> None:
    code, output = plan(f"{wrong} --set train.smallest_panel=64")
    assert code == 2
    assert output.startswith("error: ") and output.count("\n") == 1 and sentence in output


def test_two_scales_with_the_same_canvas_are_listed_once(make_job: Make) -> None:
    job = make_job(scales=[0.125, 0.126])
    canvases = [line for line in planning.lines(job, planning.make(job, CPU)) if line.startswith("canvas")]
    assert len(canvases) == 1


def test_the_panels_given_by_a_task_are_listed(make_job: Make) -> None:
    job = make_job(overrides=["condition=[1, 3]"])
    assert "given: panels 1, 3 without noise in 100% of the samples; caption dropout 0.05, permuted 0%" in list(
        planning.lines(job, planning.make(job, CPU))
    )


def test_the_time_is_estimated_from_the_log_in_the_folder(make_job: Make) -> None:
    job = make_job(steps=120)
    assert not [line for line in planning.lines(job, planning.make(job, CPU)) if line.startswith("time")]
    loop.train(make_job(steps=20), Processes(), lambda *_: None)
    lines = ["step,loss,seconds", "1,1.5,90.0", *(f"{step},1.5,{1.5}" for step in range(2, 21))]
    (job.folder / "log.csv").write_text("\n".join(lines), encoding="utf-8")
    plan = list(planning.lines(job, planning.make(job, CPU)))
    assert "120 steps of 4 grids, 4 at a time: each grid is seen 80 times; 20 of the steps are done" in plan
    (time_line,) = [line for line in plan if line.startswith("time")]
    assert time_line == (
        "time, about: 2 min for the remaining 100 steps, at 1.50 s per step, without validations and samples "
        f"({job.folder / 'log.csv'})"
    )
    for other in (make_job(steps=120, seed=1), make_job(steps=20)):
        assert not [line for line in planning.lines(other, planning.make(other, CPU)) if line.startswith("time")]


@pytest.mark.parametrize(("steps", "seen"), [(1, "0.67 times"), (2, "1.3 times"), (3, "2 times"), (50, "33 times")])
def test_the_plan_says_how_often_each_grid_is_seen(steps: int, seen: str, make_job: Make) -> None:
    job = make_job(steps=steps)
    assert any(line.endswith(f"each grid is seen {seen}") for line in planning.lines(job, planning.make(job, CPU)))
    whole = make_job(steps=steps, batch=6)
    count = "once" if steps == 1 else f"{steps} times"
    assert any(line.endswith(f"each grid is seen {count}") for line in planning.lines(whole, planning.make(whole, CPU)))


def test_automatic_settings_are_shown_with_their_values(make_job: Make) -> None:
    for device, base_weights, held in (
        ("cpu", "auto", "fp32, on cpu"),
        ("cuda", "auto", "bf16, on cuda"),
        ("cuda", "nf4", "nf4, on cuda"),
    ):
        job = make_job(base_weights=base_weights)
        plan = planning.make(job, torch.device(device))
        assert any(f"million parameters ({held})" in line for line in planning.lines(job, plan))


def test_after_a_training_only_existing_images_are_listed(make_job: Make, capsys: pytest.CaptureFixture[str]) -> None:
    for samples, named in ((0, False), (1, True)):
        job = make_job(f"{samples}", steps=1, samples=samples, sample_steps=1)
        console.trained(loop.train(job, Processes(), lambda *_: None), job)
        output = capsys.readouterr().out
        assert ("base-and-lora.png\n" in output) == named and "loss.png." in output


def test_probable_mistakes_are_listed_with_their_files(make_job: Make, grids: Path, tmp_path: Path) -> None:
    def warnings(**settings: Any) -> list[str]:
        job = make_job(**settings)
        return [line for line in planning.lines(job, planning.make(job, CPU)) if line.startswith("warning")]

    assert not warnings(scales=[0.125, 0.25])
    (tmp_path / "mine").mkdir()
    for number, file in enumerate(sorted((grids / "train").glob("*.png"))):
        text = file.with_suffix(".txt").read_text(encoding="utf-8")
        with Image.open(file) as picture:
            (picture.resize((64, 96)) if number < 2 else picture).save(tmp_path / "mine" / file.name)
        text = text.removeprefix("[MOVIE-SHOTS] " if number == 3 else "")
        text = text.replace("[SCENE-2]", "then" if number == 4 else "[SCENE-2]")
        (tmp_path / "mine" / f"{file.stem}.txt").write_text(text, encoding="utf-8")
    assert warnings(data=tmp_path / "mine") == [
        "warning: 2 grids are enlarged to fit the canvas, by up to 2.0 times: mine/0001.png, mine/0002.png",
        "warning: 1 caption doesn't have [SCENE-1] [SCENE-2] [SCENE-3], all of them in this order: mine/0005.png",
        "warning: 1 caption doesn't start with [MOVIE-SHOTS]: mine/0004.png",
    ]


# ---- memory


def parts_of(job: Job, device: torch.device = CPU) -> Mapping[str, float]:
    """What a training step takes, by what takes it."""
    return planning.make(job, device).parts("training")


def test_memory_follows_the_settings(make_job: Make) -> None:
    usual, base = parts_of(make_job()), planning.make(make_job(), CPU).base
    assert usual["base"] == 4 * base
    assert parts_of(make_job(base_weights="bf16"))["base"] == 2 * base
    lora = planning.make(make_job(), CPU).lora
    twice = parts_of(make_job(rank=8, optimizer="adamw8bit"))
    kept = "LoRA, optimizer, average"
    assert (usual[kept], usual["gradient"], twice["gradient"]) == (16 * lora, 4 * lora, 8 * lora)
    assert twice[kept] == pytest.approx(2 * 10.03 * lora, rel=0.001)
    again, single = (parts_of(make_job(**how)) for how in ({"checkpointing": True}, {"micro_batch": 1}))
    assert again["activations"] < usual["activations"] == 4 * single["activations"]
    larger = planning.make(make_job(scales=[0.25]), CPU)
    for one, other in zip(planning.make(make_job(), CPU).phases, larger.phases, strict=True):
        assert one.total < other.total or one.name == "reading texts"
    assert "context" not in usual and parts_of(make_job(), GPU)["context"] > 0


def test_no_more_grids_than_a_step_has_go_through_the_model_at_once(make_job: Make) -> None:
    usual, many = make_job(batch=4, micro_batch=4), make_job(batch=4, micro_batch=64)
    for processes, together in ((1, 4), (2, 2), (3, 2), (8, 1)):
        plan = planning.make(many, CPU, processes)
        assert plan.parts("training")["activations"] == parts_of(usual)["activations"] * together / 4
        text = list(planning.lines(many, plan))
        assert any(f"4 grids, {together} at a time" in line for line in text)
        grids = counted(together, "grid")
        assert f"warning: train.micro_batch=64 is more than the {grids} that each process gets per step" in text
    assert not any("micro_batch" in line for line in planning.lines(usual, planning.make(usual, CPU)))


def test_parameters_and_layers_are_counted_as_those_that_are_loaded(make_job: Make) -> None:
    job = make_job()
    plan, transformer = planning.make(job, CPU), job.backend.load("transformer", torch.float32, "cpu")
    assert plan.base == sum(weight.numel() for weight in transformer.parameters())
    state = loop._begin(job, transformer, None, CPU)
    assert plan.lora == sum(weight.numel() for weight in state.weights.values())
    assert 2 * plan.layers == len(state.weights)
    encoders = (job.backend.load(part, torch.float32, "cpu") for part in job.backend.ENCODERS)
    sizes = [weight.numel() * weight.element_size() for part in encoders for weight in part.parameters()]
    assert plan.phases[0].parts["text encoders"] == sum(sizes)


# ---- the sheet


def test_the_sheet_shows_what_the_first_steps_see(make_job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(conditional=0.5, permute=0.5, caption_dropout=0.3, scales=[0.125, 0.1875], seed=2)
    kept: list[Any] = []
    monkeypatch.setattr(figures, "draw_sheet", lambda shown, _: kept.extend(shown))
    plan_sheet.write(job)
    encoded = loop.encode(job, Processes(), lambda *_: None)
    assert len(kept) == plan_sheet.SHOWN
    for position, shown in enumerate(kept):
        step = position // job.config.batch
        example = batches.example_at(job, encoded, step, position)
        assert shown.image.tobytes() == dataset.picture(example.view).tobytes()
        assert (shown.layout, shown.given) == (example.view.layout, example.given.panels)
        assert shown.caption == dataset.caption(example.view, job.task)
        assert shown.tokens == len(shown.caption) + 1  # letters and the end token
        assert ("caption dropped" in shown.note) == (example.prompt.text == "")
        assert ("order" in shown.note) == (example.view.order != (0, 1, 2))
        assert shown.note.startswith(f"step {step + 1}, scale {random_streams.scale_at(job.config, step):g}")
    drawn = [random_streams.draw(job.config, position, 6, 3, (), 0) for position in range(plan_sheet.SHOWN)]
    assert any(one.dropped for one in drawn) and any(one.given.panels for one in drawn)  # with this seed


def test_the_sheet_is_one_image_of_all_of_them(make_job: Make) -> None:
    job = make_job()
    with Image.open(plan_sheet.write(job)) as picture:
        assert picture.width > job.shown.canvas[0] and picture.height > job.shown.canvas[1]


# ---- before any work


def test_captions_that_would_be_truncated_are_refused_before_anything_loads(
    make_job: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backend, "load", None)
    Image.new("RGB", (256, 384)).save(tmp_path / "long.png")
    (tmp_path / "long.txt").write_text("[SCENE-1] " + "far " * 50, encoding="utf-8")
    with pytest.raises(BadInput, match=r"1 caption is longer than the 128 tokens .*long\.png \(210\)"):
        checks.run(make_job(data=tmp_path), CPU)
    checks.run(make_job(data=tmp_path, truncate=True), CPU)


def test_a_plan_lists_all_reasons_to_refuse_a_training_and_writes_no_sheet(
    plan: Callable[[str], tuple[int, str]], make_job: Make, tiny_flux: Path, grids: Path, tmp_path: Path
) -> None:
    loop.train(make_job(steps=1), Processes(), lambda *_: None)
    data = shutil.copytree(grids, tmp_path / "long")
    (data / "train" / "metadata.jsonl").unlink()
    (data / "train" / "0001.txt").write_text("[SCENE-1] " + "far " * 50, encoding="utf-8")
    lacking = "--set train.wandb=true --set train.init=nowhere.safetensors"
    into = tmp_path / "training"
    code, out = plan(f"--data {data} --into {into} --set train.model={tiny_flux} {lacking}")
    assert code == 2
    assert "task storyboard: 6 grids" in out and "time, about" not in out
    for sentence in (
        "train.wandb=true needs the package wandb",
        "nowhere.safetensors can't be read as a LoRA file",
        "1 caption is longer than the 128 tokens",
        f"{into} holds a",  # a different training
    ):
        assert sentence in out
    assert not (into / plan_sheet.FILE).exists()


def test_captions_that_cannot_be_counted_are_estimated(
    plan: Callable[[str], tuple[int, str]], grids: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(grids, tmp_path / "long")
    (data / "train" / "metadata.jsonl").unlink()
    (data / "train" / "0003.txt").write_text("[SCENE-1] " + "far " * 600, encoding="utf-8")
    for how, warned in (("", True), ("--set train.truncate=true", False)):
        code, out = plan(f"--data {data} {how}")
        assert code == 0
        warning = "warning: 1 caption may be too long, which would be an error: train/0003.png"
        assert (warning in out) == warned


def test_an_initial_lora_that_does_not_fit_is_refused_before_anything_loads(
    make_job: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = loop.train(make_job("first", steps=1), Processes(), lambda *_: None).file
    monkeypatch.setattr(Backend, "load", None)
    checks.run(make_job(init=str(done)), CPU)
    with pytest.raises(BadInput, match=r"has rank 4 and train\.rank is 8"):
        checks.run(make_job(init=str(done), rank=8), CPU)
    far = {key.replace("blocks.0", "blocks.7"): value for key, value in load_file(done).items()}
    save_file(far, tmp_path / "far.safetensors")
    with pytest.raises(BadInput, match=r"has weights for layers that are missing from FluxTransformer2DModel"):
        checks.run(make_job(init=str(tmp_path / "far.safetensors")), CPU)


def test_patience_without_held_out_grids_is_refused(make_job: Make, grids: Path) -> None:
    checks.run(make_job(patience=2), CPU)
    checks.run(make_job(data=grids / "train"), CPU)
    with pytest.raises(
        BadInput, match=r"^train\.patience=2 stops by the held-out loss, .* into its folder 'validation'"
    ):
        checks.run(make_job(data=grids / "train", patience=2), CPU)
