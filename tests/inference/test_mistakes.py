"""The misclassified images of an evaluation, as values and as CSV."""

import csv
import io

import numpy as np

from mlpconv.data import ImageDataset
from mlpconv.inference.mistakes import find_mistakes, mistakes_csv
from mlpconv.training.metrics import evaluate

NAMES = ("cat", 'a "dog", or two', "new\nline")


def evaluated():
    dataset = ImageDataset(np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 2, 2]), NAMES, "x/test")
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.05, 0.9, 0.05]], np.float32))
    return evaluate(logits, dataset.labels), dataset


def test_mistakes_are_in_the_order_of_their_confidence():
    first, second = find_mistakes(*evaluated())
    assert (first.file, first.label, first.predicted) == ("3", NAMES[2], NAMES[1])
    assert (second.file, second.label, second.predicted) == ("1", NAMES[1], NAMES[0])
    np.testing.assert_allclose(first[3:] + second[3:], [0.9, 0.05, 0.6, 0.3], rtol=1e-6)
    assert find_mistakes(*evaluated(), ["a", "b", "c", "d"])[0].file == "d"


def test_the_csv_has_every_mistake_with_the_path_of_its_file():
    files = ["0.png", "cat/\udcff\n1.png", "2.png", "/elsewhere/3.png"]
    content = mistakes_csv(find_mistakes(*evaluated(), files), "/photos")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline="")))
    assert [row["file"] for row in rows] == ["/elsewhere/3.png", "/photos/cat/\udcff\n1.png"]
    assert rows[1] == {
        "file": "/photos/cat/\udcff\n1.png",
        "label": NAMES[1],
        "predicted": NAMES[0],
        "probability": "0.600000",
        "label_probability": "0.300000",
    }
    assert mistakes_csv([]) == b"file,label,predicted,probability,label_probability\n"
