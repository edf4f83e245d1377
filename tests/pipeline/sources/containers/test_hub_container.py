"""Data sets that the package `datasets` reads: saved ones of this machine, and those of the hub."""

from __future__ import annotations

import io
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from PIL import Image

from iclora.settings import Settings
from pipeline import task
from pipeline.errors import BadInput
from pipeline.records import Record, Rejected
from pipeline.sources import gathering
from pipeline.sources.containers import hub
from pipeline.stages import collect

Draw = Callable[..., Image.Image]
Gather = Callable[..., tuple[list[Record], list[Rejected]]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ICLORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.utils.logging.is_progress_bar_enabled", lambda: False)
    return tmp_path / "cache"


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def shop(draw: Draw, **more: Any) -> Dataset:
    """Two products, seen from the front and from behind."""
    features = Features(
        {
            "image": datasets.Image(),
            "sku": Value("int64"),
            "view": ClassLabel(names=["front", "back"]),
            "description": Value("string"),
            "vector": datasets.Sequence(Value("float32")),
        }
    )
    rows = {
        "image": [{"bytes": png(draw(number)), "path": f"/home/me/{number}.png"} for number in range(4)],
        "sku": [7, 7, 8, 8],
        "view": [0, 1, 0, 1],
        "description": [f"chair {number}" for number in range(4)],
        "vector": [[0.5, 1.5]] * 4,
    }
    return Dataset.from_dict({**rows, **more}, features=features)


def test_a_saved_data_set_is_read_by_its_columns(tmp_path: Path, draw: Draw, gather: Gather) -> None:
    shop(draw).save_to_disk(tmp_path / "set")
    assert hub.claims(tmp_path / "set") and not hub.claims(tmp_path)
    records, rejected = gather(tmp_path / "set")
    assert not rejected and [record.text for record in records] == [f"chair {number}" for number in range(4)]
    places = [record.position for record in records]
    assert [(place.group, place.panel, place.row) for place in places] == [
        ("7", "front", 0), ("7", "back", 1), ("8", "front", 2), ("8", "back", 3),
    ]  # fmt: skip
    assert [place.stem for place in places] == ["0", "1", "2", "3"]
    for number, record in enumerate(records):
        assert (tmp_path / "run" / record.path).read_bytes() == png(draw(number))
    (remark,) = gathering.items_of([tmp_path / "set"]).remarks
    assert "4 rows" in remark and "panel from view (front, back)" in remark


def test_all_splits_of_a_saved_data_set_are_read(tmp_path: Path, draw: Draw, gather: Gather) -> None:
    whole = shop(draw)
    DatasetDict(train=whole.select(range(3)), test=whole.select(range(3, 4))).save_to_disk(tmp_path / "set")
    records, rejected = gather(tmp_path / "set")
    assert not rejected
    assert [record.source.removeprefix(f"{tmp_path}/set/") for record in records] == [
        "train/0.png", "train/1.png", "train/2.png", "test/3.png",
    ]  # fmt: skip
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["../private"]}')
    with pytest.raises(BadInput, match=r"dataset_dict.json does not list the splits of a data set; save"):
        gather(tmp_path / "set")


def test_broken_pictures_and_empty_cells_cost_only_themselves(tmp_path: Path, draw: Draw, gather: Gather) -> None:
    cells = [
        {"bytes": png(draw(1)), "path": None},
        {"bytes": b"not a picture", "path": None},
        None,
        {"bytes": png(draw(2))[:100], "path": None},
    ]
    shop(draw, image=cells).save_to_disk(tmp_path / "set")
    records, rejected = gather(tmp_path / "set")
    assert {record.position.row for record in records} >= {0} and len(records) + len(rejected) == 4
    assert all(row.detail.endswith(".") for row in rejected)


def test_files_that_a_stranger_names_are_not_read(tmp_path: Path, draw: Draw, gather: Gather) -> None:
    """Rows that name files of this machine are the business of nobody who has made a data set elsewhere."""
    draw(9).save(tmp_path / "private.png")
    table = shop(draw).cast_column("image", datasets.Image(decode=False))
    named = table.map(lambda row, number: {"image": {"bytes": None, "path": str(tmp_path / "private.png")}
                                           if number == 1 else row["image"]}, with_indices=True)  # fmt: skip
    split = hub.Split("there", "", {"a": 1}, named.to_iterable_dataset, f"{tmp_path}/set/")
    items = [item for item in hub._rows(split, {}, None) if not isinstance(item, hub.Remark)]
    with pytest.raises(BadInput, match="has no picture in row 2"):
        items[1].head()
    assert items[0].head() == png(draw(0))[:512]


def test_rows_beyond_the_bound_are_not_read_and_it_is_said(tmp_path: Path, draw: Draw) -> None:
    shop(draw).save_to_disk(tmp_path / "set")
    few = task.load("storyboard", {"hub.rows": 2})
    items = collect.find([tmp_path / "set"], few)
    assert len(items) == 2 and "only the first 2 rows are read" in items.remarks[0]
    assert len(collect.find([tmp_path / "set"], task.load("storyboard", {"hub.rows": 4}))) == 4


def test_items_are_the_same_in_another_process_and_with_another_cache(
    tmp_path: Path, draw: Draw, own_cache: Path
) -> None:
    shop(draw).save_to_disk(tmp_path / "set")
    items = collect.find([tmp_path / "set"])
    first = [b"".join(item.chunks()) for item in pickle.loads(pickle.dumps(items))]
    shutil.rmtree(own_cache)
    again = collect.find([tmp_path / "set"])
    assert repr(again) == repr(items) and [b"".join(item.chunks()) for item in again] == first


def test_a_damaged_data_set_is_a_row(tmp_path: Path, draw: Draw) -> None:
    shop(draw).save_to_disk(tmp_path / "set")
    for file in (tmp_path / "set").glob("*.arrow"):
        file.write_bytes(b"damaged")
    (item,) = hub.items(tmp_path / "set")
    assert isinstance(item, hub.Item) and item.fault
    assert item.fault.reason == "unreadable" and item.fault.detail.startswith(f"{tmp_path}/set can't be read: ")


def test_a_data_set_without_pictures_is_one_sentence(tmp_path: Path) -> None:
    Dataset.from_dict({"text": ["a"], "label": [1]}).save_to_disk(tmp_path / "set")
    with pytest.raises(BadInput, match=r"has no column of pictures; .*table.image=COLUMN \(columns: text, label\)\.$"):
        list(hub.items(tmp_path / "set"))


# ---- the hub


class Api:
    """The hub's client, with one data set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[str | None] = []

    def dataset_info(self, repo: str, revision: str | None, timeout: float) -> SimpleNamespace:
        self.asked.append(revision)
        if self.error:
            raise self.error
        return SimpleNamespace(sha="c0ffee", card_data=SimpleNamespace(license="cc-by-4.0"))


@pytest.fixture
def stocked(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A hub that has `me/shop`, with the configurations and splits of `known`."""
    api, known = Api(), {"default": {"train": shop(draw), "test": shop(draw).select([0])}}

    def load(repo: str, config: str, *, split: str, revision: str, streaming: bool) -> Any:
        assert (repo, revision, streaming) == ("me/shop", "c0ffee", True)
        return known[config][split].to_iterable_dataset()

    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
    monkeypatch.setattr("datasets.get_dataset_config_names", lambda repo, revision: [*known])
    monkeypatch.setattr("datasets.get_dataset_split_names", lambda repo, config, revision: [*known[config]])
    monkeypatch.setattr("datasets.load_dataset", load)
    return api


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize(
    ("address", "sources"),
    [
        ("hf://datasets/me/shop", ["train/0", "train/1", "train/2", "train/3", "test/0"]),
        ("hf://datasets/me/shop@main:default/test", ["test/0"]),
        ("hf:/datasets/me/shop:/test", ["test/0"]),
    ],
)
def test_a_data_set_of_the_hub_is_pinned_to_a_commit(address: str, sources: list[str]) -> None:
    items = collect.find([Path(address)])
    begins = "hf://datasets/me/shop@c0ffee/default/"
    assert [item.source for item in items] == [f"{begins}{name}.png" for name in sources]
    assert items[0].facts.of("licence") == "cc-by-4.0" and items[0].facts.of("author") == "me"
    assert items[0].facts.of("url") == "https://huggingface.co/datasets/me/shop/tree/c0ffee"


def test_a_second_run_asks_the_hub_for_nothing(stocked: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    first = collect.find([Path("hf://datasets/me/shop")])
    stocked.error = OSError("no network")
    monkeypatch.setattr("datasets.load_dataset", None)
    assert repr(collect.find([Path("hf://datasets/me/shop")])) == repr(first) and stocked.asked == [None]


def refusal(name: str) -> Exception:
    from huggingface_hub import errors

    kind = getattr(errors, name)
    return kind("refused", response=SimpleNamespace(headers={}, request=None))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("GatedRepoError", "is only for those who have accepted its terms; do so on its page, then hf auth login."),
        ("RepositoryNotFoundError", "or it is private: check its name, or log in with hf auth login."),
        ("RevisionNotFoundError", "has no revision 'v9'; name a branch, a tag or a commit."),
        ("", r"the hub can't be asked for hf://datasets/me/shop: no route; connect to the network, or give a folder"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(error: str, said: str, stocked: Api) -> None:
    stocked.error = refusal(error) if error else OSError("no route\nmore")
    with pytest.raises(BadInput, match=said):
        collect.find([Path("hf://datasets/me/shop@v9")])


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf://models/me/shop", "is not the address of a data set; write hf://datasets/OWNER/NAME"),
        ("hf://datasets/", "is not the address of a data set"),
        (
            "hf://datasets/me/shop:defualt",
            "has no configuration 'defualt', did you mean 'default'\\? \\(configurations: default\\)",
        ),
        ("hf://datasets/me/shop:default/tain", r"has no split 'tain', did you mean 'train'\? \(splits: train, test\)"),
        ("https://example.org/a.png", "is an address that nothing here opens: .* a text file, one per line"),
        ("s3://bucket/a", "is an address that nothing here opens"),
    ],
)
def test_addresses_that_lead_nowhere_are_one_sentence(address: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        collect.find([Path(address)])


def test_several_configurations_are_asked_for(stocked: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.get_dataset_config_names", lambda repo, revision: ["large", "small"])
    with pytest.raises(
        BadInput, match=r"has several configurations \(large, small\); name one, as in hf://.*me/shop:large"
    ):
        collect.find([Path("hf://datasets/me/shop")])


def test_without_the_package_it_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state.json").write_text("{}")
    monkeypatch.setattr("pipeline.plugins.extras.missing", lambda extra: ["datasets"])
    with pytest.raises(BadInput, match=r"needs datasets, which is not installed: pip install 'iclora\[hub\]'"):
        collect.find([tmp_path])


@pytest.mark.network
def test_a_small_data_set_of_the_hub_is_read() -> None:
    items = collect.find([Path("hf://datasets/hf-internal-testing/example-documents")])
    assert items and all(item.head() for item in items)


def with_rows(rows: Mapping[str, Any], tmp_path: Path) -> Path:
    Dataset.from_dict(dict(rows)).save_to_disk(tmp_path / "set")
    return tmp_path / "set"


def test_a_column_of_addresses_is_fetched(tmp_path: Path) -> None:
    path = with_rows({"url": ["https://a.example/1.jpg", "ftp://a.example/2.jpg"], "text": ["a", "b"]}, tmp_path)
    items = collect.find([path])
    assert [item.fault.reason if item.fault else item.text for item in items] == ["a", "address"]
    assert items[0].name == "a.example/1.jpg" and items[0].facts.of("url") == "https://a.example/1.jpg"


def test_a_run_keeps_an_address_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(task="storyboard").changed(sources=["hf://datasets/me/shop", Path("hf://datasets/me/b"), "in"])
    assert settings.sources == ("hf://datasets/me/shop", "hf:/datasets/me/b", str(tmp_path / "in"))
