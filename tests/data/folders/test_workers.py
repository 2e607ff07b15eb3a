"""Files are read in other processes: what a file does to its decoder, it does not do to the program."""

import json
import os
import sys
import threading

import numpy as np
import pytest

from mlpconv.arch.preprocess import MAX_PIXELS, Preprocess
from mlpconv.data.folders import worker_jobs, workers
from mlpconv.data.folders.cache import clean
from mlpconv.data.folders.folder import scan_folder
from mlpconv.data.folders.workers import read_images
from mlpconv.data.image import read_image
from mlpconv.errors import DataError
from support import image_folders

COLOR = Preprocess(8, mode="RGB", mean=(0, 0, 0), std=(1, 1, 1), source_size=(8, 8))


@pytest.fixture
def in_workers(tmp_path, monkeypatch):
    """in_workers(code): new workers run this code first; it knows ``jobs``, the module with what they do."""

    def stop_kept():
        while workers._kept:
            workers._kept.pop().stop()

    def patch(code):
        stop_kept()
        (tmp_path / "site").mkdir(exist_ok=True)
        text = f"import mlpconv.data.folders.worker_jobs as jobs\n{code}\n"
        (tmp_path / "site" / "sitecustomize.py").write_text(text)
        monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])

    yield patch
    stop_kept()


def pictures(folder, count):
    return [image_folders.save_image(folder / f"{index}.png", index) for index in range(count)]


def reasons(results):
    return [str(result) if isinstance(result, DataError) else "" for result in results]


HANG = """
old = jobs.read_image
def read_image(path, preprocess):
    while "bad" in path:
        pass
    return old(path, preprocess)
jobs.read_image = read_image
jobs.SECONDS_PER_IMAGE = 1
"""


def test_a_file_on_which_the_decoder_hangs_is_named_and_the_others_are_read(tmp_path, in_workers, monkeypatch):
    in_workers(HANG)
    monkeypatch.setattr(worker_jobs, "SECONDS_PER_IMAGE", 1)
    files = pictures(tmp_path, 4)
    bad = image_folders.save_image(tmp_path / "bad.png")
    results = read_images([*files[:2], bad, *files[2:]], COLOR)
    assert reasons(results)[2].startswith(f"{bad}: cannot be decoded within 1 s of processor time; open it in")
    for file, pixels in zip(files, results[:2] + results[3:], strict=True):
        np.testing.assert_array_equal(pixels, read_image(file, COLOR))


def test_a_file_that_takes_too_much_memory_is_named(tmp_path, in_workers):
    in_workers(
        "old = jobs.read_image\n"
        "jobs.read_image = lambda path, preprocess: 'big' in path and bytearray(4 << 30) or old(path, preprocess)\n"
    )
    big, good = image_folders.save_image(tmp_path / "big.png"), image_folders.save_image(tmp_path / "good.png")
    first, second = read_images([big, good], COLOR)
    assert str(first).startswith(f"{big}: cannot be decoded: ")
    assert isinstance(second, np.ndarray)


def test_more_pixels_allow_more_time():
    def seconds(max_pixels):
        return worker_jobs.seconds_per_image(worker_jobs.ReadJob(0, "", [], Preprocess(8, max_pixels=max_pixels)))

    assert seconds(1) == seconds(MAX_PIXELS) == worker_jobs.SECONDS_PER_IMAGE
    assert seconds(4 * MAX_PIXELS) == 4 * worker_jobs.SECONDS_PER_IMAGE


def test_a_worker_that_something_else_has_killed_is_not_the_fault_of_a_file(tmp_path, in_workers):
    in_workers(
        f"import os\nold = jobs.read_image\nmark = {str(tmp_path / 'killed')!r}\n"
        "def read_image(path, preprocess):\n"
        "    if not os.path.exists(mark):\n        open(mark, 'x').close()\n        os.kill(os.getpid(), 9)\n"
        "    return old(path, preprocess)\n"
        "jobs.read_image = read_image"
    )
    assert reasons(read_images(pictures(tmp_path, 3), COLOR)) == ["", "", ""]


@pytest.mark.parametrize("executable", ["/nowhere/python", "/bin/true"])
def test_files_are_read_without_workers_where_none_can_start(tmp_path, in_workers, monkeypatch, executable):
    in_workers("")
    root = image_folders.create_classes(tmp_path / "d", {"a": 8, "b": 8})
    with monkeypatch.context() as patch:  # undo() would also undo the cache of tests
        patch.setattr(sys, "executable", executable)
        found = scan_folder(root).load(COLOR).splits.train.images.copy()
        assert not workers._kept
    assert clean()
    np.testing.assert_array_equal(found, scan_folder(root).load(COLOR).splits.train.images)


def test_files_are_read_without_threads_where_none_can_start(tmp_path, monkeypatch):
    files = pictures(tmp_path, 5)

    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(workers, "_MAX_FILES_IN_ONE_WORKER", 0)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert reasons(read_images(files, COLOR)) == [""] * 5


def test_one_worker_is_kept_for_the_next_call(tmp_path, monkeypatch):
    files = pictures(tmp_path, 2)
    read_images(files, COLOR)
    (first,) = workers._kept
    monkeypatch.chdir(tmp_path)
    assert reasons(read_images(["0.png", "1.png"], COLOR)) == ["", ""]  # it was started in another directory
    assert workers._kept == [first]
    threads = [threading.Thread(target=read_images, args=(files, COLOR)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(workers._kept) == 1


def test_a_pipe_is_read_once(tmp_path):
    (file,) = pictures(tmp_path, 1)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(file.read_bytes(),))
    writer.start()
    (found,) = read_images([tmp_path / "pipe"], COLOR)
    writer.join()
    np.testing.assert_array_equal(found, read_image(file, COLOR))


def about(place):
    return json.loads((place / "about.json").read_text())


def test_an_error_of_decoding_is_remembered_only_for_the_versions_that_found_it(tmp_path, monkeypatch):
    root = image_folders.create_classes(tmp_path / "d", {"a": 8, "b": 8})
    whole = image_folders.save_image(root / "a" / "cut.jpg", image_folders.random_pixels(7, 64, 64)).read_bytes()
    (root / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])

    def load():
        steps = []
        folder = scan_folder(root)
        return folder.load(folder.preprocess(8, "squash"), lambda what, *_: steps.append(what)), "decoding" in steps

    loaded, decoded = load()
    assert decoded
    assert [problem.path for problem in loaded.problems] == ["a/cut.jpg"]
    assert load()[1] is False
    monkeypatch.setattr("PIL.__version__", "99.0")
    assert load()[1] is True
    assert load()[1] is False
    place = loaded.place
    for reason in ("cannot be read: Input/output error", workers.CRASHED):  # the machine's fault, perhaps
        (place / "about.json").write_text(json.dumps(about(place) | {"errors": {"8": reason}}))
        assert load()[1] is True
