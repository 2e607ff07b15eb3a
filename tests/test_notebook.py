"""What a notebook shows: well-formed, escaped, and drawn at next to no cost."""

import logging
import signal
import statistics
import sys
import threading
import time
import types
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlpconv
import mlpconv.api
from mlpconv.arch.cost import count, prediction_memory, training_memory
from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d, Linear
from mlpconv.arch.network import Network
from mlpconv.data import ImageDataset, Splits
from mlpconv.errors import DataError, NetworkError
from mlpconv.notebook import Html, compare, show_images
from mlpconv.notebook.chart import curves_svg
from mlpconv.notebook.live import SHARE, LiveCurves, in_notebook, watch
from mlpconv.notebook.page import element, image, page
from mlpconv.runs.classifier import Guess, Prediction, Predictions
from mlpconv.runs.run import Run
from mlpconv.runs.session import Session
from mlpconv.runs.stop import Stop
from mlpconv.training.recipe import Recipe

HOSTILE = "<script>alert('1')</script> & \"服装\" $\\frac$"


def parse(html):
    """The page as a tree; no element of it can carry code."""
    tree = ET.fromstring(html)
    for node in tree.iter():
        assert node.tag.rpartition("}")[2] != "script"
        assert not any(key.startswith("on") for key in node.attrib)
    return tree


def text(html):
    return "".join(parse(html).itertext())


def cells(html, table=0):
    """A table's rows as lists of texts, its head first."""
    found = list(parse(html).iter("table"))[table]
    return [["".join(cell.itertext()) for cell in row] for row in found.iter("tr")]


def images_of(count, channels=1, side=8):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)


def dataset(count, names=(HOSTILE, "b"), **options):
    labels = np.arange(count, dtype=np.int64) % len(names)
    return ImageDataset(images_of(count, **options), labels, names, HOSTILE)


@given(st.text())
def test_any_text_is_escaped_in_a_page(anything):
    html = page(element("p", anything), image("data:,", anything, 5))
    tree = parse(html)
    shown = tree.find("p").text or ""
    assert shown.count("<") == anything.count("<")
    assert len(list(tree)) == 3
    assert [node.tag for node in tree] == ["style", "p", "img"]


def test_html_is_not_escaped_twice():
    assert element("p", Html("<b>x</b>"), "<") == "<p><b>x</b>&lt;</p>"
    assert "<b>" not in repr(Html("<b>x</b>"))


@pytest.mark.parametrize("name", mlpconv.list_models())
def test_every_network_shows_its_shapes_and_costs(name):
    net = mlpconv.create_model(name)
    rows = cells(net._repr_html_())
    costs = count(net)
    assert [row[0] for row in rows[2:-1]] == list(net.layers)
    assert rows[-1][3:] == [f"{costs.parameters:,}", f"{costs.macs:,}"]
    parameters = sum(int(row[3].replace(",", "")) for row in rows[2:-1] if row[3])
    assert parameters == costs.parameters
    assert list(parse(net._repr_html_()).iter("{http://www.w3.org/2000/svg}svg"))


def test_a_networks_name_is_escaped():
    assert HOSTILE in text(mlpconv.create_model("nin").replace(name=HOSTILE)._repr_html_())


def test_a_network_that_does_not_fit_says_so():
    html = Network(Conv2d(4, 9), GlobalAvgPool2d(), Flatten(), input_size=5)._repr_html_()
    assert "a 9×9 kernel does not fit" in text(html)


def test_costs_show_each_layer_and_leave_out_empty_columns():
    costs = count(mlpconv.create_model("nin"))
    head, *rows = cells(costs._repr_html_())
    assert len(rows) == len(costs.layers) + 1
    assert "normalisation" not in head
    assert rows[-1][head.index("multiplications")] == "762,297,352"
    assert "4,506,039,600" in text(costs._repr_html_())
    assert "normalisation" in cells(count(mlpconv.create_model("nin_28"))._repr_html_())[0]


@pytest.mark.parametrize("memory", [training_memory, prediction_memory])
def test_memory_shows_its_terms(memory):
    rows = cells(memory(mlpconv.create_model("lenet"))._repr_html_())
    assert [row[0] for row in rows[1:-1]] == ["weights", "gradients", "optimizer", "batch", "activations", "working"]
    assert rows[1][1] == "241.0 KiB"  # 61,706 parameters of 4 bytes


def test_networks_stand_beside_each_other():
    html = compare(*(mlpconv.create_model(name) for name in ("nin", "lenet", "alexnet", "vgg11")))
    rows = cells(html)
    assert rows[0] == ["", "nin", "lenet", "alexnet", "vgg11"]
    table = {row[0]: row[1:] for row in rows}
    assert table["parameters"][0] == "1,992,166"
    assert table["of these fully connected"][0] == "0.0%"
    with pytest.raises(NetworkError, match="1 to 4 networks"):
        compare()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_data_set_shows_samples_of_each_class(channels):
    data = dataset(7, channels=channels)
    html = data._repr_html_()
    assert [row[:2] for row in cells(html)[1:]] == [[HOSTILE, "4"], ["b", "3"]]
    assert len(list(parse(html).iter("img"))) == 2
    assert "7 images" in text(Splits(data, data)._repr_html_())


def test_a_data_set_of_other_channels_is_only_described():
    assert not list(parse(dataset(3, channels=2)._repr_html_()).iter("img"))


def test_a_class_without_images_has_an_empty_row():
    data = ImageDataset(images_of(2), np.zeros(2, np.int64), ("a", "none"), "x")
    assert cells(data._repr_html_())[2] == ["none", "0", ""]


def test_large_images_are_shown_small():
    assert len(dataset(4, side=1500)._repr_html_()) < 400_000


@pytest.mark.parametrize("channels", [1, 3])
def test_images_show_as_pictures_with_captions(channels):
    pictures = images_of(3, channels)
    tree = parse(show_images(pictures, [HOSTILE, "b", "c"]))
    assert [img.get("alt") for img in tree.iter("img")] == [HOSTILE, "b", "c"]
    assert [caption.text for caption in tree.iter("figcaption")] == [HOSTILE, "b", "c"]
    many = parse(show_images(images_of(61, channels)))
    assert len(list(many.iter("img"))) == 60
    assert "and 1 more" in "".join(many.itertext())


def test_a_picture_holds_the_pixels():
    import base64
    import io

    from PIL import Image

    pixels = images_of(1)
    (img,) = parse(show_images(pixels)).iter("img")
    raw = base64.b64decode(img.get("src").partition(",")[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(raw))), pixels[0, ..., 0])


@pytest.mark.parametrize(
    ("images", "captions"),
    [
        (images_of(2)[0], ()), (images_of(2).astype(np.float32), ()), (images_of(2, 2), ()), (images_of(0), ()),
        (images_of(2), ["one"]),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused(images, captions):
    with pytest.raises(DataError, match=r"show_images: .*(received|give one each)"):
        show_images(images, captions)


def test_predictions_are_a_list_that_shows_pictures():
    one = Prediction(HOSTILE, [Guess(HOSTILE, 0.75), Guess("b", 0.25)], looks_inverted=True)
    predictions = Predictions([one, one], images_of(2))
    assert predictions == [one, one]
    shown = text(predictions._repr_html_())
    assert HOSTILE in shown
    assert "75.0%" in shown
    assert "invert=True" in shown


numbers = st.floats(0) | st.floats(0, 3) | st.just(float("nan"))  # no loss or accuracy is below zero
lines = st.lists(st.tuples(st.lists(st.lists(numbers, min_size=3, max_size=3), max_size=5), numbers), max_size=6)


@given(lines, st.integers(0, 300))
def test_curves_of_any_history_are_well_formed(history, epochs):
    history = [
        {"epoch": index + 1, "curve": [[index + (k + 1) / 5, *point[1:]] for k, point in enumerate(curve)],
         "test_accuracy": accuracy}
        for index, (curve, accuracy) in enumerate(history)
    ]  # fmt: skip
    assert "loss and accuracy by epoch" in text(curves_svg(history, [], epochs))


def history_of(epochs):
    return [
        {"epoch": n + 1, "curve": [[n + k / 5, 2 / (n + 1), 0.5] for k in range(1, 6)], "test_accuracy": 0.8}
        for n in range(epochs)
    ]


def points_of(html):
    """How many points each curve of a page goes through."""
    return {node.get("class"): len(node.get("points").split()) for node in parse(html).iter("polyline")}


def test_curves_show_all_points_and_the_newest_values():
    html = curves_svg(history_of(3), [[3.2, 0.5, 0.9]])
    assert points_of(html) == {"line loss": 16, "line train": 16, "line test": 3}
    assert "train loss 0.500 train acc 0.900 test acc 0.800" in " ".join(text(html).split())


def test_the_axis_reaches_to_the_last_epoch_from_the_start():
    ticks = [node.text for node in parse(curves_svg([], [[0.2, 1.0, 0.1]], 10)).iter("text")]
    assert "10" in ticks
    assert "10" not in [node.text for node in parse(curves_svg([], [[0.2, 1.0, 0.1]])).iter("text")]


class Clock:
    """Time that passes only when it is told to, and while something is published."""

    def __init__(self, cost):
        self.now, self.cost, self.pages = 0.0, cost, []

    def __call__(self):
        return self.now

    def publish(self, html, text):
        self.now += self.cost
        self.pages.append((html, text))


@given(st.floats(1e-4, 2), st.lists(st.floats(0.001, 60), min_size=1, max_size=60))
def test_drawing_takes_at_most_its_share_of_the_time(cost, waits):
    clock = Clock(cost)
    live = LiveCurves(3, clock.publish, clock)
    drawn = [live.draw([], [], "first")]
    for wait in waits:
        clock.now += wait
        drawn.append(live.draw([], [], "x"))
    assert drawn[0]
    assert sum(drawn) == len(clock.pages)
    # The first is always drawn; all after it only within the share.
    assert (sum(drawn) - 1) * cost <= SHARE * clock.now * (1 + 1e-9)
    assert live.draw([], [], "last", always=True)
    assert clock.pages[-1][1] == "last"


def test_cheap_drawing_shows_every_mark():
    clock = Clock(0.002)
    live = LiveCurves(3, clock.publish, clock)
    live.draw([], [], "first")
    for _ in range(15):
        clock.now += 8
        assert live.draw([], [], "x")


def test_one_drawing_takes_milliseconds():
    # So that even a run of a minute gets all its marks: 15 of them within 1 % of 60 s is 40 ms each.
    live, history = LiveCurves(10, lambda html, text: None), history_of(10)
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        live.draw(history, [], "x", always=True)
        seconds.append(time.perf_counter() - began)
    assert statistics.median(seconds) < 0.04


@pytest.fixture
def recipe(tmp_path):
    net = Network(Conv2d(4, 3, padding=1), GlobalAvgPool2d(), Flatten(), Linear(2), input_size=8)
    path = tmp_path / "tiny.json"
    path.write_text(net.to_json())
    return Recipe(model=str(path), epochs=3, batch_size=8, image_size=8, learning_rate=0.01)


@pytest.fixture
def splits():
    return Splits(dataset(40), dataset(10))


@pytest.fixture
def notebook(monkeypatch):
    """IPython with a kernel, as `mlpconv` sees it; what it is asked to show."""
    shown = []
    shell = types.SimpleNamespace(kernel=object())
    display = types.SimpleNamespace(
        display=lambda data, *, raw, display_id: shown.append(("display", display_id, data)),
        update_display=lambda data, *, raw, display_id: shown.append(("update", display_id, data)),
    )
    # Matplotlib asks for the version.
    fake = types.SimpleNamespace(get_ipython=lambda: shell, display=display, version_info=(9, 0, 0))
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_notebook_is_known_by_its_kernel(monkeypatch, notebook):
    assert in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace()))
    assert not in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()
    assert "IPython" not in sys.modules


def test_in_a_notebook_the_curves_grow_in_one_output(notebook, recipe, splits, tmp_path, capsys):
    run = mlpconv.train(recipe, data=splits, out=tmp_path / "run")
    assert isinstance(run, Run)
    assert notebook[0][0] == "display"
    assert {kind for kind, _, _ in notebook[1:]} == {"update"}
    assert len({output for _, output, _ in notebook}) == 1
    last = notebook[-1][2]
    assert last["text/plain"].startswith("epoch 3 of 3: loss ")
    assert points_of(last["text/html"])["line test"] == 3
    result = run.result
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        f"loss {result.loss:.3f}, train acc {result.train_accuracy:.3f}, test acc {result.test_accuracy:.3f}"
    )
    assert second.startswith(f"{result.examples_per_second:.1f} examples/sec on cpu (")


@pytest.mark.parametrize("live", [True, False])
def test_elsewhere_nothing_is_shown(recipe, splits, tmp_path, capfd, live, request):
    if not live:  # not even in a notebook
        request.getfixturevalue("notebook")
    mlpconv.train(recipe, data=splits, out=tmp_path / "run", live=live)
    assert capfd.readouterr() == ("", "")


def test_all_marks_are_offered_to_the_curves(recipe, splits, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(LiveCurves, "draw", lambda self, history, curve, status, always=False: drawn.append(
        sum(len(line["curve"]) for line in history) + len(curve)))  # fmt: skip
    for _ in watch(Session(recipe, data=splits).run(tmp_path / "run", report_every=1e9)):
        pass
    assert sorted(set(drawn)) == list(range(16))  # five marks in each of three epochs


def test_a_run_shows_its_result_and_curves(recipe, splits, tmp_path):
    run = mlpconv.train(recipe, data=splits, out=tmp_path / "<i>run & $x_$")
    html = run._repr_html_()
    assert "<i>run & $x_$" in text(html)
    assert cells(html)[1][2] == f"{run.result.test_accuracy:.3f}"
    assert HOSTILE in text(html)
    assert "learning_rate = 0.01" in text(html)
    assert points_of(html)["line test"] == 3
    predictions = mlpconv.load(run).predict(splits.test.images, top=2)
    assert isinstance(predictions, Predictions)
    assert np.array_equal(predictions.images, splits.test.images)
    assert HOSTILE in text(predictions._repr_html_())


def test_a_damaged_run_is_shown_as_far_as_it_goes(recipe, splits, tmp_path):
    run = mlpconv.train(recipe, data=splits, out=tmp_path / "run")
    (run.path / "history.jsonl").write_text("{")
    assert "history.jsonl: damaged" in text(run._repr_html_())


class Interrupt(logging.Handler):
    """Presses Ctrl-C when an epoch ends."""

    def emit(self, record):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_saves_and_says_how_to_go_on(recipe, splits, tmp_path, caplog):
    out, logger, interrupt = tmp_path / "run", logging.getLogger("mlpconv.api"), Interrupt()
    caplog.set_level(logging.INFO, "mlpconv.api")
    logger.addHandler(interrupt)
    try:
        with pytest.raises(
            KeyboardInterrupt, match=r"stopped, and saved in .*; the same call with out=.*, resume=True"
        ):
            mlpconv.train(recipe, data=splits, out=out)
    finally:
        logger.removeHandler(interrupt)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    run = Run(out)
    assert run.result is None
    assert len(run.history) == 1
    assert "not finished: 1 of 3 epochs" in text(run._repr_html_())
    resumed = mlpconv.train(recipe, data=splits, out=out, resume=True)
    whole = mlpconv.train(recipe, data=splits, out=tmp_path / "whole")
    assert resumed.result.test_loss == whole.result.test_loss


def test_a_second_interrupt_stops_at_once():
    with Stop() as stop:
        assert not stop.wanted()
        signal.raise_signal(signal.SIGINT)
        assert stop.wanted()
        assert stop.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_time_that_is_over_stops_too():
    assert Stop(0.0).wanted()
    assert not Stop(1000.0).wanted()


def test_a_programs_own_handler_stays():
    def own(number, frame):
        pass

    old = signal.signal(signal.SIGINT, own)
    try:
        with Stop():
            assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, old)


def test_off_the_main_thread_signals_are_left_alone():
    seen = []

    def enter():
        with Stop():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_the_displays_of_networks_import_neither_numpy_nor_ipython():
    import subprocess

    code = (
        "import sys; from mlpconv.models.nin import nin; nin()._repr_html_(); "
        "print(*sorted({'IPython', 'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
