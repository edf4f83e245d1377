"""What is handed over with a LoRA: header, model card, ComfyUI workflows and a diffusers script."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub import TOKEN, Hub, serving
from huggingface_hub import ModelCard
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from test_lora_file import CARD, weights

import iclora
from pipeline.errors import BadInput
from training import lora_file
from training.handover import comfy
from training.handover.comfy import Drawing
from training.job import Job, family_of, find_backend
from training.lora_file import Card

Run = Callable[..., tuple[int, str, str]]
UNUSED = {"ImageCrop", "LatentComposite"}
"""Nodes of ComfyUI's core that no template uses; `bench.comfy` runs them."""
DEV, Z_IMAGE = "black-forest-labs/FLUX.1-dev", "Tongyi-MAI/Z-Image"
FILL, KLEIN, CHROMA = (
    "black-forest-labs/FLUX.1-Fill-dev",
    "black-forest-labs/FLUX.2-klein-base-4B",
    "lodestones/Chroma1-HD",
)
SD, EDIT = "stabilityai/stable-diffusion-3.5-large", "Qwen/Qwen-Image-Edit-2511"
COMMIT = "0" * 40


def lora_for(folder: Path, base: str = DEV, **changes: Any) -> Path:
    """A LoRA file whose header says that it is for a published base."""
    folder.mkdir(parents=True, exist_ok=True)
    about = (
        CARD | {"base": base, "family": family_of(base), "weights": f"{COMMIT}/transformer", "condition": []} | changes
    )
    file = folder / "storyboard.safetensors"
    lora_file.write(
        file, {key.removeprefix("transformer."): value for key, value in weights().items()}, 1.0, Card(**about)
    )
    return file


def header(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return dict(opened.metadata())


def nodes_of(workflow: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node["inputs"] for node in workflow.values() if node["class_type"] == kind]


@pytest.fixture(scope="module")
def templates() -> dict[str, set[str]]:
    """Inputs of every node of ComfyUI's official templates, as far as they list them."""
    import comfyui_workflow_templates_json as package

    found: dict[str, set[str]] = {}

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("inputs"), list) and isinstance(value.get("type"), str):
                named = (one.get("name") for one in value["inputs"] if isinstance(one, dict))
                found.setdefault(value["type"], set()).update(name for name in named if name)
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    for file in Path(package.__file__ or "").parent.rglob("*.json"):
        look(json.loads(file.read_text(encoding="utf-8")))
    return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


# ---- the file's header


def test_lora_managers_find_base_trigger_resolution_and_rank_in_the_header(tmp_path: Path) -> None:
    found = header(lora_for(tmp_path))
    assert found["modelspec.architecture"] == "flux-1-dev/lora"
    assert found["modelspec.trigger_phrase"] == "[MOVIE-SHOTS]"
    assert found["modelspec.resolution"] == "1024x1536" and found["ss_resolution"] == "(1024, 1536)"
    assert found["modelspec.usage_hint"] == "[MOVIE-SHOTS] ..., [SCENE-1] ..., [SCENE-2] ..., [SCENE-3] ..."
    assert (found["ss_base_model_version"], found["ss_network_dim"], found["ss_network_alpha"]) == ("flux1", "2", "2")
    assert "modelspec.thumbnail" not in found  # nothing was drawn
    assert header(lora_for(tmp_path, Z_IMAGE))["modelspec.architecture"] == "z-image/lora"


def test_the_header_has_the_hash_of_the_tensors_whatever_else_it_says(tmp_path: Path) -> None:
    one, other = lora_for(tmp_path / "a"), lora_for(tmp_path / "b", step=500)
    content = one.read_bytes()
    digest = hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()
    assert header(one)["modelspec.hash_sha256"] == f"0x{digest}"
    assert lora_file.digest_of(one) == lora_file.digest_of(other) == digest
    assert one.read_bytes() != other.read_bytes()
    assert one.read_bytes() == lora_for(tmp_path / "c").read_bytes()


# ---- numbers


def test_a_lora_in_16_bits_takes_half_the_space_and_says_the_same(lora: Path, tiny_flux: Path, tmp_path: Path) -> None:
    done = {
        kind: iclora.hand_over(lora, to=tmp_path / kind, model=str(tiny_flux), dtype=kind).folder / lora.name
        for kind in ("fp32", "bf16", "fp16")
    }
    tensors = {kind: load_file(file) for kind, file in done.items()}
    assert {kind: {one.dtype for one in of.values()} for kind, of in tensors.items()} == {
        "fp32": {torch.float32},
        "bf16": {torch.bfloat16},
        "fp16": {torch.float16},
    }
    for key, exact in tensors["fp32"].items():
        assert torch.equal(exact, load_file(lora)[key])
        assert torch.allclose(tensors["bf16"][key].float(), exact, rtol=2**-8, atol=0)
        assert torch.allclose(tensors["fp16"][key].float(), exact, rtol=2**-10, atol=1e-6)


def test_numbers_beyond_16_bits_are_refused(tmp_path: Path) -> None:
    file = lora_for(tmp_path)
    large = {key.removeprefix("transformer."): 1e6 * value for key, value in load_file(file).items()}
    lora_file.write(file, large, 1.0, Card(**CARD | {"base": DEV}))
    with pytest.raises(BadInput, match=r"can't hold the weights of .* as torch.float16; use bf16 or fp32\."):
        iclora.hand_over(file, dtype="fp16")


# ---- ComfyUI


@pytest.mark.parametrize("base", [DEV, Z_IMAGE, KLEIN, CHROMA, FILL, SD, EDIT])
@pytest.mark.parametrize("given", [(), (1,), (1, 3)])
def test_every_node_and_input_of_a_workflow_is_one_of_comfyuis(
    base: str, given: tuple[int, ...], templates: dict[str, set[str]], tmp_path: Path
) -> None:
    iclora.hand_over(lora_for(tmp_path, base), given=given, keep_given=True)
    names = ["storyboard-comfyui.json", "storyboard-given-comfyui.json"]
    for workflow in (json.loads((tmp_path / "handover" / name).read_text(encoding="utf-8")) for name in names):
        before: set[str] = set()
        for number, node in workflow.items():
            linked = {key: value for key, value in node["inputs"].items() if isinstance(value, list)}
            assert {value[0] for value in linked.values()} <= before
            before.add(number)
            if node["class_type"] not in UNUSED:
                # Templates list every input that may be linked; values of older ones stand in lists without names.
                assert linked.keys() <= templates[node["class_type"]], node
    assert len(nodes_of(workflow, "LoadImage")) == len(given or (1,))


def test_a_workflow_draws_on_the_loras_canvas_and_cuts_it_into_its_panels(tmp_path: Path) -> None:
    iclora.hand_over(lora_for(tmp_path))
    workflow = json.loads((tmp_path / "handover/storyboard-comfyui.json").read_text(encoding="utf-8"))
    (canvas,), (levels,) = nodes_of(workflow, "EmptySD3LatentImage"), nodes_of(workflow, "ModelSamplingFlux")
    assert (canvas["width"], canvas["height"]) == (levels["width"], levels["height"]) == (1024, 1536)
    assert (levels["base_shift"], levels["max_shift"]) == (0.5, 1.15)
    boxes = [(cut["x"], cut["y"], cut["width"], cut["height"]) for cut in nodes_of(workflow, "ImageCrop")]
    assert boxes == [(0, 0, 1024, 512), (0, 512, 1024, 512), (0, 1024, 1024, 512)]
    (sampler,), (lora,) = nodes_of(workflow, "KSampler"), nodes_of(workflow, "LoraLoaderModelOnly")
    assert (sampler["cfg"], sampler["denoise"], sampler["steps"]) == (1.0, 1.0, 20)
    assert (lora["lora_name"], lora["strength_model"]) == ("storyboard.safetensors", 1.0)
    assert len(nodes_of(workflow, "SaveImage")) == 4


def test_guidance_is_counted_as_comfyui_counts_it(tmp_path: Path) -> None:
    """ZImagePipeline adds the difference so many times to the prompt's prediction, ComfyUI to that of the empty one."""
    drawing = Drawing("a", "a prompt", Card(**CARD).layout, steps=30, guidance=4.0)
    z_image = comfy.workflow(find_backend("z-image", None, None), drawing)
    assert nodes_of(z_image, "KSampler")[0]["cfg"] == 5.0
    assert [one["text"] for one in nodes_of(z_image, "CLIPTextEncode")] == ["a prompt", ""]
    assert nodes_of(z_image, "ModelSamplingAuraFlow")[0]["shift"] == 6.0
    schnell = comfy.workflow(find_backend("flux-1", "black-forest-labs/FLUX.1-schnell", None), drawing)
    assert nodes_of(schnell, "FluxGuidance") == [] and nodes_of(schnell, "KSampler")[0]["cfg"] == 1.0
    assert nodes_of(schnell, "UNETLoader")[0]["unet_name"] == "FLUX.1-schnell.safetensors"
    dev = comfy.workflow(find_backend("flux-1", None, None), replace(drawing, seed=-1))
    assert nodes_of(dev, "FluxGuidance")[0]["guidance"] == 4.0
    assert nodes_of(dev, "KSampler")[0]["seed"] == 2**64 - 1


def test_noise_levels_and_latents_are_the_familys() -> None:
    drawing = Drawing("a", "a prompt", Card(**CARD).layout, steps=50, guidance=4.0, given={1: "panel2.png"})
    klein = comfy.workflow(find_backend("flux-2-klein", None, None), drawing)
    assert nodes_of(klein, "ModelSamplingAuraFlow")[0]["shift"] == pytest.approx(
        math.exp(0.00016927 * 6144 + 0.45666666)
    )
    assert len(nodes_of(klein, "EmptyFlux2LatentImage")) == 1 and nodes_of(klein, "KSampler")[0]["cfg"] == 4.0
    assert [nodes_of(klein, kind)[0]["y"] for kind in ("MaskComposite", "LatentComposite")] == [512, 256]  # 16 a latent
    large = comfy.workflow(find_backend("flux-2-klein", KLEIN.replace("4B", "9B"), None), drawing)
    assert nodes_of(large, "CLIPLoader")[0]["clip_name"] == "qwen_3_8b_fp8mixed.safetensors"
    assert nodes_of(large, "UNETLoader")[0]["unet_name"] == "flux-2-klein-base-9b-fp8.safetensors"
    chroma = comfy.workflow(find_backend("chroma", None, None), drawing)
    assert nodes_of(chroma, "ModelSamplingAuraFlow")[0]["shift"] == 1.0
    assert nodes_of(chroma, "KSampler")[0]["scheduler"] == "beta"


def test_fill_is_given_panels_by_the_node_that_it_has_for_them(tmp_path: Path, iclora: Run) -> None:
    """Even a LoRA that has learnt with panels given alone has a workflow that is true to it."""
    file = lora_for(tmp_path / "lora", FILL, recipe={"conditional": 1.0}, condition=[2])
    code, printed, errors = iclora("handover", str(file))
    assert code == 0, errors
    assert "no ComfyUI workflow" not in printed and "which FluxFillPipeline takes as one picture with a mask" in printed
    home = tmp_path / "lora/handover"
    (workflow,) = (json.loads(one.read_text(encoding="utf-8")) for one in home.glob("*.json"))
    (beside,), (sampler,) = nodes_of(workflow, "InpaintModelConditioning"), nodes_of(workflow, "KSampler")
    assert workflow[beside["pixels"][0]]["inputs"]["y"] == workflow[beside["mask"][0]]["inputs"]["y"] == 512
    assert [sampler[name][1] for name in ("positive", "negative", "latent_image")] == [0, 1, 2]
    assert nodes_of(workflow, "FluxGuidance")[0]["guidance"] == 30.0 and beside["noise_mask"] is False
    assert not nodes_of(workflow, "SetLatentNoiseMask")


@pytest.mark.parametrize(("share", "files"), [(1.0, []), (0.5, ["storyboard-comfyui.json"])])
def test_what_comfyui_cannot_draw_is_said_and_not_written(
    share: float, files: list[str], tmp_path: Path, iclora: Run
) -> None:
    file = lora_for(tmp_path / "lora", recipe={"conditional": share}, condition=[2])
    (tmp_path / "lora/handover").mkdir()
    (tmp_path / "lora/handover/storyboard-given-comfyui.json").write_text("{}")  # of an earlier hand-over
    code, printed, errors = iclora("handover", str(file))
    assert code == 0, errors
    assert "note: There is no ComfyUI workflow for given panels: ComfyUI's stock nodes show" in printed
    assert ("There is no diffusers script" in printed) == (share == 1)
    home = tmp_path / "lora/handover"
    assert sorted(one.name for one in home.glob("*.json")) == files
    card = (home / "README.md").read_text(encoding="utf-8")
    assert "There is no ComfyUI workflow for given panels" in card
    assert f"Given in {share:.0%} of its training: panel 2, without noise." in card


@pytest.mark.parametrize(
    ("base", "family", "nodes"),
    [
        (KLEIN, "flux-2-klein", ["ReferenceLatent", "ReferenceLatent"]),  # the empty caption is read beside it too
        ("black-forest-labs/FLUX.1-Kontext-dev", "flux-1-kontext", ["FluxKontextImageScale", "ReferenceLatent"]),
        (EDIT, "qwen-image-edit", ["TextEncodeQwenImageEditPlus", "FluxKontextMultiReferenceLatentMethod"] * 2),
    ],
)
def test_a_lora_that_draws_beside_a_reference_image_has_a_workflow_that_shows_it_one(
    base: str, family: str, nodes: list[str], tmp_path: Path, iclora: Run, templates: dict[str, set[str]]
) -> None:
    recipe = {"conditions": [{"seen": "reference", "panels": "first", "share": 1.0}]}
    file = lora_for(tmp_path / "lora", base, family=family, recipe=recipe)
    code, printed, errors = iclora("handover", str(file))
    assert code == 0, errors
    assert re.search(
        r"note: There is no diffusers script: .* (reference images only|without a reference image)", printed
    )
    (written,) = (tmp_path / "lora/handover").glob("*.json")
    workflow = json.loads(written.read_text(encoding="utf-8"))
    assert [node["class_type"] for node in workflow.values() if node["class_type"] in nodes] == nodes
    for kind in nodes:
        linked = {key for one in nodes_of(workflow, kind) for key, value in one.items() if isinstance(value, list)}
        assert linked <= templates[kind]
    card = (tmp_path / "lora/handover/README.md").read_text(encoding="utf-8")
    assert "Given in 100% of its training: panel 1, as reference images." in card


def test_a_generated_picture_opens_in_comfyui(lora: Path, tiny_flux: Path, tmp_path: Path) -> None:
    prompt = "[MOVIE-SHOTS] a day, [SCENE-1] runs, [SCENE-2] sits, [SCENE-3] sleeps."
    photo = Image.new("RGB", (128, 64), "red")
    (drawn,) = iclora.generate({lora: 0.5}, prompt, given={2: photo}, seeds=7, model=str(tiny_flux), steps=1)
    drawn.save(tmp_path / "a.png", [tmp_path / f"{panel}.png" for panel in (1, 2, 3)], tmp_path / "a.json")
    workflow = json.loads(Image.open(tmp_path / "a.png").text["prompt"])  # type: ignore[attr-defined]
    assert nodes_of(workflow, "KSampler")[0]["seed"] == 7
    assert nodes_of(workflow, "LoraLoaderModelOnly")[0]["strength_model"] == 0.5
    assert nodes_of(workflow, "LoadImage") == [{"image": "panel2.png"}]
    assert nodes_of(workflow, "MaskComposite")[0]["y"] == 64


# ---- diffusers


def test_the_script_draws_what_iclora_generate_draws(
    lora: Path, tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = iclora.hand_over(lora, model=str(tiny_flux)).folder
    prompt = "[MOVIE-SHOTS] a, [SCENE-1] b, [SCENE-2] c, [SCENE-3] d."
    monkeypatch.setattr(sys, "argv", [str(home / "generate.py"), prompt])
    runpy.run_path(str(home / "generate.py"))
    (drawn,) = iclora.generate(lora, prompt, model=str(tiny_flux))
    with Image.open(home / "generated.png") as grid, Image.open(home / "generated-2.png") as panel:
        assert grid.tobytes() == drawn.grid.tobytes() and panel.tobytes() == drawn.panels[1].tobytes()


def test_the_script_for_a_base_on_the_hub_takes_it_at_the_commit_of_the_training(tmp_path: Path) -> None:
    script = (iclora.hand_over(lora_for(tmp_path, Z_IMAGE)).folder / "generate.py").read_text(encoding="utf-8")
    assert f"BASE, REVISION = '{Z_IMAGE}', '{COMMIT}'" in script
    assert "ZImagePipeline.from_pretrained" in script
    compile(script, "generate.py", "exec")


# ---- the card


def test_the_card_is_what_the_hub_reads(tmp_path: Path) -> None:
    done = iclora.hand_over(lora_for(tmp_path), data_set="me/grids")
    card = ModelCard.load(done.folder / "README.md")
    told = card.data.to_dict()
    assert told["base_model"] == DEV and told["base_model_relation"] == "adapter"
    assert told["license"] == "mit" and "license_name" not in told
    assert told["instance_prompt"] == "[MOVIE-SHOTS]" and told["datasets"] == ["me/grids"]
    assert "template:sd-lora" in told["tags"] and "in-context-lora" in told["tags"]
    assert "`[SCENE-2]` | 0, 512, 1024, 1024" in card.text and "hash `0123`" in card.text
    assert "Evaluation" not in card.text and "has no pictures" in card.text
    assert str(tmp_path) not in card.text  # where it lay is nobody's business


def test_a_licence_without_an_identifier_is_named_and_linked(tmp_path: Path) -> None:
    done = iclora.hand_over(lora_for(tmp_path, licence="flux-1-dev-non-commercial-license"))
    told = ModelCard.load(done.folder / "README.md").data.to_dict()
    assert (told["license"], told["license_name"]) == ("other", "flux-1-dev-non-commercial-license")
    assert told["license_link"] == f"https://huggingface.co/{DEV}/blob/main/LICENSE.md"


def test_an_evaluation_of_these_weights_stands_in_the_card_and_no_other(tmp_path: Path) -> None:
    file, figure = lora_for(tmp_path / "run/training"), {"value": 0.5, "low": 0.25, "high": 0.75}
    common = {"score": figure, "followed": figure, "kept": figure, "copies": figure}
    own = common | {"candidate": "storyboard", "weights": lora_file.digest_of(file), "better": figure, "p": 0.01}
    told = {"prompts": 8, "seeds": 2, "candidates": [common | {"candidate": "base", "weights": None}, own]}
    (tmp_path / "run/evaluation").mkdir()
    report = tmp_path / "run/evaluation/evaluation.json"
    report.write_text(json.dumps(told), encoding="utf-8")
    card = (iclora.hand_over(file).folder / "README.md").read_text(encoding="utf-8")
    assert "8 prompts with 2 seeds each" in card
    assert "| keeps together | 0.50 (0.25 to 0.75) | 0.50 (0.25 to 0.75) |" in card
    own |= {"better": {"value": 0.1, "low": None, "high": None}, "p": None}
    report.write_text(json.dumps(told | {"prompts": 1}), encoding="utf-8")
    card = (iclora.hand_over(file).folder / "README.md").read_text(encoding="utf-8")
    assert "Difference of the scores: 0.10 (one prompt, so whether it is chance is unknown)." in card
    own["weights"] = "of other weights"
    report.write_text(json.dumps(told), encoding="utf-8")
    assert "seeds each" not in (iclora.hand_over(file).folder / "README.md").read_text(encoding="utf-8")


def test_a_training_ends_with_a_handover_that_shows_samples_beside_the_base(make_job: Callable[..., Job]) -> None:
    from iclora.lora import Training

    training = Training(make_job(steps=2, samples=1, sample_steps=1, sample_every=2))
    outcome = training.run()
    assert training.handover and training.handover.folder == outcome.file.parent / "handover"
    card = ModelCard.load(training.handover.folder / "README.md")
    (shown,) = card.data.to_dict()["widget"]
    assert shown["text"] == training.job.prompted[0][0].text
    assert f"| ![]({shown['output']['url']}) | ![](samples/1-base.png) |" in card.text
    picture = Image.open(training.handover.folder / shown["output"]["url"]).convert("RGB")
    assert picture.tobytes() == Image.open(outcome.file.parent / "samples/000002-1.png").convert("RGB").tobytes()
    url = header(outcome.file)["modelspec.thumbnail"]
    small = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))))
    assert small.format == "JPEG" and small.size == picture.size  # it is small already
    assert (training.handover.folder / outcome.file.name).read_bytes() == outcome.file.read_bytes()


def test_the_commands_in_the_docs_work(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, iclora: Run
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    page = (Path(__file__).parents[2] / "docs/handover.md").read_text(encoding="utf-8")
    hand_over, push = (line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines())
    monkeypatch.chdir(lora_for(tmp_path / "runs/storyboard/training").parent)
    for home, command in ((tmp_path / "runs/storyboard/training", hand_over), (tmp_path, push)):
        monkeypatch.chdir(home)
        code, _, errors = iclora(*shlex.split(command)[1:])
        assert code == 0, errors
    assert server.private == {"me/storyboard-lora": False}
    assert b'- "me/grids"' in server.files["me/storyboard-lora"]["README.md"]


# ---- refusals and the hub


def test_what_cannot_be_handed_over_is_refused_in_a_sentence(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(weights(), tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match=r"was not written by iclora.*--task TASK'\.$"):
        iclora.hand_over(tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match="panel 4 can't be given, the LoRA's grids have panels 1 to 3"):
        iclora.hand_over(lora_for(tmp_path), given=[4])
    with pytest.raises(BadInput, match="handed over as fp32, bf16, fp16, got 'int4'"):
        iclora.hand_over(lora_for(tmp_path), dtype="int4")  # type: ignore[arg-type]


def test_a_handover_is_pushed_as_a_model_and_nothing_else_with_it(server: Hub, tmp_path: Path) -> None:
    with iclora.open_run("storyboard", folder=tmp_path / "run") as run:
        with pytest.raises(BadInput, match="has no LoRA; train one with 'iclora train storyboard"):
            iclora.push_lora(run, "me/storyboard")
        file = lora_for(run.lora.parent)
        with pytest.raises(BadInput, match=r"there is no hand-over in .*; write one with 'iclora handover "):
            iclora.push_lora(run, "me/storyboard")
        done = iclora.hand_over(file)
        (done.folder / "notes.txt").write_text("my own")
        assert iclora.push_lora(run, "me/storyboard") == f"{server.url}/me/storyboard"
    sent = server.files["me/storyboard"]
    workflows = {"storyboard-comfyui.json", "storyboard-given-comfyui.json"}
    assert sent.keys() == {"README.md", "generate.py", "storyboard.safetensors", *workflows}
    assert server.private == {"me/storyboard": True}
