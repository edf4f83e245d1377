"""Data sets with reference images, read by the trainers' own code: run by `bench.loaders`, which says how.

trainer          its own code that runs, for single panels and for whole grids
musubi_tuner     schema, data set classes: captions, pixels of targets and reference images (for plain grids too)
diffusers        data set class of each script: captions, sizes of targets and reference images
diffsynth        data set class: captions, sizes of targets and reference images
simpletuner      config of its backends, the files that each of them finds
ai_toolkit       the class that finds control images; keys of its config classes
diffusion_pipe   keys of the data only, since its loader imports DeepSpeed and ComfyUI
"""

from __future__ import annotations

import ast
import json
import os
import sys
import tomllib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import yaml
from PIL import Image

from bench import loaders
from pipeline.dataset.samples import Dataset
from pipeline.task import Task

SETTINGS = {
    "panels": ("export.use=panels", "export.references=2", "condition=[1,2]", "base=flux-2-klein"),
    "sheets": ("export.use=sheets", "export.references=2", "condition=[1,2]", "base=flux-2-klein"),
}
"""Two references each, so that their order is seen too."""


def colours(file: Path) -> tuple[int, ...]:
    """The colour in the middle of the topmost panel of a drawn picture."""
    with Image.open(file) as image:
        return tuple(image.convert("RGB").getpixel((image.width // 2, 5)))  # type: ignore[arg-type]


def panel_size(task: Task) -> tuple[int, int]:
    return task.layout.panel_width, task.layout.panel_height


# ---- trainers


def musubi_tuner(checkout: Path, data: Dataset) -> str:
    sys.path.insert(0, str(checkout / "src"))
    from musubi_tuner.dataset import config_utils  # type: ignore[import-not-found]

    config = config_utils.load_user_config("musubi-tuner.toml")
    options = types.SimpleNamespace(debug_dataset=False)
    blueprint = config_utils.BlueprintGenerator(config_utils.ConfigSanitizer()).generate(
        config, options, architecture="f2k4b"
    )
    (made,) = config_utils.generate_dataset_group_by_blueprint(blueprint.dataset_group, training=False).datasets
    found, captions = {}, {}
    for bucket, batch in made.retrieve_latent_cache_batches(1):
        for item in batch:
            controls = [tuple(int(value) for value in one[5, 5, :3]) for one in item.control_content or []]
            sizes = {one.shape[1::-1] for one in item.control_content or []}
            loaders.same(sizes <= {panel_size(data.task)}, True, f"size of the references in {bucket}")
            found[Path(item.item_key).stem] = (np.asarray(item.content).shape[1::-1], controls)
            captions[Path(item.item_key).stem] = item.caption
    home = data.home
    wanted = {one.stem: (data.canvas, [colours(home / file) for file in one.references]) for one in data.train}
    loaders.same(found, wanted, "pictures")
    loaders.same(captions, {one.stem: one.text for one in data.train}, "captions")
    source = "".join(path.read_text("utf-8") for path in (checkout / "src").rglob("*.py"))
    bases = [base for base, folder in loaders.for_bases(data, "musubi_tuner") if _knows(folder, checkout, source)]
    count = sum(len(one) for _, one in found.values())
    return f"{len(found)} pairs, sizes and {count} references by its data set class; flags for {', '.join(bases)}"


def _knows(folder: Path, checkout: Path, source: str) -> bool:
    """Whether the scripts that a config calls are there; fails if one of their flags is in no parser."""
    lines = (folder / "musubi-tuner.sh").read_text("utf-8").splitlines()
    words = " ".join(line for line in lines if not line.startswith("#")).split()
    loaders.none_of({word for word in words if word.startswith("--") and f'"{word}"' not in source}, "musubi-tuner")
    called = [word.partition('}"/')[2] for word in words if word.endswith(".py")]
    return len(called) == 3 and all((checkout / file).is_file() for file in called)  # noqa: PLR2004


def diffusers(checkout: Path, data: Dataset) -> str:
    import diffusers as installed

    installed.utils.check_min_version = lambda *_: None  # a checkout requires its own version
    count = 0
    for base, folder in loaders.for_bases(data, "diffusers"):
        path, *arguments = loaders.script(folder / "diffusers.sh")
        example = loaders.module(checkout / path, f"example_{data.task.export.use}_{count}")
        example.args = options = example.parse_args(arguments)
        taken = example.DreamBoothDataset.__init__.__code__.co_varnames
        asked = {
            "instance_data_root": None,
            "instance_prompt": options.instance_prompt,
            "class_prompt": None,
            "size": options.resolution,
            "buckets": example.parse_buckets_string(options.aspect_ratio_buckets),
            "args": options,
        }
        made = example.DreamBoothDataset(**{name: value for name, value in asked.items() if name in taken})
        loaders.same(list(made.custom_instance_prompts), [one.text for one in data.train], f"captions for {base}")
        table = datasets.load_dataset(str(data.home), split="train")
        firsts = [colours(data.home / one.references[0]) for one in data.train]
        loaders.same([one.getpixel((5, 5)) for one in table["control_image"]], firsts, "first references")
        for place in range(len(made)):
            shapes = {tuple(made[place][key].shape[-2:]) for key in ("instance_images", "cond_images")}
            loaders.same(shapes, {data.canvas[::-1]}, f"sizes for {base}")
        count += 1
    return f"{len(data.train)} captions, targets and first references by the data set classes of {count} scripts"


def diffsynth(checkout: Path, data: Dataset) -> str:
    package = types.ModuleType("loading")
    package.__path__ = [str(checkout / "diffsynth/core/data")]
    sys.modules.setdefault("loading", package)
    from loading.unified_dataset import UnifiedDataset  # type: ignore[import-not-found]

    words = loaders.script(data.home / "diffsynth.sh")
    given = {word[2:]: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("--")}
    size = {"height": int(given["height"]), "width": int(given["width"])}
    operator = UnifiedDataset.default_image_operator(given["dataset_base_path"], max_pixels=1, **size)
    keys = tuple(given["data_file_keys"].split(","))
    made = UnifiedDataset(
        given["dataset_base_path"], given["dataset_metadata_path"], data_file_keys=keys, main_data_operator=operator
    )
    rows = [made[place] for place in range(len(made))]
    found = [
        (row["prompt"], row["image"].size, [one.getpixel((size["width"] // 2, 5)) for one in row["edit_image"]])
        for row in rows
    ]
    wanted = [(one.text, data.canvas, [colours(data.home / file) for file in one.references]) for one in data.train]
    loaders.same(found, wanted, "pairs")
    flags = loaders.diffsynth_flags(checkout, data)
    return f"{len(found)} pairs with {len(wanted[0][2])} references each by its data set class; {flags}"


def simpletuner(checkout: Path, data: Dataset) -> str:
    from simpletuner.helpers.data_backend.config.image import ImageBackendConfig  # type: ignore[import-not-found]
    from simpletuner.helpers.data_backend.local import LocalDataBackend  # type: ignore[import-not-found]
    from simpletuner.helpers.training.state_tracker import StateTracker  # type: ignore[import-not-found]

    options = json.loads((data.home / "simpletuner.json").read_text("utf-8"))
    StateTracker.set_args(types.SimpleNamespace(**options))
    backends = json.loads((data.home / "simpletuner-data.json").read_text("utf-8"))[:-1]
    by_id = {}
    for backend in backends:
        made = ImageBackendConfig.from_dict(backend, options)
        made.validate(options)
        local = LocalDataBackend(types.SimpleNamespace(is_main_process=True, device="cpu"), backend["id"])
        listed = local.list_files(["png"], backend["instance_data_dir"])
        by_id[backend["id"]] = sorted(Path(file).stem for _, _, names in listed for file in names)
    for backend in backends:
        for control in backend.get("conditioning_data", []):
            loaders.same(by_id[control], by_id[backend["id"]], f"files of {control}")
    return f"{len(backends)} backends by its config classes, with the same files in those that belong together"


def ai_toolkit(checkout: Path, data: Dataset) -> str:
    process = yaml.safe_load((data.home / "ai-toolkit.yaml").read_text("utf-8"))["config"]["process"][0]
    classes = loaders.keys_by_class(checkout / "toolkit/config_modules.py")
    loaders.none_of(set(process["datasets"][0]) - classes["DatasetConfig"], "DatasetConfig")
    loaders.none_of({key for one in process["sample"]["samples"] for key in one} - classes["SampleItem"], "SampleItem")
    # The rest of its loader imports every model; this class finds the files.
    tree = ast.parse((checkout / "toolkit/dataloader_mixins.py").read_text("utf-8"))
    (found,) = [one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == "ControlFileItemDTOMixin"]
    found.body = [one for one in found.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
    space: dict[str, Any] = {"os": os, "img_ext_list": [".jpg", ".png"], "Union": None, "List": None}
    source = "from __future__ import annotations\nfrom typing import *\nimport torch\n" + ast.unparse(found)
    exec(compile(source, "dataloader_mixins.py", "exec"), space)
    kind = type("Base", (), {"__init__": lambda *_, **__: None})
    class_of = type("Item", (space["ControlFileItemDTOMixin"], kind), {})
    paths = [value for key, value in process["datasets"][0].items() if key.startswith("control_path")]
    config = types.SimpleNamespace(control_path=paths, full_size_control_images=True, control_from_same_folder=False)
    for sample in data.train:
        item = class_of(path=sample.file, dataset_config=config)
        loaders.same(item.control_path, list(sample.references), f"references of {sample.file}")
    bases = []
    for base, folder in loaders.for_bases(data, "ai_toolkit"):
        (one,) = yaml.safe_load((folder / "ai-toolkit.yaml").read_text("utf-8"))["config"]["process"]
        loaders.none_of(set(one["model"]) - classes["ModelConfig"], "ModelConfig")
        bases.append(base)
    return f"the references of {len(data.train)} targets by the class that finds them; keys for {', '.join(bases)}"


def diffusion_pipe(checkout: Path, data: Dataset) -> str:
    loader = (checkout / "utils/dataset.py").read_text("utf-8")
    for file in ("diffusion-pipe-data.toml", "diffusion-pipe-held-out.toml"):
        exported = tomllib.loads((data.home / file).read_text("utf-8"))
        loaders.none_of({key for key in loaders.all_keys(exported) if f"'{key}'" not in loader}, "its loader")
        folders = [data.home / exported["directory"][0][key].partition("/")[2] for key in ("path", "control_path")]
        pictures, references = ({path.stem for path in folder.glob("*.png")} for folder in folders)
        loaders.same(references, pictures, "files")
    return "only keys, and a reference of the same name for every picture"


CHECKS: dict[str, Callable[[Path, Dataset], str]] = {
    "musubi_tuner": musubi_tuner,
    "diffusers": diffusers,
    "diffsynth": diffsynth,
    "simpletuner": simpletuner,
    "ai_toolkit": ai_toolkit,
    "diffusion_pipe": diffusion_pipe,
}
