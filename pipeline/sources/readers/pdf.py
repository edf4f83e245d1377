"""Documents: every page of a PDF is a picture, as large as a panel needs it. Their text is not taken as a caption."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from pipeline import files
from pipeline.errors import BadInput
from pipeline.plugins import extras
from pipeline.records import Record, Rejected, content_id
from pipeline.sources.base import Item
from pipeline.sources.formats import PDF, format_of
from pipeline.sources.texts import text_of
from pipeline.task import LayoutSection, Task

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

PRIORITY = 0
MOST_BYTES, MOST_PAGES = 1 << 30, 1_000
MOST_PIXELS, LONGEST_SIDE = 1 << 25, 16_384
"""Of a drawn page; one that is longer and narrower than any panel is drawn smaller."""
PAGE_SECONDS = 60.0
"""Time that the drawing of a page may take. Nothing else can stop one that has a million shapes."""
PASSWORD = re.compile("password|security", re.IGNORECASE)
_lock = threading.Lock()
"""PDFium may be used by one thread at a time."""


def claims(item: Item, head: bytes, task: Task, folder: Path) -> bool:
    return format_of(head) is PDF


def read(item: Item, task: Task, folder: Path) -> Iterator[Record | Rejected]:
    """One record per page, in order; its position has the document as its group and the page, from 1, as its order.

    A text beside the document counts if it is a joint caption of the pages, or if there is only one page.
    """
    extras.require(f"reading {item.source}", "pdf")
    home = Path("collected") / content_id("d", item.source)
    (folder / home).mkdir(parents=True, exist_ok=True)
    path, text = folder / item.file(folder, MOST_BYTES), text_of(item, task)
    with _lock, closing(_opened(path, item.source)) as document:
        count = len(document)
        is_used = text.joint or count == 1
        for number in range(1, min(count, MOST_PAGES) + 1):
            page, where = home / f"page-{number:04d}.png", f"{item.source} page {number}"
            try:
                picture = _drawn(document, number - 1, task.layout)
            except ValueError as error:
                yield item.reject("unreadable", f"{where} can't be drawn: {error}.", where)
                continue
            picture.save(files.anew(folder / page), compress_level=1)
            position = item.position(
                stem=f"{item.stem} page {number}",
                set=text.set,
                page=number,
                group=item.facts.group or item.source,
                order=float(number),
            )
            yield item.record(files.digest(folder / page), page, position, text=text.text if is_used else "")
    if count > MOST_PAGES:
        detail = f"{item.source} has {count:,} pages; those after page {MOST_PAGES:,} are not read: split it."
        yield item.reject("too large", detail, f"{item.source} pages {MOST_PAGES + 1} to {count}")
    if text.text and not is_used:
        detail = f"the text of {item.source} is not used, as it can't describe each of its {count} pages."
        yield item.reject("stray text", detail)


def _opened(path: Path, source: str) -> PdfDocument:
    """
    Raises:
        BadInput: it is damaged or encrypted, or has no pages.
    """
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        file = files.open_regular(path, MOST_BYTES)
    except OSError as error:
        raise BadInput(f"{source} can't be read: {error.strerror}.") from error
    try:
        document = PdfDocument(file, autoclose=True)
    except PdfiumError as error:
        file.close()
        if PASSWORD.search(str(error)):
            raise BadInput(f"{source} is encrypted; save it without a password.") from error
        raise BadInput(f"{source} is a damaged PDF.") from error
    if not len(document):
        document.close()
        raise BadInput(f"{source} is a PDF without pages.")
    return document


def _drawn(document: PdfDocument, number: int, layout: LayoutSection) -> Image.Image:
    """A page on white, with the pixels that a panel needs where it is filled by it.

    Raises:
        ValueError: it can't be drawn; the message says why.
    """
    from pypdfium2 import PdfiumError

    try:
        with closing(document[number]) as page:
            width, height = page.get_size()
            if not (0 < width < math.inf and 0 < height < math.inf):
                raise ValueError("it has no size")
            scale = max(layout.panel_width / width, layout.panel_height / height)
            scale = min(scale, math.sqrt(MOST_PIXELS / (width * height)), LONGEST_SIDE / max(width, height))
            return _rendered(page, max(1, round(width * scale)), max(1, round(height * scale)))
    except PdfiumError as error:
        raise ValueError(str(error).rstrip(".") or "it is damaged") from error


def _rendered(page: PdfPage, width: int, height: int) -> Image.Image:
    """
    Raises:
        ValueError: it takes too long.
    """
    from pypdfium2 import PdfBitmap, raw

    end = time.monotonic() + PAGE_SECONDS
    pause = raw.IFSDK_PAUSE(version=1)
    late: Any = type(pause.NeedToPauseNow)(lambda _: time.monotonic() > end)
    pause.NeedToPauseNow = late
    with closing(PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR)) as bitmap:
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
        state = raw.FPDF_RenderPageBitmap_Start(bitmap, page, 0, 0, width, height, 0, raw.FPDF_ANNOT, pause)
        raw.FPDF_RenderPage_Close(page)
        if state == raw.FPDF_RENDER_TOBECONTINUED:
            raise ValueError(f"it is not finished after {PAGE_SECONDS:g} s")
        if state != raw.FPDF_RENDER_DONE:
            raise ValueError("it is damaged")
        picture: Image.Image = bitmap.to_pil().copy()  # whose pixels outlive the bitmap
        return picture
