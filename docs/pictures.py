"""The pictures of README, taken in Chromium: `python docs/pictures.py report RUN`, `python docs/pictures.py notebook`,
`python docs/pictures.py share RUN`; and those of docs/your-own-images.md, of runs that were trained on a folder of
many images and of few photographs: `python docs/pictures.py own RUN`, `python docs/pictures.py photos RUN`.

The notebook is executed in full, so its picture takes as long as the recipe quick. It needs nbconvert, the page that
Jupyter itself makes of a notebook, in addition to what `make dev` installs.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1100, 1500
CELLS = (6, 7, 10, 11)
"""What the picture shows of the notebook: the shape of every block, training with its curves."""


def take(
    page_address: str, picture: Path, height: int, *, width: int = WIDTH, scheme: str = "light", ready: str = ""
) -> None:
    """The first ``height`` pixels of a page, once there is an element that ``ready`` selects."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        # Chromium's sandbox does not work for root, as whom containers run.
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"] if os.getuid() == 0 else []
        )
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(page_address)
        page.wait_for_load_state("load")
        if ready:
            page.locator(ready).first.wait_for()
        page.screenshot(path=picture)
        browser.close()


def report(run: str) -> None:
    """Of the report that training left in ``run``."""
    take(Path(run, "report.html").resolve().as_uri(), IMAGES / "report.png", HEIGHT)


def notebook() -> None:
    """Of the chapter's notebook, carried out."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter  # pyright: ignore[reportMissingImports]

    book = nbformat.read(ROOT / "notebooks" / "chapter.ipynb", as_version=4)
    book.cells = book.cells[: max(CELLS) + 1]
    with TemporaryDirectory() as folder:
        NotebookClient(book, timeout=None, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
        book.cells = [book.cells[index] for index in CELLS]
        # MathJax and similar scripts come from other hosts; nothing here needs them.
        exporter = HTMLExporter(mathjax_url="", require_js_url="", mermaid_js_url="")
        page = Path(folder, "chapter.html")
        page.write_text(exporter.from_notebook_node(book)[0], encoding="utf-8")
        take(page.as_uri(), IMAGES / "notebook.png", HEIGHT)


def share(run: str) -> None:
    """Of the page that a run is exported as: on a desktop, and on a phone in dark colors, side by side."""
    with TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        subprocess.run([sys.executable, "-m", "mlpconv", "export", run, "--to", "html", "--out", page], check=True)
        shots = []
        for name, width, scheme in (("desk", 1100, "light"), ("phone", 390, "dark")):
            shots.append(Path(folder, f"{name}.png"))
            take(page.as_uri(), shots[-1], 844, width=width, scheme=scheme, ready="#bars li")
        desk, phone = (Image.open(shot).convert("RGB") for shot in shots)
        both = Image.new("RGB", (desk.width + 20 + phone.width, desk.height), "white")
        both.paste(desk, (0, 0))
        both.paste(phone, (desk.width + 20, 0))
        both.quantize(128).save(IMAGES / "share.png", optimize=True)


def own(run: str) -> None:
    """Of a folder and of the run that was trained on it: samples, curves, report, what the network sees."""
    with TemporaryDirectory() as folder:
        samples, data = Path(folder, "samples.png"), _folder_of(run)
        subprocess.run([sys.executable, "-m", "mlpconv", "data", "check", data, "--out", samples], check=True)
        _store(samples, "own-samples")
        _store(Path(run, "curves.png"), "own-curves")
        _store(_first_page(run, Path(folder), 900), "own-report")
        _store(_maps(run, Path(folder)), "own-maps")


def photos(run: str) -> None:
    """Of the report of a run that was trained on few photographs, down to the first of them."""
    with TemporaryDirectory() as folder:
        _store(_first_page(run, Path(folder), 1530), "photos-report")


def _folder_of(run: str) -> Path:
    import mlpconv

    return Path(mlpconv.load(run).stored.data)


def _first_page(run: str, folder: Path, height: int) -> Path:
    """A picture of a run's report that does not show where its images are on this machine."""
    page, shown = folder / "report.html", Path(run, "report.html").read_text(encoding="utf-8")
    page.write_text(shown.replace(f"{_folder_of(run).parent}/", ""), encoding="utf-8")
    take(page.as_uri(), folder / "report.png", height)
    return folder / "report.png"


def _maps(run: str, folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "mlpconv", "explain", run, "--figure", "--out", folder / "maps"], check=True)
    (figure,) = (folder / "maps").glob("*.png")
    return figure


def _store(picture: Path, name: str) -> None:
    with Image.open(picture) as image:
        # A page is read over the network: 128 colours do, and are a third of the bytes.
        image.convert("RGB").quantize(128).save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["report", run]:
            report(run)
        case ["own", run]:
            own(run)
        case ["photos", run]:
            photos(run)
        case ["share", run]:
            share(run)
        case ["notebook"]:
            notebook()
        case _:
            sys.exit(__doc__)
