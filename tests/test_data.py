"""The data pipeline, on crops of a real photo."""

import pathlib

import cv2
import numpy as np
import pytest

from hifill import data, image_io, mask_mix, photo_sources

LAUNCH = pathlib.Path(__file__).resolve().parents[1] / "hifill" / "demo_photos" / "launch.jpg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    launch = cv2.imread(str(LAUNCH))
    (root / "sub").mkdir()
    for i, name in enumerate(["a.jpg", "b.png", "sub/c.png", "sub/d.jpg", "e.bmp"]):
        cv2.imwrite(str(root / name), launch[40 * i : 40 * i + 200, 60 * i : 60 * i + 300])
    (root / "notes.txt").write_text("not a photo")
    return root


class FixedPhotos:
    """Pictures in memory; None stands for an unreadable one."""

    def __init__(self, images):
        self.images = images
        self.taken = []

    def __len__(self):
        return len(self.images)

    def name(self, index):
        return f"photo {index}"

    def read(self, index):
        self.taken.append(index)
        if self.images[index] is None:
            raise image_io.ImageError(f"photo {index}: is damaged")
        return self.images[index]


STROKES = mask_mix.MaskMix(objects=0)


@pytest.fixture
def samples(folder):
    return data.Samples(photo_sources.open_photos(folder), STROKES, 64, seed=5)


def test_batches_are_what_they_promise(samples):
    images, masks, epsilon = next(iter(data.batches(samples, 3, steps=2)))
    assert images.shape == (2, 3, 64, 64, 3) and masks.shape == (2, 3, 64, 64, 1)
    assert images.dtype == masks.dtype == np.uint8
    assert epsilon.shape == (2, 3) and epsilon.dtype == np.float32
    assert images.numpy().std() > 20
    assert set(np.unique(masks)) == {0, 1}
    assert all(0.01 <= share <= 0.25 for share in masks.numpy().mean((2, 3, 4)).ravel())
    assert len(np.unique(epsilon)) == 6 and 0 <= np.min(epsilon) <= np.max(epsilon) < 1


def test_batches_are_the_numbered_samples_in_order(samples):
    pipeline = iter(data.batches(samples, 2, steps=3, first_sample=4))
    for first in (4, 10):
        element = next(pipeline)
        for number in range(6):
            expected = samples.sample(first + number)
            for part, value in zip(element, expected, strict=True):
                np.testing.assert_array_equal(part[number // 2, number % 2], value)


def test_replicas_share_each_batch(samples):
    whole = iter(data.batches(samples, 4, steps=2))
    # Two machines, two of the four replicas on each.
    first = iter(data.batches(samples, 4, 2, replicas=4, first_replica=0, local_replicas=2))
    second = iter(data.batches(samples, 4, 2, replicas=4, first_replica=2, local_replicas=2))
    for _ in range(2):
        shares = [next(first), next(first), next(second), next(second)]
        for part, expected in enumerate(next(whole)):
            joined = np.concatenate([share[part] for share in shares], axis=1)
            np.testing.assert_array_equal(joined, expected)


def test_samples_differ_with_seed_and_number(samples):
    first, second = samples.sample(0), samples.sample(1)
    other = data.Samples(samples.photos, STROKES, 64, seed=6).sample(0)
    for changed in (second, other):
        for a, b in zip(first, changed, strict=True):
            assert not np.array_equal(a, b)


def test_every_epoch_takes_every_photo_once_in_another_order():
    photos = FixedPhotos([noise()] * 5)
    samples = data.Samples(photos, STROKES, 64)
    for number in range(15):
        samples.sample(number)
    epochs = [photos.taken[i : i + 5] for i in (0, 5, 10)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_one_mask_for_a_batch():
    samples = data.Samples(FixedPhotos([noise()] * 5), STROKES, 64, samples_per_mask=3)
    masks = [samples.sample(number)[1] for number in range(6)]
    for number in (1, 2):
        np.testing.assert_array_equal(masks[0], masks[number])
    assert not np.array_equal(masks[0], masks[3])


def noise(height=200, width=300, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def crops(image, **options):
    samples = data.Samples(FixedPhotos([image]), STROKES, 64, **options)
    return [samples.sample(i)[0] for i in range(30)]


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


def test_small_photos_are_enlarged_with_their_aspect_kept_and_counted():
    ramp = np.repeat(np.linspace(0, 255, 100, dtype=np.uint8)[None, :, None], 32, axis=0)
    photos = FixedPhotos([noise(), np.repeat(ramp, 3, axis=2), noise(64, 64)])
    samples = data.Samples(photos, STROKES, 64)
    drawn = [samples.sample(number)[0] for number in range(30)]
    assert all(crop.shape == (64, 64, 3) for crop in drawn)
    assert samples.enlarged == {1}
    # 32 x 100 becomes 64 x 200, so that a crop holds a third of the ramp.
    smooth = [crop for crop in drawn if np.abs(np.diff(crop[..., 0].astype(int), axis=0)).max() < 3]
    assert len(smooth) == 10
    assert all(abs(np.ptp(crop[0, :, 0].astype(int)) - 255 * 63 / 199) < 8 for crop in smooth)


def test_the_first_enlarged_photo_is_named(caplog):
    photos = FixedPhotos([noise(20, 50), noise(30, 40)])
    samples = data.Samples(photos, STROKES, 64)
    for number in range(4):
        samples.sample(number)
    assert len(caplog.records) == 1
    assert "50 x 20 pixels" in caplog.text or "40 x 30 pixels" in caplog.text


def test_long_strips_do_not_fill_the_memory():
    # Enlarged as a whole, it would take 64 x 1,920,000 pixels.
    crops_of_strip = crops(noise(1, 30_000))
    assert all(crop.shape == (64, 64, 3) for crop in crops_of_strip)
    assert len({crop.tobytes() for crop in crops_of_strip}) > 20


def test_without_augmentation_the_middle_is_taken():
    image = noise(80, 100)
    for crop in crops(image, augment=False):
        np.testing.assert_array_equal(crop, image[8:72, 18:82])


def test_unreadable_photos_are_named_once_and_replaced(caplog):
    photos = FixedPhotos([noise(seed=i) if i != 3 else None for i in range(8)])
    samples = data.Samples(photos, STROKES, 64, max_bad_fraction=0.2)
    images = [samples.sample(number)[0] for number in range(24)]
    assert all(image.shape == (64, 64, 3) for image in images)
    assert samples.bad == {3: "photo 3: is damaged"}
    assert caplog.text.count("photo 3: is damaged") == 1
    assert photos.taken.count(3) == 1
    again = data.Samples(photos, STROKES, 64, max_bad_fraction=0.2)
    for number in reversed(range(24)):
        np.testing.assert_array_equal(again.sample(number)[0], images[number])


def test_too_many_unreadable_photos_stop_the_run():
    photos = FixedPhotos([noise(), None, noise(), None, noise()])
    samples = data.Samples(photos, STROKES, 64, max_bad_fraction=0.3)
    with pytest.raises(image_io.ImageError, match=r"2 of 5 photos .* 30.00% .*photo [13]: is dam"):
        for number in range(5):
            samples.sample(number)
    with pytest.raises(image_io.ImageError, match="2 of 2 photos cannot be read"):
        data.Samples(FixedPhotos([None, None]), STROKES, 64, max_bad_fraction=1).sample(0)


def test_the_pipeline_s_threads_count_bad_photos_too(caplog):
    photos = FixedPhotos([noise(), None, noise(), None, noise()])
    samples = data.Samples(photos, STROKES, 64, max_bad_fraction=0.5)
    pipeline = iter(data.batches(samples, 4))
    for _ in range(4):
        next(pipeline)
    assert set(samples.bad) == {1, 3}
    assert caplog.text.count("is damaged") == 2
