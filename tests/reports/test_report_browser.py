"""The report of a run in a browser: what it shows on a desktop and a phone, in light and dark."""

import pytest

from mlpconv import Network, nin_block
from mlpconv.arch.layers import Flatten, GlobalAvgPool2d, MaxPool2d
from mlpconv.data import Splits, load_dataset
from mlpconv.drawing.fonts import font_families
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.optimizers import Optimizer
from mlpconv.reports.compare import compare, comparison_html
from mlpconv.reports.report import write_report
from mlpconv.training.recipe import Recipe
from support.chromium import CHROMIUM, launched, watched_pages
from support.run_directories import make_run

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
VIEWS = [(DESK, "light"), (DESK, "dark"), (PHONE, "light"), (PHONE, "dark")]
NAMES = ["desk, light", "desk, dark", "phone, light", "phone, dark"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt install chromium")


@pytest.fixture(scope="module")
def browser():
    with launched() as started:
        yield started


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small network trained for an epoch on some handwritten digits; training writes the report."""
    pytest.importorskip("sklearn", reason="scikit-learn, which carries the digits, is not installed")
    folder = tmp_path_factory.mktemp("browser")
    network = Network(
        nin_block(16, kernel_size=3, padding=1),
        MaxPool2d(2, stride=2),
        nin_block(10, kernel_size=3, padding=1),
        GlobalAvgPool2d(),
        Flatten(),
        input_size=8,
        name="small",
    )
    (folder / "net.json").write_text(network.to_json())
    train, test = load_dataset("digits")
    recipe = Recipe(
        model=str(folder / "net.json"),
        data="digits",
        optimizer=Optimizer("adam"),
        learning_rate=0.01,
        batch_size=16,
        epochs=1,
        precision="float32",
    )
    data = Splits(train.subset(range(400)), test.subset(range(200)))
    job = prepare(Request(recipe=recipe, recipe_name="tiny"), data)
    job.forecast()
    execution = execute(job, folder / "run")
    for _ in execution:
        pass
    return execution.run


@pytest.fixture
def opened(browser):
    """opened(path, view) returns the page. At the end, no page may have loaded anything or reported an error."""
    with watched_pages(browser) as open_page:
        yield lambda path, view=VIEWS[0]: open_page(path, viewport=view[0], color_scheme=view[1])


def check_fits(page):
    """Only the containers for wide content scroll horizontally."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    too_wide = page.evaluate(
        """[...document.querySelectorAll('main *')]
        .filter(e => !e.closest('.scroll') && !e.closest('svg'))
        .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
        .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert too_wide == []


def check_accessible(page):
    """axe finds nothing serious or critical, not even in closed details."""
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    found = axe.Axe().run(page).response["violations"]
    grave = [
        (each["id"], node["html"][:120], node["failureSummary"])
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
    assert grave == []


def test_training_writes_the_report_of_the_run(opened, run):
    page = opened(run.path / "report.html")
    result = run.result
    assert page.title() == f"run: small on {run.config.data.name}"
    tiles = page.locator(".tiles dd").all_inner_texts()
    assert tiles[0].startswith(f"{result.test_accuracy:.3f}")
    assert tiles[2].startswith(f"{result.loss:.3f}")
    rows = page.locator(".confusion tbody tr").all()
    assert [[int(cell) for cell in row.locator("td").all_inner_texts()] for row in rows] == result.confusion
    shares = page.locator("[aria-labelledby=classes] .bars b").all_inner_texts()
    assert shares == [f"{value:.3f}" for value in result.class_accuracy.values()]
    wrong = sum(map(sum, result.confusion)) - sum(row[k] for k, row in enumerate(result.confusion))
    mistakes = "[...document.querySelectorAll('[aria-labelledby=mistakes] img.picture')]"
    loaded = page.evaluate(f"{mistakes}.map(image => image.complete && image.naturalWidth === 8)")
    assert loaded == [True] * min(wrong, 24)
    assert wrong
    assert run.forecast is not None
    assert "no forecast" not in page.locator("main").inner_text()


def visible(page, selector):
    """Whether the elements of a page are visible: {True} if all are, {False} if none is."""
    return {element.is_visible() for element in page.locator(selector).all()}


def test_the_curves_show_their_values(opened, run):
    page = opened(run.path / "report.html")
    hints = page.locator(".wide .point title").all_text_contents()
    last = run.history[-1]
    assert f"epoch 1: test acc {last['test_accuracy']:.4g}" in hints
    assert len([hint for hint in hints if "train loss" in hint]) == len(last["curve"])
    assert visible(page, ".wide .chart") == {True}
    assert visible(page, ".narrow .chart") == {False}


@pytest.mark.parametrize("view", VIEWS, ids=NAMES)
def test_the_report_fits_and_is_accessible(opened, run, view):
    page = opened(run.path / "report.html", view)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (view[1] == "dark")
    assert visible(page, ".narrow .chart") == {view[0] is PHONE}
    check_fits(page)
    check_accessible(page)
    check_fits(page)


def test_a_wide_matrix_is_scrolled_by_keyboard(opened, tmp_path):
    made = make_run(tmp_path / "run", [f"a class with a long name {k}" for k in range(40)])
    page = opened(write_report(made), (PHONE, "light"))
    check_fits(page)
    matrix = page.get_by_role("region", name="Confusion matrix")
    assert matrix.evaluate("e => e.scrollWidth > e.clientWidth")
    matrix.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    # The page's policy forbids Playwright's own waiting; smooth scrolling takes a while.
    for _ in range(50):
        if matrix.evaluate("e => e.scrollLeft") > 100:
            break
        page.wait_for_timeout(50)
    assert matrix.evaluate("e => e.scrollLeft") > 100
    # The name of the row stays visible.
    head = page.locator(".confusion tbody th").first.bounding_box()
    assert head["x"] == pytest.approx(matrix.bounding_box()["x"], abs=1)


@pytest.mark.parametrize("view", VIEWS, ids=NAMES)
def test_hostile_and_foreign_names(opened, tmp_path, view):
    names = [
        "<script>document.title = 'mine'</script>",
        "<img src=x onerror=fetch('//x')>",
        "靴" * 60,
        "くつ",
        "x" * 400,
    ]
    made = make_run(tmp_path / "run", names, never=[1], skipped=2, done=2, finished=False)
    page = opened(write_report(made), view)
    assert page.title() == "run: nin_28 on noise"
    assert page.get_by_text(names[0], exact=True).first.is_visible()
    check_fits(page)
    check_accessible(page)


@pytest.mark.parametrize("view", VIEWS, ids=NAMES)
def test_the_comparison(opened, tmp_path, view):
    made = [make_run(tmp_path / name, seed=k, right=0.9 - k / 10) for k, name in enumerate(("a", "b" * 60, "c"))]
    path = tmp_path / "c.html"
    path.write_text(comparison_html(compare(made)))
    page = opened(path, view)
    check_fits(page)
    check_accessible(page)
    row = page.locator("tr", has=page.get_by_role("rowheader", name="test accuracy", exact=True)).first
    assert row.locator("td").all_inner_texts() == [f"{run.result.test_accuracy:.4f}" for run in made]


def test_chinese_characters_are_drawn_in_the_shapes_of_their_language(opened, tmp_path):
    """直 differs between Chinese and Japanese; it needs a font that has both."""
    if not {"Noto Sans CJK SC", "Noto Sans CJK JP"} <= set(font_families()):
        pytest.skip("no font that has both; on Debian: apt install fonts-noto-cjk")
    drawn = []
    for names in (("直", "a"), ("直", "あ")):
        page = opened(write_report(make_run(tmp_path / names[1], names)))
        drawn.append(page.locator(".bars .name").first.screenshot())
    assert drawn[0] != drawn[1]
