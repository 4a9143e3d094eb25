"""The data pipeline, on crops of a real photo."""

import pathlib

import cv2
import numpy as np
import pytest

from hifill import data, image_io, silhouettes

LAUNCH = pathlib.Path(__file__).resolve().parents[1] / "docs" / "demo" / "launch.jpg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    launch = cv2.imread(str(LAUNCH))
    (root / "sub").mkdir()
    for i, name in enumerate(["a.jpg", "b.png", "sub/c.png", "sub/d.jpg", "e.bmp"]):
        cv2.imwrite(str(root / name), launch[40 * i : 40 * i + 200, 60 * i : 60 * i + 300])
    (root / "notes.txt").write_text("not a photo")
    return root


@pytest.fixture
def source(folder):
    templates = tuple(silhouettes.generated_templates(np.random.default_rng(0), 6))
    return data.PhotoSource(data.find_photos(folder), 64, seed=5, templates=templates)


def test_finds_photos_in_subfolders(folder):
    assert [path.name for path in data.find_photos(folder)] == [
        "a.jpg",
        "b.png",
        "e.bmp",
        "c.png",
        "d.jpg",
    ]


def test_folders_without_photos(tmp_path):
    with pytest.raises(ValueError, match="no photos"):
        data.find_photos(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        data.find_photos(tmp_path / "missing")


def test_batches_are_what_they_promise(source):
    images, masks = next(iter(data.batches(source, 3)))
    assert images.shape == (3, 64, 64, 3) and masks.shape == (3, 64, 64, 1)
    assert images.dtype == masks.dtype == np.float32
    assert -1 <= images.numpy().min() < images.numpy().max() <= 1
    assert set(np.unique(masks)) == {0, 1}
    assert all(0.01 <= share <= 0.25 for share in masks.numpy().mean((1, 2, 3)))


def test_a_sample_depends_on_seed_and_number_alone(source, folder):
    pipeline = iter(data.batches(source, 2))
    first, second = next(pipeline), next(pipeline)
    resumed = next(iter(data.batches(source, 2, first_sample=2)))
    for a, b in zip(second, resumed, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], second[0])
    assert not np.array_equal(first[1], second[1])
    other = data.PhotoSource(source.paths, 64, seed=6, templates=source.templates)
    assert not np.array_equal(other.sample(0)[0], source.sample(0)[0])


def test_every_epoch_takes_every_photo_once_in_another_order(source, monkeypatch):
    taken = []
    monkeypatch.setattr(data, "_read_rgb", lambda path: taken.append(path) or noise())
    for number in range(15):
        source.sample(number)
    epochs = [taken[i : i + 5] for i in (0, 5, 10)]
    assert all(sorted(epoch) == sorted(source.paths) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def noise(height=200, width=300):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def crops(image, **options):
    source = data.PhotoSource((), 64, **options)
    return [source._crop(image, np.random.default_rng(i)) for i in range(30)]


def test_crops_are_the_photo_s_own_pixels_flipped_half_of_the_time():
    image = noise(80, 90)
    found = {False: 0, True: 0}
    for crop in crops(image):
        for flipped in found:
            looked_for = crop[:, ::-1] if flipped else crop
            windows = np.lib.stride_tricks.sliding_window_view(image, (64, 64, 3))[..., 0, :, :, :]
            found[flipped] += bool((windows == looked_for).all((-1, -2, -3)).any())
    assert found[False] + found[True] == 30 and min(found.values()) >= 5


def test_resize_and_scale():
    ramp = np.repeat(np.linspace(0, 255, 128, dtype=np.uint8)[:, None], 256, axis=1)
    ramp = np.repeat(ramp[..., None], 3, axis=2)
    height_seen = [int(crop[..., 0].max()) - int(crop[..., 0].min()) for crop in crops(ramp)]
    assert max(height_seen) < 140  # 64 of 128 rows
    resized = [
        int(crop[..., 0].max()) - int(crop[..., 0].min()) for crop in crops(ramp, resize=True)
    ]
    assert min(resized) > 240  # all rows
    scaled = [np.ptp(crop[..., 0].astype(int)) for crop in crops(ramp, min_scale=0.5)]
    assert max(scaled) > 200 and min(scaled) < 160


def test_small_photos_are_enlarged():
    assert all(crop.shape == (64, 64, 3) for crop in crops(noise(20, 50)))


def test_a_broken_photo_is_named(folder, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing")
    with pytest.raises(image_io.ImageError, match=r"broken\.jpg"):
        data.PhotoSource((broken,), 64).sample(0)
