"""The exported page in a browser: it answers, loads nothing, and takes no text for markup."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

import mlpconv
from mlpconv.arch.cost import count
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.reference import images as reference_images
from mlpconv.backends.reference import layers as reference
from mlpconv.data import load_dataset
from mlpconv.data.image import decode
from mlpconv.errors import DataError
from mlpconv.export.html import export_html
from mlpconv.models import create_model
from mlpconv.runs.classifier_file import write_classifier
from mlpconv.training.metrics import softmax
from support.chromium import CHROMIUM, launched, watched_pages
from support.random_values import random_weights
from support.run_directories import make_run

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt install chromium")

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
VIEWS = [(DESK, "light", "en-GB"), (DESK, "dark", "ja-JP"), (PHONE, "light", "zh-CN"), (PHONE, "dark", "fr-FR")]
NAMES = ("coat", "bag", "</script><img src=x onerror=alert(1)>")


@pytest.fixture(scope="module")
def browser():
    with launched() as started:
        yield started


@pytest.fixture
def opened(browser):
    """opened(path, view) returns the page, without a network. At the end, no page may have loaded anything or reported
    an error."""
    with watched_pages(browser, inline=("data:", "blob:")) as open_page:

        def open_offline(path, view=VIEWS[0]):
            size, scheme, locale = view
            page = open_page(path, viewport=size, color_scheme=scheme, locale=locale, offline=True)
            page.set_default_timeout(20_000)
            return page

        yield open_offline


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A classifier file of nin_tiny with random weights, and its page."""
    folder = tmp_path_factory.mktemp("web")
    network = create_model("nin_tiny", 3)
    preprocess = Preprocess(28, source_size=(28, 28))
    weights = random_weights(network, dtype=np.float32)
    path = folder / "a.safetensors"
    write_classifier(path, weights, network, preprocess, NAMES, background=0.9)
    page = folder / "a.html"
    page.write_text(export_html(path, weights="float32").page)
    return network, preprocess, weights, page


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """PNG files of several shapes and color modes."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = []
    for index, (shape, mode) in enumerate([((40, 61), "RGB"), ((28, 28), "L"), ((9, 5), "RGBA"), ((300, 200), "P")]):
        depth = {"RGB": (3,), "RGBA": (4,)}.get(mode, ())
        values = draw.integers(0, 256, (*shape, *depth), np.uint8)
        if mode == "RGBA":
            values[..., 3] = np.where(values[..., 3] > 127, 255, 0)  # others are rounded when a browser decodes them
        path = folder / f"picture {index}.png"
        image = Image.fromarray(values) if mode != "P" else Image.fromarray(values).convert("P")
        image.save(path)
        paths.append(path)
    return paths


def expected(model, path):
    network, preprocess, weights, _ = model
    with path.open("rb") as file:
        pixels = decode(file, preprocess, path.name)
    return softmax(reference.forward(network, weights, reference_images.preprocess(pixels[None], preprocess)))[0]


def answered(page, name):
    """Wait until the page has classified a picture; returns the sentence for screen readers."""
    page.get_by_role("status").filter(has_text=name).filter(has_text="%").wait_for()
    return page.get_by_role("status").inner_text()


def radios(page):
    return page.locator("#bars [role=radio]").all()


def test_pictures_are_classified_as_by_python(opened, model, pictures):
    page = opened(model[3])
    page.locator("#choose-input").set_input_files(pictures)
    answered(page, pictures[0].name)
    page.get_by_text("4 of 4 pictures").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    content = download.value.path().read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(content)))
    assert list(rows[0]) == [
        "file",
        "label",
        "probability",
        *["label_2", "probability_2", "label_3", "probability_3", "error"],
    ]
    for path, row in zip(pictures, rows, strict=True):
        probabilities = expected(model, path)
        order = np.argsort(-probabilities)
        assert row["file"] == path.name
        assert [row[key] for key in ("label", "label_2", "label_3")] == [NAMES[k] for k in order]
        received = [float(row[key]) for key in ("probability", "probability_2", "probability_3")]
        np.testing.assert_allclose(received, probabilities[order], rtol=0, atol=1e-4)


def test_another_picture_of_the_list_is_shown(opened, model, pictures):
    page = opened(model[3])
    page.locator("#choose-input").set_input_files(pictures)
    page.get_by_text("4 of 4 pictures").wait_for()
    page.get_by_role("button", name=pictures[2].name).click()
    sentence = answered(page, pictures[2].name)
    probabilities = expected(model, pictures[2])
    assert f"{NAMES[probabilities.argmax()]}, {probabilities.max():.1%}" in sentence


def drop(page, files, event="drop", copies=1):
    """Drop or paste files, given as names and bytes, and copies of them."""
    page.evaluate(
        """([files, event, copies]) => {
            const data = new DataTransfer();
            for (const [name, bytes] of files) {
                const content = new Uint8Array(bytes);
                for (let k = 0; k < copies; k++) data.items.add(new File([content], name, { type: "image/png" }));
            }
            const options = { bubbles: true, cancelable: true };
            document.body.dispatchEvent(event === "drop"
                ? new DragEvent("drop", { ...options, dataTransfer: data })
                : new ClipboardEvent("paste", { ...options, clipboardData: data }));
        }""",
        [[[name, list(content)] for name, content in files], event, copies],
    )


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_pictures_are_dropped_and_pasted(opened, model, pictures, event):
    page = opened(model[3])
    drop(page, [("my.png", pictures[0].read_bytes())], event)
    probabilities = expected(model, pictures[0])
    assert f"{NAMES[probabilities.argmax()]}, {probabilities.max():.1%}" in answered(page, "my.png")


def test_hostile_names_are_text(opened, model, pictures):
    hostile = '<img src=x onerror="alert(2)">"\n=1+1.png'
    page = opened(model[3])
    drop(page, [(hostile, pictures[0].read_bytes()), ("=2+2", pictures[1].read_bytes())])
    page.get_by_text("2 of 2 pictures").wait_for()
    assert page.locator("img").count() == 0
    assert NAMES[2] in page.locator("#bars").inner_text()
    assert "<img src=x onerror=" in page.locator("#list-rows").inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"))))
    assert [row["file"] for row in rows] == [hostile, "'=2+2"]  # no formula for a spreadsheet


def test_files_that_are_no_pictures_are_reported(opened, model, pictures):
    page = opened(model[3])
    drop(page, [("a.png", b"not a picture"), ("b.png", pictures[0].read_bytes())])
    page.get_by_text("2 of 2 pictures").wait_for()
    assert "a.png: this browser cannot read it" in page.locator("#list-rows tr").first.inner_text()
    assert "a.png: this browser cannot read it" in page.get_by_role("status").inner_text()


def test_the_keyboard_switches_the_maps(opened, model, pictures):
    page = opened(model[3])
    drop(page, [("b.png", pictures[0].read_bytes())])
    answered(page, "b.png")
    canvas, note = page.locator("#map"), page.locator("#map-note")
    order = [NAMES[k] for k in np.argsort(-expected(model, pictures[0]))]
    drawn, told = [], []
    radios(page)[0].focus()
    for name in order:
        assert f"evidence for {name}" in note.inner_text()
        assert f"evidence for {name}" in canvas.get_attribute("aria-label")
        focused = page.evaluate("document.activeElement.getAttribute('aria-checked')")
        assert focused == "true"
        drawn.append(canvas.evaluate("canvas => canvas.toDataURL()"))
        told.append(float(note.inner_text().split("logit: ")[1].split(". ")[0].replace("−", "-")))
        page.keyboard.press("ArrowDown")
    assert len(set(drawn)) == 3
    assert f"evidence for {order[0]}" in note.inner_text()  # after the last comes the first
    logits = [float(radio.locator("small").inner_text().removeprefix("logit ")) for radio in radios(page)]
    assert told == logits


def test_the_difference_of_two_maps(opened, model, pictures):
    page = opened(model[3])
    drop(page, [("b.png", pictures[0].read_bytes())])
    answered(page, "b.png")
    order = np.argsort(-expected(model, pictures[0]))
    logits = [float(radio.locator("small").inner_text().removeprefix("logit ")) for radio in radios(page)]
    page.get_by_label("Subtract the map of").select_option(str(order[1]))
    note = page.locator("#map-note").inner_text()
    assert f"Red favors {NAMES[order[0]]}, blue favors {NAMES[order[1]]}" in note
    difference = float(note.split("difference of the logits: ")[1].split(". ")[0].replace("−", "-"))
    assert difference == pytest.approx(logits[0] - logits[1], abs=0.011)


def test_an_inverted_picture_is_noticed(opened, model, tmp_path):
    dark = np.zeros((28, 28), np.uint8)
    dark[8:20, 10:18] = 230
    Image.fromarray(dark).save(tmp_path / "dark.png")
    page = opened(model[3])
    drop(page, [("dark.png", (tmp_path / "dark.png").read_bytes())])
    answered(page, "dark.png")
    warning = page.locator("#inverted")
    assert "background of this picture is dark, that of the training images light" in warning.inner_text()
    page.get_by_label("Swap light and dark").check()
    warning.wait_for(state="hidden")
    Image.fromarray(255 - dark).save(tmp_path / "light.png")
    probabilities = expected(model, tmp_path / "light.png")
    sentence = f"{NAMES[probabilities.argmax()]}, {probabilities.max():.1%}"
    page.get_by_role("status").filter(has_text=sentence).wait_for()
    # The list is classified again too.
    row = page.locator("#list-rows tr", has_text="dark.png").filter(has_text=f"{probabilities.max():.1%}")
    row.wait_for(state="attached")


def test_a_drawing_is_classified(opened, model):
    page = opened(model[3])
    page.get_by_role("button", name="Draw").click()
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 180, steps=5)
    page.mouse.up()
    assert "Drawing" in answered(page, "Drawing")
    colors = page.locator("#seen").evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, k) => k % 4 === 0)"
    )
    assert max(colors) == 255  # the background of the training images is light
    assert min(colors) < 60


@pytest.fixture(scope="module")
def run_page(tmp_path_factory):
    """The page of a run with hostile names and with results."""
    folder = tmp_path_factory.mktemp("run")
    run = make_run(folder / "run", NAMES)
    run.write_weights(random_weights(run.config.make_network(), dtype=np.float32))
    path = folder / "run.html"
    path.write_text(export_html(run.path).page)
    return run, path


def test_what_is_known_of_the_network(opened, run_page):
    run, path = run_page
    page = opened(path)
    facts = page.locator("#facts").inner_text()
    assert f"{run.result.test_accuracy:.1%} of 200 test images" in facts
    assert "noise: 1,000 images" in facts
    page.get_by_text("Where it errs").click()
    rows = page.locator("#confused-rows tr").all()
    mistakes = sum(map(sum, run.result.confusion)) - sum(row[k] for k, row in enumerate(run.result.confusion))
    assert sum(int(row.locator("td").nth(1).inner_text()) for row in rows) == mistakes
    page.get_by_text("The network", exact=True).click()
    costs = count(run.config.make_network())
    assert page.locator("#layer-total").inner_text().split() == ["Total", f"{costs.parameters:,}", f"{costs.macs:,}"]


@pytest.mark.parametrize("view", VIEWS, ids=[f"{size['width']} {scheme} {code}" for size, scheme, code in VIEWS])
def test_every_view_fits_and_is_accessible(opened, model, run_page, pictures, view):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened(run_page[1], view)
    drop(page, [(f"{name}.png", path.read_bytes()) for name, path in zip("ab", pictures, strict=False)])
    answered(page, "a.png")
    page.locator("#list-rows tr").nth(1).wait_for()
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    found = axe.Axe().run(page).response["violations"]
    problems = [(each["id"], node["html"][:120]) for each in found for node in each["nodes"]]
    assert problems == []
    language = page.evaluate("document.documentElement.lang")
    assert language == {"en": "en", "ja": "ja", "zh": "zh", "fr": "en"}[view[2][:2]]
    # Every text is in the language, in it only, and no name was left unfilled.
    empty = "[...document.querySelectorAll('[data-text]')].filter(each => !each.textContent.trim()).length"
    assert page.evaluate(empty) == 0
    assert "{" not in page.locator("main").inner_text()


def test_the_language_can_be_changed(opened, run_page, pictures):
    page = opened(run_page[1])
    drop(page, [("b.png", pictures[0].read_bytes())])
    answered(page, "b.png")
    page.locator("#language").select_option("ja")
    assert page.title() == "nin_28：画像分類器"
    assert "次点" in page.get_by_role("status").inner_text()
    assert "ロジット" in page.locator("#bars").inner_text()


def test_it_computes_without_a_worker_and_without_webassembly(browser, opened, model, pictures):
    page = opened(model[3])
    page.add_init_script("delete window.Worker; delete window.WebAssembly")
    page.reload()
    drop(page, [("b.png", pictures[0].read_bytes())])
    probabilities = expected(model, pictures[0])
    assert f"{NAMES[probabilities.argmax()]}, {probabilities.max():.1%}" in answered(page, "b.png")


@pytest.mark.parametrize("turns", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_memory_does_not_grow(opened, model, pictures, turns):
    page = opened(model[3])
    session = page.context.new_cdp_session(page)

    def used():
        session.send("HeapProfiler.collectGarbage")
        return session.send("Runtime.getHeapUsage")["usedSize"]

    sizes = []
    for turn in range(1, turns + 1):
        drop(page, [("a.png", pictures[0].read_bytes())], copies=200)
        # The count has separators: 1,000.
        page.get_by_text(f"{200 * turn:,} of {200 * turn:,} pictures").wait_for()
        sizes.append(used())
    # A result takes some hundred bytes; a decoded picture would take 10,000.
    assert sizes[-1] - sizes[2] < 200_000 * (turns - 3), sizes


@pytest.mark.slow
def test_a_thousand_files_are_classified_as_by_their_run(opened, tmp_path):
    """A thousand JPEG and PNG files of several sizes and qualities, decoded by the browser."""
    try:
        data = load_dataset("fashion-mnist", download=False)
    except DataError as error:
        pytest.skip(f"Fashion-MNIST is not on this machine: {str(error).splitlines()[0]}")
    run = mlpconv.train("fast", out=tmp_path / "run")
    assert run.result.test_accuracy > 0.85
    files, draw = [], np.random.default_rng(0)
    for index, pixels in enumerate(data.test.images[:1000, ..., 0]):
        side = int(draw.integers(28, 300))
        picture = Image.fromarray(pixels).resize((side, int(side * draw.uniform(0.7, 1.4))), Image.Resampling.BICUBIC)
        picture = picture.convert(str(draw.choice(["L", "RGB"])))
        files.append(tmp_path / f"{index}.{'png' if index % 2 else 'jpg'}")
        picture.save(files[-1], **({} if index % 2 else {"quality": int(draw.integers(60, 96))}))
    path = tmp_path / "page.html"
    path.write_text(export_html(run.path, weights="float32").page)
    page = opened(path)
    page.set_default_timeout(300_000)
    page.locator("#choose-input").set_input_files(files)
    page.get_by_text("1,000 of 1,000 pictures").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"))))
    predictions = list(mlpconv.load(run.path).predict(files))
    assert len(rows) == len(predictions) == 1000
    for row, prediction in zip(rows, predictions, strict=True):
        first, second = prediction.top[:2]
        assert row["label"] == first.label or first.probability - second.probability < 0.01, (row, prediction)


def test_the_policy_refuses_any_other_script(browser, model):
    """What hostile text could do if it became markup after all."""
    path = model[3].with_name("changed.html")
    path.write_text(model[3].read_text().replace("<main>", "<main><script>document.body.id = 'mine'</script>", 1))
    page = browser.new_page()
    messages = []
    page.on("console", lambda message: messages.append(message.text))
    page.goto(path.as_uri())
    page.locator("#lead").filter(has_text="3").wait_for()
    assert page.locator("body").get_attribute("id") is None
    assert any("Content Security Policy" in message for message in messages)
    page.close()
