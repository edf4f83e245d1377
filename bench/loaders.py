"""Checks exports with the trainers' own code: their loaders if these run without a model, else their known keys.

    python -m bench.loaders kohya=../sd-scripts ai_toolkit=../ai-toolkit ... [--packages FOLDER]

The data set has each of its three uses in turn; `bench/reference_loaders.py` says what is checked with references.
Each trainer is given with the folder of its checkout; OneTrainer needs a checkout of Nerogar/mgds beside its own. The
packages that they import besides ours may be in FOLDER: pip install --no-deps --target FOLDER voluptuous toml imagesize
einops ftfy easygui altair lion-pytorch imageio atomicwrites trainingsample. Every trainer runs in a separate process.
The data set has six drawn grids and masks; configs are written for every base that an exporter supports.

    trainer          its own code that runs                                          checked against its source
    kohya            dataset classes and schema, for the data set; argument parsers  -
    diffusers        dataset class and argument parser of each script                -
    simpletuner      backends, captions, size of every task's canvas                 keys of its config
    onetrainer       data pipeline (mgds), config classes, size of every canvas      -
    diffsynth        its dataset class                                               flags of its parsers
    ai_toolkit       bucket of every task's canvas                                   keys of its config classes
    diffusion_pipe   -                                                               keys of data set and training

Fails if a caption, size or mask differs from the export, or if a key is unknown.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from bench import reference_loaders
from pipeline import exporters, families, plugins, task
from pipeline.dataset import samples, split
from pipeline.dataset.samples import Dataset
from pipeline.families.base import Recipe
from pipeline.records import Caption, Grid, Group, Position, Record, Row
from pipeline.stages import export

Pairs = dict[str, tuple[str, tuple[int, int]]]
"""Caption, width and height in training, by the stem of the picture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainers", nargs="+", help="NAME=CHECKOUT")
    parser.add_argument("--packages", type=Path, help="folder with packages that the trainers import")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    asked = [(name, Path(folder).resolve()) for name, _, folder in (word.partition("=") for word in options.trainers)]
    if options.inside:
        sys.path += [str(options.packages)] if options.packages else []
        for name, checkout in asked:
            print("; ".join(checked(name, checkout, options.inside)))
        return
    failed = []
    with tempfile.TemporaryDirectory() as home:
        for name, checkout in asked:
            words = [sys.executable, "-m", "bench.loaders", f"{name}={checkout}", "--inside", f"{home}/{name}"]
            words += ["--packages", str(options.packages.resolve())] if options.packages else []
            ran = subprocess.run(words, capture_output=True, text=True, check=False)
            said = (ran.stdout or ran.stderr).strip().splitlines() or [""]
            print(
                f"{name:<15} {said[-1] if ran.returncode == 0 else 'FAILED ' + ran.stderr.strip()[-600:]}", flush=True
            )
            failed += [name] if ran.returncode else []
    sys.exit(f"export not read correctly: {', '.join(failed)}" if failed else 0)


def checked(name: str, checkout: Path, home: Path) -> Iterator[str]:
    """What one trainer has read, for each use of the data set."""
    uses: dict[str, tuple[str, ...]] = {"grids": ("condition=[1]",)}
    checks = [("grids", CHECKS[name])] if name in CHECKS else []
    if name in reference_loaders.CHECKS:
        uses |= reference_loaders.SETTINGS
        checks += [(use, reference_loaders.CHECKS[name]) for use in reference_loaders.SETTINGS]
    if name == "musubi_tuner":
        uses["grids"] = ("base=flux-2-klein",)
        checks.insert(0, ("grids", reference_loaders.musubi_tuner))
    for use, check in checks:
        data = draw(home / use, *uses[use])
        os.chdir(data.home)  # where commands are run
        yield f"{use}: {check(checkout, data)}"


# ---- what is exported


def draw(home: Path, *settings: str) -> Dataset:
    """Six grids, one of them held out, whose panels are of one colour each; a run's data set that has moved."""
    storyboard = task.load("storyboard", settings)
    (home / "run" / "grids").mkdir(parents=True)
    rows = []
    for number in range(6):
        path = f"grids/{number}.png"
        canvas = Image.new("RGB", storyboard.grid_layout.canvas)
        for panel, box in enumerate(storyboard.grid_layout.boxes):
            canvas.paste((40 * number, 80 * panel, 120), box)
        canvas.save(home / "run" / path)
        at = Position(folder=f"/films/{number}", film=f"{number}.mp4")
        panels = tuple(Record(f"{number}-{panel}", f"{panel}", f"/films/{number}.mp4", at) for panel in range(3))
        group = Group(f"s-{number}", storyboard.name, panels, "", 1.0)
        text = f'[MOVIE-SHOTS] Story {number}, "said" so, [SCENE-1] a first, [SCENE-2] a second, [SCENE-3] a third.'
        grid = Grid(f"g-{number}", group, storyboard.grid_layout, path)
        rows.append(Row(grid, Caption(text, "", "", (), f"g-{number}"), decision="keep"))
    export.write(rows, storyboard, home / "run", {})
    elsewhere = home / "another machine"  # the run is gone there
    elsewhere.mkdir()
    shutil.move(home / "run" / "dataset", elsewhere)
    shutil.rmtree(home / "run")
    return samples.gather(rows, storyboard, elsewhere, split.divide(rows, storyboard))


def expected(data: Dataset) -> Pairs:
    return {sample.stem: (sample.text, data.canvas) for sample in data.train}


def for_bases(data: Dataset, name: str) -> Iterator[tuple[str, Path]]:
    """Each base that an exporter supports, and a folder with the files for it."""
    for base in families.names():
        folder = data.home.parent / "bases" / base  # beside the data set, which scripts find in the current folder
        folder.mkdir(parents=True, exist_ok=True)
        config = plugins.load(exporters, name).write(replace(data, task=_without_masks(data, base)), folder)
        if config.command:
            yield base, folder


def _without_masks(data: Dataset, base: str) -> task.Task:
    return data.task.model_copy(update={"base": base, "condition": ()})


def canvases() -> Iterator[tuple[int, int]]:
    return (task.load(name).grid_layout.canvas for name in task.names())


def script(path: Path) -> list[str]:
    """The arguments of `accelerate launch` in a script, with the data set in the current folder."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    words = shlex.split(text.replace("$DATASET", str(Path.cwd())), comments=True)
    return words[words.index("launch") + 1 :]


def same(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        sys.exit(f"{what}: got {found} instead of {wanted}")


def none_of(unknown: Iterable[str], what: str) -> None:
    if names := sorted(unknown):
        sys.exit(f"{what} does not know {', '.join(names)}")


def module(path: Path, name: str) -> Any:
    """A file of a checkout as a module, without importing its package."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


# ---- trainers


def kohya(checkout: Path, data: Dataset) -> str:
    sys.path.insert(0, str(checkout))
    # Stubs for sampling pipelines, which training does not need and which import names that transformers has removed.
    for name, kind in (
        ("lpw_stable_diffusion", "StableDiffusionLongPromptWeightingPipeline"),
        ("sdxl_lpw_stable_diffusion", "SdxlStableDiffusionLongPromptWeightingPipeline"),
    ):
        stand_in = types.ModuleType(f"library.{name}")
        setattr(stand_in, kind, object)
        sys.modules[stand_in.__name__] = stand_in
    from library import config_util  # type: ignore[import-not-found]

    parsers = {}
    for base, folder in for_bases(data, "kohya"):
        arguments = tomllib.loads((folder / "kohya-arguments.toml").read_text(encoding="utf-8"))
        command = families.load(base).trainers["kohya"]["script"]
        parsers[command] = parsers.get(command) or importlib.import_module(command.removesuffix(".py")).setup_parser()
        none_of(set(arguments) - {action.dest for action in parsers[command]._actions}, command)
    arguments = tomllib.loads((data.home / "kohya-arguments.toml").read_text(encoding="utf-8"))
    options = parsers["flux_train_network.py"].parse_args([])
    for name, value in arguments.items():
        setattr(options, name, value)
    sanitizer = config_util.ConfigSanitizer(True, True, options.masked_loss, True)
    config = config_util.load_user_config(str(data.home / "kohya.toml"))
    blueprint = config_util.BlueprintGenerator(sanitizer).generate(config, options)
    made = config_util.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    made = made[0] if isinstance(made, tuple) else made
    made.verify_bucket_reso_steps(32)
    pictures = made.datasets[0].dreambooth_dataset_delegate.image_data.values()
    found = {Path(one.absolute_path).stem: (one.caption, tuple(one.bucket_reso)) for one in pictures}
    same(found, expected(data), "pairs")
    same({one.resized_size for one in pictures}, {data.canvas}, "sizes")
    same(
        [Path(one.cond_img_path).stem for one in pictures], [Path(one.absolute_path).stem for one in pictures], "masks"
    )
    return f"{len(found)} pairs, sizes and masks by its dataset class; arguments of {len(parsers)} scripts"


def diffusers(checkout: Path, data: Dataset) -> str:
    import diffusers as installed

    installed.utils.check_min_version = lambda *_: None  # a checkout requires its own version
    count = 0
    for base, folder in for_bases(data, "diffusers"):
        path, *arguments = script(folder / "diffusers.sh")
        example = module(checkout / path, f"example_{count}")
        example.args = options = example.parse_args(arguments)
        buckets = example.parse_buckets_string(options.aspect_ratio_buckets)
        taken = example.DreamBoothDataset.__init__.__code__.co_varnames
        more = {"args": options} if "args" in taken else {}
        more |= {"size": options.resolution} if "size" in taken else {}
        made = example.DreamBoothDataset(
            instance_data_root=None,
            instance_prompt=options.instance_prompt,
            class_prompt=None,
            buckets=buckets,
            **more,
        )
        prompts = list(made.custom_instance_prompts)
        same(prompts, [text for text, _ in expected(data).values()], f"captions for {base}")
        shapes = {tuple(made[place]["instance_images"].shape[-2:]) for place in range(len(made))}
        same(shapes, {data.canvas[::-1]}, f"sizes for {base}")
        count += 1
    return (
        f"{len(data.train)} captions and sizes by the dataset classes of {count} scripts, with their argument parsers"
    )


def simpletuner(checkout: Path, data: Dataset) -> str:
    sys.path.insert(0, str(checkout))
    from simpletuner.helpers.data_backend.config.image import ImageBackendConfig  # type: ignore[import-not-found]
    from simpletuner.helpers.data_backend.local import LocalDataBackend  # type: ignore[import-not-found]
    from simpletuner.helpers.multiaspect.image import MultiaspectImage  # type: ignore[import-not-found]
    from simpletuner.helpers.prompts import PromptHandler  # type: ignore[import-not-found]
    from simpletuner.helpers.training.state_tracker import StateTracker  # type: ignore[import-not-found]

    registry = checkout / "simpletuner/simpletuner_sdk/server/services/field_registry"
    known = set(re.findall(r'name="(\w+)"', "".join(path.read_text("utf-8") for path in registry.rglob("*.py"))))
    count = 0
    for _, folder in for_bases(data, "simpletuner"):
        none_of(set(json.loads((folder / "simpletuner.json").read_text("utf-8"))) - known, "its field registry")
        count += 1
    options = json.loads((data.home / "simpletuner.json").read_text("utf-8"))
    StateTracker.set_args(types.SimpleNamespace(**options))
    backends = json.loads((data.home / "simpletuner-data.json").read_text("utf-8"))
    for backend in backends[:2]:
        ImageBackendConfig.from_dict(backend, options).validate(options)
    for canvas in canvases():
        aspect = float(MultiaspectImage.calculate_image_aspect_ratio(canvas))
        target, scaled, _ = MultiaspectImage.calculate_new_size_by_pixel_edge(aspect, min(canvas), canvas)
        same((target, scaled), (canvas, canvas), "size")
    backend = LocalDataBackend(types.SimpleNamespace(is_main_process=True, device="cpu"), backends[0]["id"])
    files = [file for _, _, names in backend.list_files(["png"], backends[0]["instance_data_dir"]) for file in names]
    one_line = backends[0]["disable_multiline_split"]
    found = {
        Path(file).stem: PromptHandler.prepare_instance_prompt_from_textfile(file, True, False, backend, None, one_line)
        for file in files
    }
    same(found, {stem: text for stem, (text, _) in expected(data).items()}, "captions")
    return f"{len(found)} pairs by its backend, the canvas of all ten tasks as its size; keys for {count} bases"


def onetrainer(checkout: Path, data: Dataset) -> str:
    sys.path[:0] = [str(checkout), str(checkout.parent / "mgds" / "src")]
    os.chdir(checkout)
    from modules.util.config.ConceptConfig import ConceptConfig  # type: ignore[import-not-found]
    from modules.util.config.TrainConfig import TrainConfig  # type: ignore[import-not-found]

    count = 0
    for base, folder in for_bases(data, "onetrainer"):
        exported = json.loads((folder / "onetrainer.json").read_text("utf-8"))
        config = TrainConfig.default_values()
        config.from_dict(exported)
        none_of(set(exported) - set(config.types) - {"__version"}, "TrainConfig")
        same(config.text_encoder_2_sequence_length, families.load(base).limit, "tokens")
        count += 1
    concepts = []
    for exported in json.loads((data.home / "onetrainer-concepts.json").read_text("utf-8")):
        concept = ConceptConfig.default_values()
        concept.from_dict(exported)
        for part, name in ((concept, ""), (concept.image, "image"), (concept.text, "text")):
            none_of(set(exported[name] if name else exported) - set(part.types), f"ConceptConfig {name}")
        behind = concept.path.partition("/")[2]  # the path behind the link to the data set
        concepts.append(concept.to_dict() | {"path": str(data.home / behind)})
    size = json.loads((data.home / "onetrainer.json").read_text("utf-8"))["resolution"]
    given = data.task.grid_layout.boxes[0][3]
    found = {}
    for item in _onetrainer_items(concepts[:1], size):
        mask = item["mask"][0]
        same((float(mask[:given].max()), float(mask[given:].min()), item["crop_offset"]), (0.0, 1.0, (0, 0)), "mask")
        found[Path(item["image_path"]).stem] = (item["prompt"], tuple(item["image"].shape[:0:-1]))
    same(found, expected(data), "pairs")
    for canvas in canvases():
        picture = data.home.parent / "sizes" / f"{canvas[0]}x{canvas[1]}" / "grid.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", canvas).save(picture)
        Image.new("L", canvas).save(picture.with_name("grid-masklabel.png"))
        picture.with_suffix(".txt").write_text("text")
        (item,) = _onetrainer_items([concepts[0] | {"path": str(picture.parent)}], picture.parent.name)
        same((tuple(item["image"].shape[:0:-1]), item["crop_offset"]), (canvas, (0, 0)), "size")
    return f"{len(found)} pairs, sizes and masks by its data pipeline, all ten canvases; configs for {count} bases"


def _onetrainer_items(concepts: list[dict[str, Any]], size: str) -> Iterator[dict[str, Any]]:
    """One epoch of the modules of its data loader, up to the encoders."""
    import torch
    from mgds import MGDS, OutputPipelineModule, PipelineModule, pipelineModules  # type: ignore[import-not-found]

    def made(name: str, **options: Any) -> Any:
        return getattr(importlib.import_module(f"{pipelineModules.__name__}.{name}"), name)(**options)

    def picture(path: str, out: str, **options: Any) -> Any:
        options |= {"range_min": 0, "range_max": 1, "supported_extensions": {".png"}, "dtype": torch.float32}
        return made("LoadImage", path_in_name=path, image_out_name=out, **options)

    steps = [
        made(
            "CollectPaths",
            concept_in_name="concept",
            path_in_name="path",
            enabled_in_name="enabled",
            path_out_name="image_path",
            concept_out_name="concept",
            extensions=[".png"],
            include_postfix=None,
            exclude_postfix=["-masklabel", "-condlabel"],
            include_subdirectories_in_name="concept.include_subdirectories",
        ),
        made("ModifyPath", in_name="image_path", out_name="text_path", postfix="", extension=".txt"),
        made("ModifyPath", in_name="image_path", out_name="mask_path", postfix="-masklabel", extension=".png"),
        picture("image_path", "image"),
        picture("mask_path", "mask", channels=1),
        made("LoadMultipleTexts", path_in_name="text_path", texts_out_name="texts"),
        made("SelectRandomText", texts_in_name="texts", text_out_name="prompt"),
        made("CalcAspect", image_in_name="image", resolution_out_name="original"),
        made(
            "AspectBucketing",
            quantization=64,
            resolution_in_name="original",
            frame_dim_enabled=False,
            target_resolution_in_name="settings.target_resolution",
            enable_target_resolutions_override_in_name="concept.image.enable_resolution_override",
            target_resolutions_override_in_name="concept.image.resolution_override",
            target_frames_in_name="settings.target_frames",
            scale_resolution_out_name="scale",
            crop_resolution_out_name="crop",
            possible_resolutions_out_name="possible",
        ),
        made(
            "ScaleCropImage",
            names=["image", "mask"],
            scale_resolution_in_name="scale",
            crop_resolution_in_name="crop",
            enable_crop_jitter_in_name="concept.image.enable_crop_jitter",
            crop_offset_out_name="crop_offset",
        ),
        OutputPipelineModule.OutputPipelineModule(names=["image_path", "image", "mask", "prompt", "crop_offset"]),
    ]
    settings = {"target_resolution": size, "target_frames": "1"}
    state = PipelineModule.PipelineState()
    loader = MGDS.MGDS(torch.device("cpu"), concepts, settings, steps, batch_size=1, state=state, seed=1)
    loader.start_next_epoch()
    yield from loader


def diffsynth(checkout: Path, data: Dataset) -> str:
    # Importing its package would import every model; the two files that load data do not need them.
    package = types.ModuleType("loading")
    package.__path__ = [str(checkout / "diffsynth/core/data")]
    sys.modules["loading"] = package
    from loading.unified_dataset import UnifiedDataset  # type: ignore[import-not-found]

    words = script(data.home / "diffsynth.sh")
    given = {word[2:]: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("--")}
    size = {"height": int(given["height"]), "width": int(given["width"])}
    operator = UnifiedDataset.default_image_operator(given["dataset_base_path"], max_pixels=1, **size)
    keys = tuple(given["data_file_keys"].split(","))
    made = UnifiedDataset(
        given["dataset_base_path"], given["dataset_metadata_path"], data_file_keys=keys, main_data_operator=operator
    )
    found = [(made[place]["prompt"], made[place]["image"].size) for place in range(len(made))]
    same(found, list(expected(data).values()), "pairs")
    return f"{len(found)} pairs and sizes by its dataset class; {diffsynth_flags(checkout, data)}"


def diffsynth_flags(checkout: Path, data: Dataset) -> str:
    """Of which bases the checkout's scripts know all flags, and which of its scripts are missing."""
    parsers = (checkout / "diffsynth/diffusion/parsers.py").read_text("utf-8")
    bases, missing = list[str](), list[str]()
    for base, folder in for_bases(data, "diffsynth"):
        path, *arguments = script(folder / "diffsynth.sh")
        if not (checkout / path).is_file():
            missing.append(base)
            continue
        known = set(re.findall(r'"(--\w+)"', parsers + (checkout / path).read_text("utf-8")))
        none_of({word for word in arguments if word.startswith("--")} - known, path)
        bases.append(base)
    younger = f"; younger than the checkout: {', '.join(missing)}" if missing else ""
    return f"flags for {', '.join(bases)}{younger}"


def ai_toolkit(checkout: Path, data: Dataset) -> str:
    bucket = module(checkout / "toolkit/buckets.py", "buckets").get_bucket_for_image_size
    config = plugins.load(exporters, "ai_toolkit")
    for canvas in canvases():
        side = config._dataset(_with_canvas(data, canvas), Recipe())["resolution"][0]
        found = bucket(*canvas, resolution=side, divisibility=config.STEP)
        same((found["width"], found["height"]), canvas, "bucket")
    classes = keys_by_class(checkout / "toolkit/config_modules.py")
    count = 0
    for _, folder in for_bases(data, "ai_toolkit"):
        process = yaml.safe_load((folder / "ai-toolkit.yaml").read_text("utf-8"))["config"]["process"][0]
        for section, kind in (
            *(("network", "NetworkConfig"), ("save", "SaveConfig"), ("train", "TrainConfig")),
            *(("model", "ModelConfig"), ("sample", "SampleConfig")),
        ):
            none_of(set(process[section]) - classes[kind], kind)
        none_of(set(process["datasets"][0]) - classes["DatasetConfig"], "DatasetConfig")
        count += 1
    return f"the canvas of all ten tasks as its bucket; keys for {count} bases"


def _with_canvas(data: Dataset, canvas: tuple[int, int]) -> Dataset:
    class Other(Dataset):
        @property
        def canvas(self) -> tuple[int, int]:
            return canvas

    return Other(data.task, data.run, data.home, data.samples, data.split)


def keys_by_class(path: Path) -> dict[str, set[str]]:
    """The keyword arguments that each class of a file reads, by `get`, `pop` or index."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef):
            source = ast.unparse(node)
            found[node.name] = set(re.findall(r"kwargs(?:\.get\(|\.pop\(|\[)'(\w+)'", source))
    return found


def diffusion_pipe(checkout: Path, data: Dataset) -> str:
    """Checks keys only, since its loader imports DeepSpeed and ComfyUI."""
    loader = (checkout / "utils/dataset.py").read_text("utf-8")
    trainer = "".join(path.read_text("utf-8") for path in (checkout / "train.py", checkout / "utils/common.py"))
    models = "".join(path.read_text("utf-8") for path in (checkout / "models").glob("*.py"))
    supported = (checkout / "docs/supported_models.md").read_text("utf-8")
    for side in data.sides:
        exported = tomllib.loads((data.home / plugins.load(exporters, "diffusion_pipe").DATA[side]).read_text("utf-8"))
        none_of({key for key in all_keys(exported) if f"'{key}'" not in loader}, "its loader")
        same(exported["size_buckets"], [[*data.canvas, 1]], "size")
    count = 0
    for _, folder in for_bases(data, "diffusion_pipe"):
        exported = tomllib.loads((folder / "diffusion-pipe.toml").read_text("utf-8"))
        model = exported.pop("model")
        unknown = {key for key in all_keys(exported) if f"'{key}'" not in trainer + models}
        none_of(unknown - OPTIMIZER, "train.py")
        none_of({key for key in model if f"'{key}'" not in models}, "its models")
        same(f"type = '{model['type']}'" in supported, True, "model type")
        count += 1
    return f"only keys, of the data and for {count} bases"


OPTIMIZER = {"betas", "weight_decay"}
"""Passed through to the optimizer."""


def all_keys(table: Any) -> Iterator[str]:
    if isinstance(table, dict):
        for key, value in table.items():
            yield key
            yield from all_keys(value)
    elif isinstance(table, list):
        for item in table:
            yield from all_keys(item)


CHECKS: dict[str, Callable[[Path, Dataset], str]] = {
    "kohya": kohya,
    "diffusers": diffusers,
    "simpletuner": simpletuner,
    "onetrainer": onetrainer,
    "diffsynth": diffsynth,
    "ai_toolkit": ai_toolkit,
    "diffusion_pipe": diffusion_pipe,
}

if __name__ == "__main__":
    main()
