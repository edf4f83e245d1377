"""What plug-ins have in common: how they are found and loaded, and how their options are checked."""

import math
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from installed import installed, write
from pydantic import field_validator

import captioners
from pipeline import families, plugins, task
from pipeline.errors import BadInput, BrokenPlugin
from pipeline.plugins import Kind

GADGETS = Kind("gadget", "gadgets", "iclora.gadgets", ("answer",))
BROKEN = {
    "poor": ("import a_package_that_nobody_has", "needs the package 'a_package_that_nobody_has'.* pip install"),
    "stale": ("from json import a_name_that_json_has_not", "can't be imported: cannot import name 'a_name_that"),
    "crooked": ("answer = (", r"can't be imported: SyntaxError: '\(' was never closed"),
    "careless": ("answer = 1 / 0", "can't be imported: ZeroDivisionError: division by zero"),
    "leaving": ("raise SystemExit('bye')", "can't be imported: SystemExit: bye"),
    "wordy": ("raise ValueError('one\\ntwo')", "can't be imported: ValueError: one; correct it"),
    "empty": ("", "it lacks answer; see docs/extending.md"),
}
"""Plug-ins that can't be used: what is in the file, and what is said of it."""


@pytest.fixture
def gadgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The toolkit's own gadgets: one that works, some that are broken, and files that are not gadgets."""
    home = tmp_path / "own" / "gadgets"
    home.mkdir(parents=True)
    files = {
        "__init__": "",
        "base": "raise RuntimeError('listing must not import')",
        "_draft": "",
        "good": "answer = 42",
        **{name: code for name, (code, _) in BROKEN.items()},
    }
    for name, code in files.items():
        (home / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(home.parent)
    yield home
    for name in [name for name in sys.modules if name.split(".")[0] == "gadgets"]:
        del sys.modules[name]


# ---- by file name


def test_the_toolkits_own_are_the_files_of_the_folder_except_base_and_drafts(gadgets: Path) -> None:
    assert plugins.names(GADGETS) == sorted(["good", *BROKEN])
    assert not [name for name in sys.modules if name.startswith("gadgets")]


def test_a_plug_in_that_is_added_or_removed_is_noticed_at_once(gadgets: Path) -> None:
    before = plugins.names(GADGETS)
    (gadgets / "later.py").write_text("answer = 43")
    assert set(plugins.names(GADGETS)) == {*before, "later"}
    (gadgets / "later.py").unlink()
    assert plugins.names(GADGETS) == before


def test_a_plug_in_is_loaded_by_its_name(gadgets: Path) -> None:
    assert plugins.load(GADGETS, "good").answer == 42


@pytest.mark.parametrize("name", ["god", "base", "_draft", "", "os.path"])
def test_an_unknown_name_is_answered_with_the_known_ones(gadgets: Path, name: str) -> None:
    with pytest.raises(
        BadInput, match=rf"^no gadget named '{name}'.*\(known: .*good, .*; or give the path of a .py file"
    ):
        plugins.load(GADGETS, name)


def test_a_near_miss_gets_a_suggestion(gadgets: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'good'"):
        plugins.load(GADGETS, "god")


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("way", ["by name", "by path", "by entry point"])
def test_a_broken_plug_in_is_one_sentence(gadgets: Path, tmp_path: Path, name: str, way: str) -> None:
    with installed(
        tmp_path / "site", "stranger", {f"{name}.py": BROKEN[name][0]}, {f"iclora.gadgets x-{name}": f"stranger.{name}"}
    ):
        given = {"by name": name, "by path": str(gadgets / f"{name}.py"), "by entry point": f"x-{name}"}[way]
        with pytest.raises(BadInput, match=rf"^the gadget '.*{name}'.*{BROKEN[name][1]}") as caught:
            plugins.load(GADGETS, given)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_the_toolkits_own_are_found_for_every_kind() -> None:
    by_package = {kind.package: set(plugins.names(kind)) for kind in plugins.KINDS}
    assert {"local", "scripted", "sidecar"} <= by_package["captioners"]
    assert {"none", "open_clip"} <= by_package["pipeline.consistency.scorers"]
    assert {"columns", "folders", "names", "sets", "shots", "similarity"} == by_package["pipeline.grouping.strategies"]
    assert {"storyboard", "font-design"} <= by_package["pipeline.tasks"]
    assert all(by_package.values())


def test_a_kind_goes_by_its_package_too() -> None:
    assert plugins.names(captioners) == plugins.names(plugins.CAPTIONERS)


# ---- of other packages


def test_a_plug_in_of_an_installed_package_is_listed_without_importing_it_and_loaded(
    gadgets: Path, tmp_path: Path
) -> None:
    files, entries = {"odd.py": "answer = 7"}, {"iclora.gadgets odd": "stranger.odd", "other.group no": "stranger.no"}
    with installed(tmp_path / "site", "stranger", files, entries):
        assert {"good", "odd"} <= set(plugins.names(GADGETS)) and "no" not in plugins.names(GADGETS)
        assert "stranger" not in sys.modules
        plugin = plugins.find(GADGETS, "odd")
        assert plugin.load().answer == 7
    assert "odd" not in plugins.names(GADGETS)


def test_a_package_that_is_installed_or_removed_meanwhile_is_noticed(gadgets: Path, tmp_path: Path) -> None:
    with installed(tmp_path, "stranger", {}, {"iclora.gadgets first": "stranger.first"}):
        before = plugins.names(GADGETS)
        write(tmp_path, "visitor", {}, {"iclora.gadgets second": "visitor.second"})
        between = plugins.names(GADGETS)
        shutil.rmtree(tmp_path / "visitor-1.0.dist-info")
        after = plugins.names(GADGETS)
    assert [set(between) - set(before), set(between) - set(after)] == [{"second"}, {"second"}]


def test_an_installed_plug_in_that_changes_has_another_identity_and_is_not_imported_for_that(
    gadgets: Path, tmp_path: Path
) -> None:
    files = {"deep/__init__.py": "raise RuntimeError('not for its identity')", "deep/odd.py": "answer = 7"}
    with installed(tmp_path / "site", "stranger", files, {"iclora.gadgets odd": "stranger.deep.odd"}):
        before = plugins.find(GADGETS, "odd").identity
        assert plugins.find(GADGETS, "odd").identity == before and before.startswith("odd ")
        (tmp_path / "site" / "stranger" / "deep" / "odd.py").write_text("answer = 8")
        assert plugins.find(GADGETS, "odd").identity != before
        assert "stranger.deep" not in sys.modules
    assert plugins.find(GADGETS, "good").identity == "good", "the toolkit's own have no content in it"


def test_what_an_installed_plug_in_makes_has_the_content_in_its_identity(tmp_path: Path) -> None:
    with installed(tmp_path, "stranger", {"mine.py": CAPTIONER}, {"iclora.captioners mine": "stranger.mine"}):
        found = plugins.find(plugins.CAPTIONERS, "mine")
        made = found.make({})
        assert made.identity() == {"captioner": "mine", "word": "fine", "file": found.content}
        assert pickle.loads(pickle.dumps(made)).identity() == made.identity()
    assert "file" not in plugins.make(captioners, "sidecar", {}).identity()


@pytest.mark.parametrize("kind", [plugins.CONTAINERS, plugins.READERS, plugins.FAMILIES, plugins.BACKENDS])
def test_kinds_that_nobody_names_are_not_found_by_a_path(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(BadInput, match=rf"^a {kind.word} is found by its entry point, not by a path, got .*mine.py; "):
        plugins.load(kind, str(tmp_path / "mine.py"))
    with pytest.raises(BadInput, match="or install a package that has it"):
        plugins.find(kind, "nothing-of-the-kind")


def test_a_family_is_not_found_by_a_path() -> None:
    with pytest.raises(BadInput, match=r"^a model family is found by its entry point, not by a path, got \./x\.py"):
        families.load("./x.py")


@pytest.mark.parametrize("kind", [plugins.CONTAINERS, plugins.READERS, plugins.EXPORTERS, plugins.FAMILIES])
def test_a_broken_installed_plug_in_is_left_out_unless_it_is_asked_for(kind: Kind, tmp_path: Path) -> None:
    own = plugins.names(kind)
    with installed(tmp_path, "stranger", {}, {f"{kind.group} odd": "stranger.gone"}):
        with pytest.warns(BrokenPlugin, match=rf"^left out: the {kind.word} 'odd' \(stranger.gone\) can't be"):
            assert [plugin.name for plugin, _ in plugins.usable(kind)] == own
        with pytest.raises(BadInput, match="'odd'"):
            plugins.load(kind, "odd")


def test_a_broken_plug_in_of_the_toolkit_is_an_error(gadgets: Path) -> None:
    with pytest.raises(BadInput, match="careless"):
        list(plugins.usable(GADGETS))


@pytest.mark.parametrize("package", ["stranger", "nobody.has.it"])
def test_a_task_without_its_file_names_package_and_entry(tmp_path: Path, package: str) -> None:
    with (
        installed(tmp_path, "stranger", {}, {"iclora.tasks comic-strip": package}),
        pytest.raises(
            BadInput,
            match=rf"^the task 'comic-strip' can't be read: the entry point 'comic-strip = {package}' of the package "
            r"stranger names no package with a file comic-strip\.toml; reinstall or correct it\.$",
        ),
    ):
        task.load("comic-strip")


def test_an_entry_point_without_its_module_is_one_sentence(gadgets: Path, tmp_path: Path) -> None:
    with (
        installed(tmp_path / "site", "stranger", {}, {"iclora.gadgets odd": "stranger.gone"}),
        pytest.raises(BadInput, match=r"gadget 'odd' \(stranger.gone\) can't be imported: .*; reinstall the package"),
    ):
        plugins.load(GADGETS, "odd")


@pytest.mark.parametrize("asked", ["so_good", "so-good"])
def test_a_plug_in_does_not_replace_one_that_is_spelt_with_underscores(
    gadgets: Path, tmp_path: Path, asked: str
) -> None:
    (gadgets / "so_good.py").write_text("answer = 1", encoding="utf-8")
    files = {"good.py": "answer = 2"}
    with (
        installed(tmp_path / "one", "stranger", files, {"iclora.gadgets so-good": "stranger.good"}),
        pytest.raises(BadInput, match=r"more than one gadget is named .*: gadgets.so_good of iclora and stranger.good"),
    ):
        plugins.load(GADGETS, asked)


def test_a_name_that_two_claim_is_refused_naming_both(gadgets: Path, tmp_path: Path) -> None:
    files = {"good.py": "answer = 1"}
    with (
        installed(tmp_path / "one", "stranger", files, {"iclora.gadgets good": "stranger.good"}),
        installed(tmp_path / "two", "visitor", files, {"iclora.gadgets odd": "visitor.good"}),
    ):
        assert plugins.names(GADGETS).count("good") == 1
        with pytest.raises(
            BadInput,
            match=r"more than one gadget is named 'good': gadgets.good of iclora and stranger.good of the package "
            r"stranger; uninstall or rename all but one\.",
        ):
            plugins.find(GADGETS, "good")
        assert plugins.load(GADGETS, "odd").answer == 1


def test_a_task_of_an_installed_package_is_found_by_its_name(tmp_path: Path) -> None:
    text = Path(plugins.find(plugins.TASKS, "storyboard").target).read_text(encoding="utf-8")
    with installed(tmp_path, "stranger", {"comic-strip.toml": text}, {"iclora.tasks comic-strip": "stranger"}):
        assert "comic-strip" in task.names()
        assert task.load("comic_strip").name == "comic-strip"


# ---- by path


def test_a_plug_in_is_loaded_by_its_path(gadgets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my own.py").write_text("answer = 3\n")
    monkeypatch.chdir(tmp_path)
    for given in ("my own.py", "./my own.py", str(tmp_path / "my own.py")):
        plugin = plugins.find(GADGETS, given)
        assert (plugin.name, plugin.target) == ("my own", str(tmp_path / "my own.py"))
        assert plugin.load().answer == 3
    assert plugin.load() is plugin.load()


def test_the_identity_of_a_plug_in_given_by_path_changes_with_its_content(gadgets: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("answer = 3")
    before = plugins.find(GADGETS, str(path))
    path.write_text("answer = 4")
    after = plugins.find(GADGETS, str(path))
    assert before.identity != after.identity and before.identity.startswith("mine ")
    assert after.load().answer == 4


def test_a_file_that_is_not_there_is_one_sentence(gadgets: Path) -> None:
    with pytest.raises(
        BadInput, match=r"^the gadget no/such.py can't be read: No such file .*; give the path of a .py"
    ):
        plugins.find(GADGETS, "no/such.py")


def test_a_path_can_be_kept_and_used_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert plugins.absolute(GADGETS, "./mine.py") == str(tmp_path / "mine.py")
    assert plugins.absolute(GADGETS, "local") == "local"


def test_a_plug_in_that_was_found_can_be_sent_to_another_process(gadgets: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("answer = 3")
    for name in ("good", str(tmp_path / "mine.py")):
        plugin = plugins.find(GADGETS, name)
        assert pickle.loads(pickle.dumps(plugin)) == plugin


# ---- what they make

CAPTIONER = """
from pipeline import plugins
from pipeline.captioning.protocol import Answer

class Options(plugins.Options):
    word: str = "fine"

class Mine:
    batch, verbatim = 4, False
    def __init__(self, options):
        self.options = options
    def identity(self):
        return {"captioner": "mine", "word": self.options.word}
    def ask(self, questions):
        yield from ((place, Answer(self.options.word)) for place, _ in enumerate(questions))

def make(options):
    return Mine(plugins.parse_options(Options, "the captioner mine", options))
"""


def test_what_a_plug_in_given_by_path_makes_has_the_content_in_its_identity(tmp_path: Path) -> None:
    path, seen = tmp_path / "mine.py", []
    for text in (CAPTIONER, f"{CAPTIONER}\n# changed\n"):
        path.write_text(text)
        made = plugins.make(plugins.CAPTIONERS, str(path), {"word": "well"})
        assert made.batch == 4 and [answer.text for _, answer in made.ask([None])] == ["well"]
        seen.append(made.identity())
    assert [one["word"] for one in seen] == ["well", "well"] and seen[0]["file"] != seen[1]["file"]


def test_what_a_plug_in_given_by_path_makes_can_be_sent_to_another_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CAPTIONER)
    made = plugins.make(plugins.CAPTIONERS, str(tmp_path / "mine.py"), {"word": "well"})
    (tmp_path / "made").write_bytes(pickle.dumps(made))
    code = f"import pickle; print(pickle.load(open({str(tmp_path / 'made')!r}, 'rb')).identity())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(made.identity())


def test_a_captioner_that_cannot_answer_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CAPTIONER.replace("def ask(", "def answer("))
    with pytest.raises(
        BadInput, match=r"the captioner 'mine' \(.*mine.py\): what make\(options\) returns lacks ask; see"
    ):
        plugins.make(plugins.CAPTIONERS, str(tmp_path / "mine.py"), {})


# ---- in the command line


def test_help_lists_the_plug_ins_of_other_packages_without_importing_them(tmp_path: Path) -> None:
    with installed(
        tmp_path,
        "stranger",
        {"haiku.py": "raise RuntimeError('help must not import')"},
        {"iclora.captioners haiku": "stranger.haiku", "iclora.scorers taste": "stranger.haiku"},
    ):
        code = (
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['iclora', 'dataset', '--help']\n"
            "from iclora import cli\ncli.main()"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    help_text = " ".join(ran.stdout.replace("│", " ").split())
    assert "haiku, local (the default), scripted, server, sidecar, or the path of a .py file." in help_text
    assert "none, open_clip (the default), taste, or the path of a .py file." in help_text


def test_the_list_of_tasks_survives_a_broken_one(tmp_path: Path, iclora: Callable[..., tuple[int, str, str]]) -> None:
    with installed(tmp_path / "site", "stranger", {}, {"iclora.tasks comic-strip": "stranger"}):
        code, out, errors = iclora("tasks")
    assert code == 0 and "storyboard" in out and "comic-strip" not in out
    assert errors.startswith("warning: left out: the task 'comic-strip' can't be read") and errors.count("\n") == 1


# ---- options


class Options(plugins.Options):
    size: int = 3
    word: str = ""
    share: float = 0.5

    @field_validator("word")
    @classmethod
    def _said(cls, word: str) -> str:
        if word == "never":
            raise ValueError("nobody says that")
        return word


def test_good_options_are_taken_over() -> None:
    assert plugins.parse_options(Options, "the gadget", {"size": 5}) == Options(size=5)


def test_all_faults_of_options_are_told_at_once_with_their_values() -> None:
    with pytest.raises(BadInput) as caught:
        plugins.parse_options(Options, "the gadget good", {"size": "wide" * 99, "sise": 4}, "gadget.")
    message = str(caught.value)
    assert message.startswith("options of the gadget good: gadget.size: Input should be a valid integer")
    assert ", got 'widewide" in message and "...;" in message and len(message) < 300
    assert message.endswith("unknown key 'gadget.sise', did you mean 'size'?")


def test_one_value_stands_for_a_list_of_any_length_and_for_nothing_else() -> None:
    class Some(plugins.Options):
        many: tuple[int, ...] = ()
        maybe: tuple[str, ...] | None = None
        pair: tuple[int, int] = (1, 2)

    found = plugins.parse_options(Some, "the gadget", {"many": 3, "maybe": "one"})
    assert (found.many, found.maybe) == ((3,), ("one",))
    assert plugins.parse_options(Some, "the gadget", {"many": [3, 4]}).many == (3, 4)
    with pytest.raises(BadInput, match="pair: Input should be a valid tuple"):
        plugins.parse_options(Some, "the gadget", {"pair": 3})
    with pytest.raises(BadInput, match="many"):
        plugins.parse_options(Some, "the gadget", {"many": "three"})


def test_known_options_are_listed_only_where_none_is_near() -> None:
    for key, listed in (("sise", False), ("colour", True)):
        with pytest.raises(BadInput) as caught:
            plugins.parse_options(Options, "the gadget", {key: 4})
        assert str(caught.value).endswith("(known: size, word, share).") == listed


def test_a_rule_of_the_options_own_is_told_in_its_own_words() -> None:
    with pytest.raises(BadInput, match=r"^options of the gadget: word: nobody says that, got 'never'\.$"):
        plugins.parse_options(Options, "the gadget", {"word": "never"})


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_what_is_no_finite_number_is_no_option(number: float) -> None:
    with pytest.raises(BadInput, match=f"share: Input should be a finite number, got {number}"):
        plugins.parse_options(Options, "the gadget", {"share": number})


def test_a_thousand_faults_make_no_long_sentence() -> None:
    with pytest.raises(BadInput, match="and 995 more") as caught:
        plugins.parse_options(Options, "the gadget", {f"key{number}": 0 for number in range(1000)})
    assert len(str(caught.value)) < 500


def test_an_unknown_group_of_entry_points_is_warned_of_where_a_name_is_missing_or_all_are_used(tmp_path: Path) -> None:
    entries = {"iclora.reader npy": "p.npy", "iclorax.readers other": "p.other"}
    told = (
        "left out: the package p has entry points in the unknown group 'iclora.reader', did you mean 'iclora.readers'?"
    )
    with installed(tmp_path, "p", {}, entries), pytest.warns(BrokenPlugin) as caught:
        list(plugins.usable(plugins.READERS))
        with pytest.raises(BadInput, match="no reader named 'npy'"):
            plugins.find(plugins.READERS, "npy")
    assert [str(one.message) for one in caught] == [told, told]
    with warnings.catch_warnings(action="error"):
        list(plugins.usable(plugins.READERS))
