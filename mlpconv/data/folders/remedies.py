"""Skipped files grouped by kind, with what to do about each kind."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from mlpconv.data.folders.listed import Problem


class Kind(NamedTuple):
    """A kind of skipped files.

    Attributes:
        name: What they are, in the plural.
        remedy: What to do about them.
        reason: A pattern that the beginning of the reason matches.
        content: A pattern in the reason that says what a file contains.
        suffixes: The suffixes of their names, separated by spaces.
    """

    name: str
    remedy: str
    reason: str = ""
    content: str = ""
    suffixes: str = ""


class SkippedKind(NamedTuple):
    """The skipped files of a kind."""

    name: str
    remedy: str
    problems: list[Problem]


_PICTURE_SUFFIXES = (
    ".png .jpg .jpeg .jpe .jfif .webp .gif .bmp .dib .tif .tiff .avif .jp2 .j2k .ppm .pgm .pbm .ico .pcx .sgi .qoi .tga"
)
_NOT_AN_IMAGE = "not an image"
KINDS = (
    Kind(
        "drawings",
        "save each as PNG, in a drawing program or with rsvg-convert, ghostscript or inkscape",
        content=r"\b(SVG|PostScript|metafile)\b",
        suffixes=".svg .svgz .eps .ps .ai .wmf .emf .cdr .dxf",
    ),
    Kind(
        "HEIC pictures",
        "install what reads them (pip install pillow-heif), or save them as JPEG; iPhones do so with Settings, Camera, "
        "Formats, Most Compatible",
        reason="a HEIC picture",
        suffixes=".heic .heif .heics",
    ),
    Kind(
        "raw files of cameras",
        "export them as JPEG or TIFF, in the camera's program or with darktable",
        suffixes=".cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .dng .raf .orf .rw2 .pef .raw .x3f .3fr .iiq",
    ),
    Kind(
        "videos",
        "save some of their frames as pictures, such as one a second: ffmpeg -i VIDEO -vf fps=1 frame-%04d.jpg",
        suffixes=".mp4 .mov .avi .mkv .webm .m4v .mpg .mpeg .3gp .wmv .flv .mts .m2ts .ts .ogv .vob",
    ),
    Kind(
        "sound files",
        "move them away; they do no harm where they are",
        suffixes=".mp3 .wav .flac .ogg .oga .opus .m4a .aac .wma .aiff .mid",
    ),
    Kind(
        "documents",
        "export their pictures, or their pages as PNG (pdftoppm -png), or move them away",
        content=r"\bPDF\b",
        suffixes=".pdf .doc .docx .odt .rtf .ppt .pptx .odp .key .pages .xls .xlsx .ods .epub .djvu .tex",
    ),
    Kind(
        "documents of image editors",
        "export each as PNG or JPEG",
        content=r"\bPhotoshop\b",
        suffixes=".psd .psb .xcf .kra .afphoto .ora .sketch .procreate",
    ),
    Kind(
        "archives",
        "unpack them into the folder of their class",
        suffixes=".zip .rar .7z .tar .tgz .tbz2 .txz .gz .bz2 .xz .zst .cab .iso",
    ),
    Kind(
        "scientific images and arrays",
        "save each as PNG or TIFF with 8 or 16 bits per value, all with the same values for black and white",
        content=r"\b(DICOM|HDF5|FITS)\b",
        suffixes=".dcm .dicom .fits .fit .fts .h5 .hdf5 .nii .mha .mhd .nrrd .npy .npz .mat .czi .lif .nd2 "
        ".svs .ndpi .exr .hdr",
    ),
    Kind(
        "texts, tables and programs",
        "move them away; they do no harm where they are",
        suffixes=".txt .md .rst .csv .tsv .json .jsonl .xml .yaml .yml .toml .ini .log .html .htm .css .js "
        ".py .ipynb .sh .bat .exe .url .lnk .webloc .db",
    ),
    Kind(
        "files with the name of a picture that are none",
        "download or save them again: many are web pages that say why a download failed",
        suffixes=_PICTURE_SUFFIXES,
    ),
    Kind("empty files", "copy or download them again", reason="an empty file"),
    Kind(
        "damaged pictures",
        "copy or download them again; if they open in an image editor, save them there",
        reason="cannot be decoded",
    ),
    Kind(
        "pictures that are too large",
        "make them smaller, or accept them with --max-pixels",
        reason="refused before decoding",
    ),
    Kind(
        "pictures in colors or with values that are not supported",
        "save them in RGB or gray, with 8 or 16 bits per value",
        reason=r"(its colors are|expected 8 or 16 bits|has 16 bits per color|has values up to)",
    ),
    Kind(
        "files that cannot be read",
        "check that they are there, and their permissions",
        reason=r"(cannot be read|not a regular file)",
    ),
    Kind(
        "files that have changed",
        "make the list again, or put the old files back",
        reason=r"(its contents have changed|changed while it was being read)",
    ),
    Kind(
        "links",
        "remove them, or replace them by what they should point to; --follow-links follows those out of the folder",
        reason=r"a (circular |broken )?link\b",
    ),
    Kind(
        "files and folders outside the folders of classes",
        "move each into the folder of its class, or away",
        reason=r"(not inside the folder of a class|its images are not in folders of classes)",
    ),
    Kind(
        "classes without usable images",
        "add images, or remove the folder",
        reason=r"(an empty class|the folder of a class, without files)",
    ),
    Kind(
        "classes that the training set lacks",
        "add training images of them, or give the class the name that it has there",
        reason="a class that the training set lacks",
    ),
)
"""The kinds; the first one that fits a file is its kind."""
OTHER = Kind("other files", "move them away; they do no harm where they are")
"""The kind of all other files."""


def kind_of(problem: Problem) -> Kind:
    """The kind of a skipped file: by the reason; if that is only that it is no image, by its suffix or its content."""
    for kind in KINDS:
        if kind.reason and re.match(kind.reason, problem.reason):
            return kind
    if not problem.reason.startswith(_NOT_AN_IMAGE):
        return OTHER
    suffix = PurePosixPath(problem.path).suffix.lower()
    of_suffix = next((kind for kind in KINDS if suffix in kind.suffixes.split()), OTHER)
    if suffix and suffix not in _PICTURE_SUFFIXES.split():
        return of_suffix
    of_content = (kind for kind in KINDS if kind.content and re.search(kind.content, problem.reason))
    return next(of_content, of_suffix)


def by_kind(problems: Sequence[Problem]) -> list[SkippedKind]:
    """Skipped files by kind, the kind with the most files first."""
    found: dict[str, SkippedKind] = {}
    for problem in problems:
        kind = kind_of(problem)
        found.setdefault(kind.name, SkippedKind(kind.name, kind.remedy, [])).problems.append(problem)
    return sorted(found.values(), key=lambda each: -len(each.problems))
