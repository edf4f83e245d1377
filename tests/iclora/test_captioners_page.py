"""docs/captioners.md: its table has every option, and its command works as it stands."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from random import Random

from endpoint import serving

from captioners import local, server
from miniature.film import picture
from miniature.world import draw_scene

PAGE = (Path(__file__).parents[2] / "docs" / "captioners.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


KINDS = {"server": server.Options, "local": local.Options}


def test_the_page_has_every_option_and_says_whose_it_is() -> None:
    table = PAGE[: PAGE.index("\n## ")]
    told = re.findall(r"^\| (`.*?`) \| (\w+) \|", table, re.MULTILINE)
    where = {name: captioner for names, captioner in told for name in re.findall(r"`(\w+)`", names)}
    options = {name: {field.alias or key for key, field in kind.model_fields.items()} for name, kind in KINDS.items()}
    both = {name for name, captioner in where.items() if captioner == "both"}
    assert set(where) == options["server"] | options["local"]
    assert both == options["server"] & options["local"]


def test_the_command_of_the_page_sends_further_parameters(
    tmp_path: Path, iclora: Callable[..., tuple[int, str, str]]
) -> None:
    rng = Random(3)
    for number in range(6):
        picture(draw_scene(rng), tmp_path / "shots" / f"{number}.png", (384, 192))
    with serving() as endpoint:
        first = f"caption storyboard --source {tmp_path / 'shots'} --captioner server --scorer none --out runs/served "
        first += f"--set captioner.url={endpoint.url} --set group.floor=0 --set group.ceiling=1 --set group.prove=false"
        assert iclora(*first.split())[0] == 0
        (command,) = COMMANDS
        code, out, errors = iclora(*shlex.split(command)[1:])
        assert (code, errors) == (0, "") and "caption" in out
        body = endpoint.bodies[-1]
    assert body["top_k"] == 20 and body["mm_processor_kwargs"] == {"max_pixels": 500_000}
