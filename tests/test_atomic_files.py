"""Files that are written completely or not at all."""

import pytest

from mlpconv.files import atomic_file, is_partial_file, remove_partial_files


def test_the_old_content_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "lines.csv"
    path.write_text("old")
    with atomic_file(path) as file:
        file.write(b"new ")
        file.flush()
        assert path.read_text() == "old"
        file.write(b"content")
    assert path.read_text() == "new content"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_content_and_no_temporary_file(tmp_path, error):
    path = tmp_path / "lines.csv"
    path.write_text("old")

    def write_half():
        with atomic_file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_of_a_killed_process_is_recognized_and_removed(tmp_path):
    with atomic_file(tmp_path / "a") as file:
        [partial] = tmp_path.iterdir()
        assert str(partial) == file.name
        assert is_partial_file(partial)
        (tmp_path / partial.name.replace(".a.", ".b.")).touch()
    assert len(list(tmp_path.iterdir())) == 2
    remove_partial_files(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
