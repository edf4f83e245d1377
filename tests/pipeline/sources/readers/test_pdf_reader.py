"""Pages of PDFs as pictures: sharp enough for a panel, in order, within bounds."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import pytest
from PIL import Image

from pipeline import task
from pipeline.errors import BadInput
from pipeline.records import Record, Rejected
from pipeline.sources.readers import pdf as reader
from pipeline.task import Task

Draw = Callable[..., Image.Image]
Gather = Callable[..., tuple[list[Record], list[Rejected]]]
JOINT = "[MOVIE-SHOTS] A day, [SCENE-1] <Mia> wakes up early, [SCENE-2] she walks away, [SCENE-3] night falls."


def sample(folder: Path, draw: Draw) -> Path:
    """Three pages for the contract of readers."""
    pages = [draw(number, (300, 200)) for number in range(3)]
    pages[0].save(folder / "book.pdf", save_all=True, append_images=pages[1:], resolution=144)
    return folder


def raw(
    path: Path, content: bytes = b"", box: str = "0 0 200 100", more: Sequence[bytes] = (), trailer: bytes = b""
) -> Path:
    """A PDF of one page, written by hand, with more objects from number 6 on."""
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [%s] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>"
        % box.encode(),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        *more,
    ]
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, part in enumerate(parts, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(parts) + 1, table)
    start = out.index(b"xref")
    out += b"trailer << /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF" % (len(parts) + 1, trailer, start)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(out)
    return path


def told(rejected: list[Rejected]) -> list[tuple[str, str]]:
    return [(row.reason, row.detail) for row in rejected]


def test_pages_are_records_in_order_and_fill_a_panel(tmp_path: Path, draw: Draw, gather: Gather, storyboard: Task):
    (tmp_path / "in").mkdir()
    sample(tmp_path / "in", draw)
    records, rejected = gather(tmp_path / "in")
    assert not rejected
    positions = [record.position for record in records]
    assert [place.order for place in positions] == [1, 2, 3] == [place.page for place in positions]
    assert {place.group for place in positions} == {f"{tmp_path}/in/book.pdf"}
    assert [place.stem for place in positions] == ["book page 1", "book page 2", "book page 3"]
    layout = storyboard.layout
    for number, record in enumerate(records):
        with Image.open(tmp_path / "run" / record.path) as picture:
            assert picture.width >= layout.panel_width and picture.height >= layout.panel_height
            small = np.asarray(picture.resize((300, 200)), np.float32)
        assert np.abs(small - np.asarray(draw(number, (300, 200)), np.float32)).mean() < 6


@pytest.mark.parametrize("kind", ["zip", "another ending"])
def test_a_document_is_found_in_an_archive_and_under_any_name(
    kind: str, tmp_path: Path, draw: Draw, gather: Gather
) -> None:
    content = (sample(tmp_path, draw) / "book.pdf").read_bytes()
    source = tmp_path / "a.zip" if kind == "zip" else tmp_path / "book.jpg"
    if kind == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("deep/book.pdf", content)
    else:
        source.write_bytes(content)
    assert len(gather(source)[0]) == 3


def test_the_text_of_a_page_is_no_caption(tmp_path: Path, gather: Gather) -> None:
    raw(tmp_path / "in" / "a.pdf", b"BT /F 24 Tf 10 40 Td (A caption of its own) Tj ET")
    (record,), rejected = gather(tmp_path / "in")
    assert not record.text and not rejected
    with Image.open(tmp_path / "run" / record.path) as picture:
        assert np.asarray(picture.convert("L")).min() < 60  # it is drawn


def test_a_text_beside_a_document_counts_for_one_page_or_as_a_joint_caption(
    tmp_path: Path, draw: Draw, gather: Gather
) -> None:
    home = tmp_path / "in"
    raw(home / "one.pdf")
    (home / "one.txt").write_text("a white page")
    sample(home, draw)
    (home / "book.txt").write_text("a book")
    records, rejected = gather(home)
    assert [record.text for record in records] == ["", "", "", "a white page"]
    assert told(rejected) == [
        ("stray text", f"the text of {home}/book.pdf is not used, as it can't describe each of its 3 pages.")
    ]
    (home / "book.txt").write_text(JOINT)
    records, rejected = gather(home)
    assert [record.text for record in records[:3]] == [JOINT] * 3 and not rejected
    assert len({record.position.set for record in records[:3]}) == 1 and records[0].position.set


def test_an_encrypted_document_is_a_row(tmp_path: Path, gather: Gather) -> None:
    """Encrypted by a key that nobody has."""
    key = b"<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -44 >>" % (b"61" * 32, b"62" * 32)
    path = raw(tmp_path / "in" / "a.pdf", more=[key], trailer=b"/Encrypt 6 0 R /ID [<61> <61>]")
    records, rejected = gather(tmp_path / "in")
    assert not records
    assert told(rejected) == [("unreadable", f"{path} is encrypted; save it without a password.")]


@pytest.mark.parametrize(
    "content", [b"%PDF-1.7\n", b"%PDF-1.4\n%%EOF", b"%PDF-" + bytes(5_000), b"%PDF-1.4 trailer <<"]
)
def test_a_damaged_document_is_a_row(content: bytes, tmp_path: Path, gather: Gather) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.pdf").write_bytes(content)
    records, rejected = gather(tmp_path / "in")
    assert not records and told(rejected) == [("unreadable", f"{tmp_path}/in/a.pdf is a damaged PDF.")]


def test_a_truncated_document_costs_no_other(tmp_path: Path, draw: Draw, gather: Gather) -> None:
    home = tmp_path / "in"
    home.mkdir()
    content = (sample(home, draw) / "book.pdf").read_bytes()
    (home / "half.pdf").write_bytes(content[: len(content) // 2])
    records, rejected = gather(home)
    assert len([record for record in records if "book" in record.source]) == 3
    assert all(row.detail.endswith(".") and "half.pdf" in row.detail for row in rejected)


@pytest.mark.parametrize("box", ["0 0 14400 14400", "0 0 1 14400", "0 0 1000000 1", "0 0 0.001 0.001"])
def test_pages_of_any_size_are_drawn_within_bounds(box: str, tmp_path: Path, gather: Gather) -> None:
    raw(tmp_path / "in" / "a.pdf", box=box)
    records, rejected = gather(tmp_path / "in")
    assert len(records) + len(rejected) == 1
    for record in records:
        with Image.open(tmp_path / "run" / record.path) as picture:
            assert picture.width * picture.height <= reader.MOST_PIXELS * 1.01
            assert max(picture.size) <= reader.LONGEST_SIDE


def test_pages_beyond_the_limit_are_one_row(
    tmp_path: Path, draw: Draw, gather: Gather, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MOST_PAGES", 2)
    (tmp_path / "in").mkdir()
    sample(tmp_path / "in", draw)
    records, (row,) = gather(tmp_path / "in")
    assert len(records) == 2 and row.reason == "too large"
    assert row.detail.endswith("has 3 pages; those after page 2 are not read: split it.")


def test_a_page_that_takes_too_long_is_a_row(tmp_path: Path, gather: Gather, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PAGE_SECONDS", -1.0)
    raw(tmp_path / "in" / "a.pdf", b"0 0 50 50 re f\n" * 5_000)
    records, rejected = gather(tmp_path / "in")
    assert not records and told(rejected)[0][0] == "unreadable" and "is not finished after" in told(rejected)[0][1]


def test_without_its_package_a_document_is_a_row_that_names_it(
    tmp_path: Path, draw: Draw, gather: Gather, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    sample(tmp_path / "in", draw)
    draw(5).save(tmp_path / "in" / "a.png")

    def refuse(user: str, extra: str) -> None:
        raise BadInput(f"{user} needs pypdfium2, which is not installed: pip install 'iclora[{extra}]'.")

    monkeypatch.setattr("pipeline.plugins.extras.require", refuse)
    records, (row,) = gather(tmp_path / "in")
    assert len(records) == 1 and row.detail.endswith("pip install 'iclora[pdf]'.")


def test_another_layout_has_the_pages_drawn_for_it(tmp_path: Path, draw: Draw, gather: Gather) -> None:
    (tmp_path / "in").mkdir()
    sample(tmp_path / "in", draw)
    sides = {"layout.panel_width": 64, "layout.panel_height": 64}
    records, _ = gather(tmp_path / "in", task.load("storyboard", sides))
    with Image.open(tmp_path / "run" / records[0].path) as picture:
        assert picture.size == (96, 64)


def test_made_documents_can_be_read_back() -> None:
    """What these tests write by hand is a PDF."""
    buffer = io.BytesIO()
    Image.new("RGB", (10, 10)).save(buffer, "PDF")
    assert len(pdfium.PdfDocument(buffer.getvalue())) == 1
