"""The command that makes the pictures of README and docs anew."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from PIL import Image
from served import build

from bench import pictures

ROOT = Path(__file__).parents[2]
LINKED = re.compile(r"!\[[^\]]*\]\((?:docs/)?([\w-]+\.(?:png|jpg))\)")


def test_every_picture_of_readme_and_docs_can_be_made_and_no_other_one_is_kept() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    linked = {name for page in pages for name in LINKED.findall(page.read_text(encoding="utf-8"))}
    kept = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".png", ".jpg")}
    assert linked == kept == set(pictures.PICTURES)


@pytest.mark.parametrize(
    ("words", "why"), [(["sheet.png"], "no picture is called sheet.png"), (["claim.png"], "may take hours; add --long")]
)
def test_what_can_t_be_made_at_once_is_told(
    words: list[str], why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pictures", *words])
    with pytest.raises(SystemExit):
        pictures.main()
    assert why in capsys.readouterr().err


@pytest.mark.slow
def test_pages_are_seen_as_they_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if pictures.CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    run = build(tmp_path / "films")
    (run / "training").mkdir()
    (run / "training" / "log.csv").write_text("step,loss,loss_1,seconds\n1,0.5,0.5,1\n2,0.4,0.4,1\n", encoding="utf-8")
    (run / "training" / "samples").mkdir()
    for step in (0, 2):
        Image.new("RGB", (64, 96), "navy").save(run / "training" / "samples" / f"{step:06d}-1.png")
    Image.new("RGB", (2000, 1000), "navy").save(run / "training" / "base-and-lora.png")
    monkeypatch.setattr(pictures, "run_command", lambda *words: pytest.fail(f"made again: {words}"))
    for name in ("contact-sheet.jpg", "review-wall.jpg", "review-page.jpg", "training-page.jpg", "base-and-lora.jpg"):
        with Image.open(pictures.make(name, run, tmp_path / "docs")) as picture:
            assert picture.format == "JPEG" and 1000 < picture.width <= pictures.WIDEST
