"""What stands in a panel is cut out, greyed out and counted; where no detector is, by what stands out."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from miniature import draw
from miniature.world import draw_scene
from pipeline import plugins
from pipeline.errors import BadInput, MissingWeights
from pipeline.pixels import subject
from training.evaluation import subjects
from training.evaluation.detectors.base import Detection

CAT, CHAIR = Detection((0, 0, 20, 10), "cat", 0.6), Detection((30, 0, 60, 40), "chair", 0.99)
WOMAN, MAN = Detection((40, 10, 60, 50), "person", 0.7), Detection((5, 5, 15, 50), "person", 0.9)


@pytest.mark.parametrize(
    ("found", "main", "boxes"),
    [
        ([], None, []),
        ([CHAIR], CHAIR, [CHAIR.box]),
        ([CHAIR, CAT], CAT, [CAT.box]),
        ([CHAIR, WOMAN, CAT, MAN], MAN, [WOMAN.box, CAT.box, MAN.box]),
    ],
)
def test_people_come_before_animals_and_these_before_things(
    found: list[Detection], main: Detection | None, boxes: list[subjects.Box]
) -> None:
    panel = Image.effect_noise((100, 60), 80).convert("RGB")
    assert subjects.main(found) == main
    assert subjects.boxes(found) == boxes
    assert subjects.crop(panel, found).tobytes() == (panel.crop(main.box) if main else panel).tobytes()
    background = subjects.without(panel, boxes)
    for box in boxes:
        assert set(background.crop(box).get_flattened_data()) == {subjects.GREY}
    changed = (np.asarray(background) != np.asarray(panel)).any(axis=-1)
    covered = np.zeros_like(changed)
    for left, top, right, bottom in boxes:
        covered[top:bottom, left:right] = True
    assert not (changed & ~covered).any()


def test_people_are_counted_against_the_text() -> None:
    assert subjects.count([CHAIR, WOMAN, CAT, MAN]) == 2
    assert subjects.agreement(2, 2) == subjects.agreement(0, 0) == 100
    assert subjects.agreement(1, 2) == pytest.approx(100 * math.exp(-0.5), rel=1e-5)
    assert subjects.agreement(3, 0) == 0


def test_what_stands_out_covers_most_of_a_drawn_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, covered, areas = random.Random(1), [], []
    for _ in range(40):
        scene = draw_scene(rng)
        whole = draw.draw(scene, size=(512, 256))
        with monkeypatch.context() as patch:
            patch.setattr(draw, "draw_figure", lambda *_: None)
            figure = (whole != draw.draw(scene, size=(512, 256))).any(axis=-1)
        left, top, right, bottom = subject.box_of(Image.fromarray(whole))
        covered.append(figure[top:bottom, left:right].sum() / figure.sum())
        areas.append((right - left) * (bottom - top) / figure.size)
    assert np.mean(covered) > 0.8
    assert np.mean(areas) < 0.5


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (64, 64)])
def test_a_picture_in_which_nothing_stands_out_has_a_box_within_it(size: tuple[int, int]) -> None:
    left, top, right, bottom = subject.box_of(Image.new("RGB", size))
    assert 0 <= left <= right <= size[0] and 0 <= top <= bottom <= size[1]


# ---- models


def test_an_encoder_and_a_detector_name_their_weights(tmp_path: Path) -> None:
    encoder = plugins.make(plugins.IMAGE_ENCODERS, "dino", {"model": f"local-dir:{tiny.vit(tmp_path / 'vit')}"})
    detector = plugins.make(plugins.DETECTORS, "transformers", {"model": str(tiny.rt_detr(tmp_path / "detr"))})
    before = encoder.identity(), detector.identity()
    for file in ("vit/model.safetensors", "detr/model.safetensors"):
        content = bytearray((tmp_path / file).read_bytes())
        content[-1] ^= 1
        (tmp_path / file).write_bytes(content)
    again = plugins.make(plugins.IMAGE_ENCODERS, "dino", {"model": f"local-dir:{tmp_path / 'vit'}"})
    assert again.identity() != before[0]
    found = plugins.make(plugins.DETECTORS, "transformers", {"model": str(tmp_path / "detr")})
    assert found.identity() != before[1]


def test_the_whole_of_a_wide_panel_is_seen(tmp_path: Path) -> None:
    encoder = plugins.make(plugins.IMAGE_ENCODERS, "dino", {"model": f"local-dir:{tiny.vit(tmp_path / 'vit')}"})
    panel = Image.new("RGB", (400, 100), "white")
    marked = panel.copy()
    marked.paste("black", (0, 0, 40, 100))  # a centre crop would not show it
    one, other = encoder.image_vectors([panel, marked])
    assert not np.allclose(one, other, atol=1e-3)


def test_a_low_threshold_finds_what_a_high_one_does_not(tmp_path: Path) -> None:
    home, picture = str(tiny.rt_detr(tmp_path / "detr")), Image.fromarray(draw.draw(draw_scene(random.Random(0))))
    counts = [
        len(plugins.make(plugins.DETECTORS, "transformers", {"model": home, "threshold": limit}).detect([picture])[0])
        for limit in (0.0, 0.99)
    ]
    assert counts[0] > 0 and counts[1] == 0


@pytest.mark.parametrize(
    ("kind", "name", "options", "sentence"),
    [
        (plugins.IMAGE_ENCODERS, "dino", {}, r"the weights of the image encoder 'vit_small.* are not on this machine"),
        (plugins.IMAGE_ENCODERS, "dino", {"model": "local-dir:nowhere"}, "nowhere lacks config.json or a .safetensors"),
        (plugins.DETECTORS, "transformers", {}, r"the weights of the detector 'PekingU/.* are not on this machine"),
        (plugins.DETECTORS, "transformers", {"model": "."}, "the folder . lacks config.json"),
    ],
)
def test_missing_weights_are_told_in_one_sentence(
    kind: plugins.Kind,
    name: str,
    options: dict[str, str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    made = plugins.make(kind, name, options)
    with pytest.raises(MissingWeights, match=sentence) as caught:
        made.identity()
    assert str(caught.value).endswith("out.") or "leave --vectors out" in str(caught.value)


@pytest.mark.parametrize("model", ["vit_smal_patch14_dinov2", "vit_small_patch14_dinov2.nothing"])
def test_a_model_that_timm_does_not_know_is_answered_with_others(model: str) -> None:
    made = plugins.make(plugins.IMAGE_ENCODERS, "dino", {"model": model})
    with pytest.raises(BadInput, match=r"timm has no .*vit_small_patch14_dinov2"):
        made.identity()
