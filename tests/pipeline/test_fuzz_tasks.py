"""Task files and settings of any bytes: a task, or one error that says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

from fuzzing import ANY_TEXT, damaged, fuzzed
from hypothesis import given
from hypothesis import strategies as st

from pipeline import plugins, task
from pipeline.captioning import instructions
from pipeline.errors import BadInput
from pipeline.text import grammar

FILES = [Path(plugins.find(plugins.TASKS, name).target).read_bytes() for name in task.names()]
MORE = b"""
exclude = { hair = ["hair"] }
[filter]
floor = 0.2
[export]
formats = ["kohya"]
[captioner]
model = "a"
[train]
steps = 5
"""
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**63, 10**400, 1e308, 5e-324, True, float("nan"), float("inf")]),
)
VALUES = st.recursive(
    st.one_of(NUMBERS, ANY_TEXT, st.none(), st.just([])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(ANY_TEXT, inner, max_size=2)),
    max_leaves=5,
)
SECTIONS = {
    name: field.annotation for name, field in task.Task.model_fields.items() if name.islower() and name != "captioner"
}
KEYS = [
    *SECTIONS,
    *(
        f"{name}.{key}"
        for name, model in SECTIONS.items()
        if isinstance(model, type) and hasattr(model, "model_fields")
        for key in model.model_fields
    ),
]


def loads(name: str, settings: task.Given = ()) -> None:
    """Whatever loads has an instruction, renders captions and reads them."""
    try:
        own = task.load(name, settings)
        task.read_keys(name)
    except BadInput:
        return
    assert instructions.write(own)
    width, height = own.grid_layout.canvas
    assert width * height <= task.LARGEST_CANVAS
    assert Path(own.name).name == own.name and own.name not in ("", ".", "..")
    text = grammar.render("rain falls", ["a dog runs here"] * len(own.markers), (), own)
    assert grammar.is_joint(text, own)
    json.dumps(own.model_dump(mode="json"), allow_nan=False)


@fuzzed
@given(st.data())
def test_fuzz_a_damaged_task_file_is_a_task_or_one_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "own.toml"
    content = data.draw(st.sampled_from(FILES))
    path.write_bytes(data.draw(damaged(content + MORE if data.draw(st.booleans()) else content)))
    loads(str(path))


@fuzzed
@given(st.one_of(st.binary(max_size=200), ANY_TEXT.map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_fuzz_any_bytes_are_no_task(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(content)
    loads(str(path))


@fuzzed
@given(st.dictionaries(st.one_of(st.sampled_from(KEYS), ANY_TEXT), VALUES, max_size=3))
def test_fuzz_any_settings_are_taken_or_refused(settings: dict[str, object]) -> None:
    loads("storyboard", settings)


@fuzzed
@given(st.lists(st.one_of(st.builds("{}={}".format, st.sampled_from(KEYS), VALUES), ANY_TEXT), max_size=3))
def test_fuzz_any_lines_of_settings_are_taken_or_refused(lines: list[str]) -> None:
    loads("storyboard", lines)
