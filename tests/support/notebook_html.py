"""Read the HTML that a notebook shows; data to show."""

import xml.etree.ElementTree as ET

import numpy as np

from mlpconv.data import ImageDataset

HOSTILE = "<script>alert('1')</script> & \"服装\" $\\frac$"


def parse(html):
    """The page as a tree, after a check that no element contains code."""
    tree = ET.fromstring(html)
    for node in tree.iter():
        assert node.tag.rpartition("}")[2] != "script"
        assert not any(key.startswith("on") for key in node.attrib)
    return tree


def text(html):
    return "".join(parse(html).itertext())


def cells(html, table=0):
    """The rows of a table as lists of texts, its head first."""
    found = list(parse(html).iter("table"))[table]
    return [["".join(cell.itertext()) for cell in row] for row in found.iter("tr")]


def random_images(count, channels=1, side=8):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)


def dataset(count, names=(HOSTILE, "b"), **options):
    labels = np.arange(count, dtype=np.int64) % len(names)
    return ImageDataset(random_images(count, **options), labels, names, HOSTILE)
