"""`mlpconv train --data` with few images: what the plan says, and errors of the options."""

import pytest

from support import image_folders

pytest.importorskip("torch")


@pytest.fixture
def photos(tmp_path):
    """Twelve pictures of 40×40 in each of two classes."""
    for index in range(24):
        image_folders.save_image(
            tmp_path / "photos" / "ab"[index % 2] / f"{index}.png", image_folders.random_pixels(index, 40, 40)
        )
    return "photos"


def test_the_plan_names_the_start_weights_and_has_the_forecast(cli, photos):
    said = cli("train", "--data", photos, "--dry-run")
    assert said.code == 0
    assert "Training nin_photo" in said.out
    assert "start weights that come with the package" in said.out
    assert "  start     weights of nin_photo" in said.out
    assert "  forecast  " in said.out
    assert 'pretrained = "nin_photo"' in said.out
    said = cli("train", "--data", photos, "--dry-run", "--from-scratch", "--budget", "1h")
    assert "Training nin_32" in said.out
    assert "  start     he weights" in said.out
    assert 'pretrained = ""' in said.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget", "soon"), "--budget soon: expected a time such as 90s, 30m or 2h"),
        (("--budget", "0s"), "--budget 0s: give more than 0 seconds"),
        (("--budget", "-1m"), "--budget -1m: expected a time"),
        (("--budget", "2m", "--epochs", "3"), "--budget and --epochs"),
        (("--from-scratch", "--pretrained", "runs/1"), "--from-scratch and --pretrained runs/1"),
        (("--from-scratch", "--start-from", "runs/1"), "--from-scratch and --start-from runs/1"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(cli, photos, options, message):
    said = cli("train", "--data", photos, *options)
    assert (said.code, message in said.err) == (2, True), said.err
    assert "Traceback" not in said.err
