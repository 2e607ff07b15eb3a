"""A run that is made from another run of the same folder keeps its split."""

import hashlib
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from support import image_folders

pytest.importorskip("torch")

SMALL = {"epochs": 1, "batch_size": 8, "min_steps": 0, "precision": "float32"}


def request(root, **options):
    changes = {**SMALL, "data": str(root)}
    if "repeat" not in options and "pretrained" not in options:
        changes["model"] = "nin_tiny"
    if pretrained := options.pop("pretrained", None):
        changes["pretrained"] = str(pretrained)
    return Request(changes=changes, backend="torch", **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder, and a run that was trained on it."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPCONV_CACHE", str(place / "cache"))
        root = image_folders.create_classes(place / "photos", {"a": 30, "b": 30})
        prepared = prepare(request(root))
        for _ in execute(prepared, place / "run"):
            pass
        yield root, place / "run", use(prepared)


def use(prepared):
    """The split of each image, by the SHA-256 of its file."""
    folder = prepared.run_data.loaded_folder.folder
    return {row.tobytes(): int(split) for row, split in zip(folder.digests, folder.splits, strict=True)}


def notes(prepared):
    return " ".join(prepared.run_data.loaded_folder.folder.notes)


def digest(path):
    return hashlib.sha256(path.read_bytes()).digest()


WAYS = {
    "--from": lambda run: {"repeat": str(run)},
    "--pretrained": lambda run: {"pretrained": run},
    "--start-from": lambda run: {"start_from": str(run)},
    "--start-from FILE": lambda run: {"start_from": str(run / "weights.safetensors")},
}
changes = st.lists(
    st.tuples(st.sampled_from(["lose", "gain", "rename", "move"]), st.integers(0, 59)), min_size=1, max_size=30
)


@settings(max_examples=25)
@given(changes, st.sampled_from(list(WAYS)), st.booleans())
def test_images_keep_their_split_while_the_folder_changes(trained, tmp_path_factory, actions, way, elsewhere):
    root, run, before = trained
    place = tmp_path_factory.mktemp("changed")
    there = place / "photos" if elsewhere else root
    aside = place / "before"
    root.rename(aside)
    try:
        shutil.copytree(aside, there)
        files = sorted(there.rglob("*.png"))
        for number, (action, index) in enumerate(actions):
            file = files[index]
            if action == "gain":
                image_folders.save_image(there / "b" / f"new {number}.png", 5000 + number)
            elif not file.exists():
                continue
            elif action == "lose":
                file.unlink()
            elif action == "rename":
                file.rename(file.with_name(f"other {number}.png"))
            else:
                file.rename(there / ("b" if file.parent.name == "a" else "a") / f"moved {number}.png")
        prepared = prepare(request(there, **WAYS[way](run)))
        now = use(prepared)
        assert {key: now[key] for key in now.keys() & before.keys()} == {
            key: split for key, split in before.items() if key in now
        }
        lost = len(before.keys() - now.keys())
        text = notes(prepared)
        assert f"{len(before) - lost} images are split as in {run}" in text
        assert ("missing or changed since" in text) == (bool(lost) and not elsewhere)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        aside.rename(root)


def test_a_copy_of_a_test_image_is_not_learned_from(trained, tmp_path):
    root, run, before = trained
    shutil.copytree(root, tmp_path / "photos")
    tested = [path for path in sorted((tmp_path / "photos").rglob("*.png")) if before[digest(path)] == 2]
    copies = [path.with_name(f"copy of {path.name}") for path in tested]
    for path, copy in zip(tested, copies, strict=True):
        # The same pixels in another file.
        with Image.open(path) as image:
            image.save(copy, compress_level=1)
        assert digest(copy) != digest(path)
    now = use(prepare(request(tmp_path / "photos", pretrained=run)))
    assert {now[digest(copy)] for copy in copies} == {2}


def test_without_a_run_the_split_is_a_new_one(trained, tmp_path):
    root, _, before = trained
    shutil.copytree(root, tmp_path / "photos")
    assert use(prepare(request(tmp_path / "photos"))) == before
    image_folders.create_classes(tmp_path / "photos", {"c": 30}, 900)
    text = notes(prepare(request(tmp_path / "photos")))
    assert "split as in" not in text


def test_weights_that_do_not_record_their_split_are_named(trained, tmp_path):
    root, run, _ = trained
    shutil.copy(run / "weights.safetensors", tmp_path / "exported.safetensors")
    prepared = prepare(request(root, pretrained=tmp_path / "exported.safetensors"))
    assert "does not record from which, so it may know the test images" in notes(prepared)
    other = image_folders.create_classes(tmp_path / "other", {"a": 12, "b": 12}, 700)
    prepared = prepare(request(other, pretrained=tmp_path / "exported.safetensors"))
    assert "does not record" not in notes(prepared)
    prepared = prepare(request(other, pretrained=run))
    assert "as in" not in notes(prepared)


def test_a_run_with_the_kept_split_resumes_without_the_first_run(trained, tmp_path):
    root, run, before = trained
    shutil.copytree(run, tmp_path / "first")
    execution = execute(prepare(request(root, pretrained=tmp_path / "first")), tmp_path / "second")
    for _ in execution:
        pass
    shutil.rmtree(tmp_path / "first")
    prepared = prepare(Request(resume_from=str(tmp_path / "second"), resume_override={"epochs": 2}))
    assert use(prepared) == before
