"""Four published grids with their published captions, taken through the pipeline unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from iclora.offline import MINIATURE
from pipeline.consistency.verdict import BELONGS, RECURS
from pipeline.records import Caption, Scores
from pipeline.store import Store
from pipeline.text import grammar

RELEASED = Path(__file__).parents[4] / "shared/data/movie-shots"
SCORERS = {"none": (), "open_clip": ("--set", f"scorer.model=local-dir:{MINIATURE / 'clip'}")}


@pytest.mark.skipif(not RELEASED.is_dir(), reason="the published grids are not here")
@pytest.mark.parametrize("scorer", SCORERS)
def test_published_grids_belong_together_and_their_captions_come_out_word_for_word(
    scorer: str, iclora: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    options = ("--source", str(RELEASED), "--captioner", "sidecar", "--scorer", scorer, *SCORERS[scorer])
    code, _, _ = iclora("dataset", "storyboard", *options, "--set", "grids=[1,100]", "--out", str(tmp_path / "run"))
    with Store(tmp_path / "run") as store:
        scored = store.items(Scores, "scores")
        rejected = {row.reason for row in store.rejected("filter")}
        captions = {caption.text for caption in store.items(Caption, "captions")}
    assert len(scored) == 4
    assert all(score.passed for row in scored for score in row.scores if score.name.startswith((BELONGS, RECURS)))
    assert not any("strangers" in reason or "seen once" in reason for reason in rejected)
    published = {grammar.fold(path.read_text(encoding="utf-8")) for path in RELEASED.glob("*.txt")}
    assert captions == published
    exported = {path.read_text(encoding="utf-8").strip() for path in (tmp_path / "run/dataset").glob("*/*.txt")}
    assert exported <= published and code == (0 if exported else 1)
    assert scorer != "none" or exported == published  # the small CLIP knows drawn films only
