"""CSV lists of images: those that people and other programs write, and the split.csv of a run."""

import codecs
import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mlpconv.data.folders.listed import Listing
from mlpconv.data.folders.names import TRAIN, ClassNames, split_of
from mlpconv.errors import DataError
from mlpconv.formatting import printable

DIGEST_COLUMN = "sha256"
"""A list with this column was written by mlpconv, so its values are exact: nothing is stripped or completed."""
_PATH_COLUMNS = (
    "path", "filepath", "imagepath", "imgpath", "file", "filename", "image", "imagefile", "imagefilename", "imagename",
    "img", "imgfile", "imgname", "fname", "fpath", "picture", "photo", "imageid", "id",
)  # fmt: skip
_LABEL_COLUMNS = (
    "label", "labels", "labelname", "class", "classes", "classname", "classlabel", "category", "categories",
    "categoryname", "target", "targets", "breed", "species", "type", "tag", "tags", "diagnosis", "y",
)  # fmt: skip
_SPLIT_COLUMNS = ("split", "set", "part", "subset", "partition", "dataset", "fold")
"""Names of columns in lower case without spaces and punctuation, the first that is there is used."""
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".JPG", ".JPEG", ".PNG")
"""Added to a path without one, if such a file exists."""
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""The encodings that the first bytes of a file state. UTF-32 first, because its mark starts with that of UTF-16."""


def read_list(path: Path, *, exact: bool = False) -> Listing:
    """Read a list of images: text with one line for each, whose first line names the columns.

    The columns of path and label are required, that of the split is optional; several names are recognized for each.
    They may be separated by commas, semicolons, tabs or bars. The encoding is UTF-8, or what a byte order mark states.
    Paths are relative to the directory of the list.

    Args:
        path: The list.
        exact: Take every value as it is, as in a list that mlpconv wrote. A list with the column sha256 is one.

    Raises:
        DataError: The list cannot be read, has another encoding, lacks a column or a value, has two labels that would
            become one class, or names only files that do not exist.
    """
    where = printable(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{where}: cannot be read: {error.strerror or error}; check its permissions") from None
    # File names are bytes, and mlpconv's own list must hold any of them.
    header = content.split(b"\n", 1)[0].removeprefix(codecs.BOM_UTF8).strip()
    exact = exact or DIGEST_COLUMN.encode() in header.split(b",")
    text = content.decode("utf-8", "surrogateescape").removeprefix("\ufeff") if exact else _decoded(content, where)
    first, _, rest = text.partition("\n")
    separators: Sequence[str] = tuple(_SEPARATORS)
    skipped = 0
    if stated := re.fullmatch(r'"?sep=(.)"?[\r;,]*', first, re.IGNORECASE):  # as spreadsheets write it
        separators, text, skipped = (stated[1],), rest, 1
    try:
        separator, columns = _columns(text, separators, where)
        return _read_rows(path, text, separator, columns, skipped, exact)
    except csv.Error as error:
        raise DataError(f"{where}: cannot be read as CSV: {error}; save it as CSV in UTF-8") from None


def _decoded(content: bytes, where: str) -> str:
    for mark, name in _ENCODINGS:
        if content.startswith(mark):
            encoding = name
            break
    else:
        encoding = "utf-8"
    if encoding == "utf-8" and b"\0" in content:
        raise DataError(
            f"{where}: not text in UTF-8: it contains zero bytes, as UTF-16 does; save it as CSV in UTF-8 (in a "
            "spreadsheet: CSV UTF-8)"
        )
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{where}, line {line}: not text in {encoding.upper()}: byte 0x{content[error.start]:02x}, so the names in "
            "it are not known; save it as CSV in UTF-8 (in a spreadsheet: CSV UTF-8), or convert it from the encoding "
            f"in which it was saved, such as: iconv -f latin1 -t utf-8 {where} > list-utf8.csv"
        ) from None


def _columns(text: str, separators: Sequence[str], where: str) -> tuple[str, list[int | None]]:
    """The separator, and the indices of the columns of path, label, split and digest."""
    found: list[str] = []
    for separator in separators:
        names = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), [])
        known = [re.sub(r"[\W_]", "", name.casefold()) for name in names]
        columns = [
            next((known.index(name) for name in wanted if name in known), None)
            for wanted in (_PATH_COLUMNS, _LABEL_COLUMNS, _SPLIT_COLUMNS, (DIGEST_COLUMN,))
        ]
        if columns[0] is not None and columns[1] is not None:
            return separator, columns
        if len(names) > len(found):
            found = names
    received = printable(", ".join(found)[:200]) if any(found) else "nothing"
    raise DataError(
        f"{where}: expected a list whose first line names the columns path and label (and split), separated by "
        f"{', '.join(_SEPARATORS.values())}; received {received}"
    )


def _read_rows(path: Path, text: str, separator: str, columns: list[int | None], skipped: int, exact: bool) -> Listing:
    root = path.resolve().parent
    listing = Listing(path, root, "CSV")
    names = ClassNames("labels", "write each label in the same way on every line, or rename one of them")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    next(rows)
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        file, label, split, digest = (row[k] if k is not None and k < len(row) else "" for k in columns)
        where = f"{printable(path)}, line {rows.line_num + skipped}"
        if not exact:
            file, label = file.strip(), label.strip()
        if not file or not label:
            raise DataError(f"{where}: the {'label' if file else 'path'} is missing; each line needs both")
        meaning = split_of(split, numbers=False)
        if split.strip() and meaning is None:
            raise DataError(
                f"{where}: expected the split train, validation or test, received {printable(split.strip())!r}"
            )
        listing.files.append(file if exact else _existing(root, file))
        listing.classes.append(printable(label) if exact else names.name(label, meaning or TRAIN, where))
        listing.splits.append(meaning or "")
        listing.digests.append(_digest(digest, where))
    if not listing.files:
        raise DataError(f"{printable(path)}: lists no images; add a line with path and label for each")
    if not exact and not any(os.path.lexists(root / file) for file in listing.files):
        raise DataError(
            f"{printable(path)}: none of its {len(listing.files):,} files exists; paths are relative to the "
            f"directory of the list, {printable(root)}; the first: {printable(listing.files[0])}"
        )
    return listing


def _digest(text: str, where: str) -> bytes:
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise DataError(f"{where}: expected a SHA-256 of 64 hexadecimal digits, received {printable(text[:80])!r}")
    return bytes.fromhex(text)


def _existing(root: Path, file: str) -> str:
    """The file that a path means: with the separators of this system, and with the suffix that the list leaves out."""
    if os.path.lexists(root / file):
        return file
    other = file.replace("\\", "/")
    candidates = [other, *(other + suffix for suffix in _SUFFIXES if not Path(other).suffix)]
    return next((each for each in candidates if os.path.lexists(root / each)), file)
