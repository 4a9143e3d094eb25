"""LPIPS against the authors' package with seeded weights, and against its formula in NumPy."""

import numpy as np
import pytest
from network_files import LINEAR, seeded_lpips

from hifill.evaluation.lpips import Lpips, layer_distance


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """{network: file} with seeded weights."""
    folder = tmp_path_factory.mktemp("lpips")
    for network in LINEAR:
        np.savez(folder / f"{network}.npz", **seeded_lpips(network))
    return {network: folder / f"{network}.npz" for network in LINEAR}


def _pictures(size):
    """A picture, an unrelated one, and the first with noise of up to 9 grey levels."""
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (*size, 3), np.uint8)
    unrelated = rng.integers(0, 256, (*size, 3), np.uint8)
    noisy = picture.astype(int) + rng.integers(-9, 10, picture.shape)
    return picture, unrelated, np.clip(noisy, 0, 255).astype(np.uint8)


# Of lpips 0.1.4 with torch 2.13: LPIPS(net=network, version="0.1", pnet_rand=True), the arrays of
# `seeded_lpips` put in, called with pictures / 127.5 - 1.
@pytest.mark.parametrize(
    ("network", "size", "unrelated", "noisy"),
    [
        ("alex", (96, 131), 0.8697331547737122, 0.004637741018086672),
        ("alex", (64, 64), 0.8739112019538879, 0.004805236589163542),
        ("alex", (67, 90), 0.8577585220336914, 0.004892471246421337),
        ("vgg", (96, 131), 0.7327147722244263, 0.007208516821265221),
        ("vgg", (67, 90), 0.7287335395812988, 0.007279794197529554),
    ],
)
def test_equal_to_the_authors_package(network, size, unrelated, noisy, weights):
    distance = Lpips(weights[network])
    assert distance.name == f"lpips_{network}"
    pictures = _pictures(size)
    assert distance(*pictures[:2]) == pytest.approx(unrelated, rel=1e-5)
    assert distance(*pictures[::2]) == pytest.approx(noisy, rel=1e-5)
    assert distance(pictures[0], pictures[0]) == 0
    assert distance(*pictures[1::-1]) == pytest.approx(unrelated, rel=1e-5)


def test_one_layer_by_its_formula():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 2, 5, 7, 6)).astype(np.float32)
    x[0, 0, 0] = 0  # no feature at all: the direction is 0, not NaN
    weight = rng.uniform(size=6).astype(np.float32)
    total = 0.0
    for n, i, j in np.ndindex(2, 5, 7):
        a, b = (v[n, i, j] / (np.sqrt((v[n, i, j] ** 2).sum()) + 1e-10) for v in (x, y))
        total += (weight * (a - b) ** 2).sum() / (2 * 5 * 7)
    assert float(layer_distance(x, y, weight)) == pytest.approx(total, rel=1e-5)
    # Lengths do not count, directions do.
    assert float(layer_distance(3 * y, y, weight)) == pytest.approx(0, abs=1e-10)


def test_sizes(weights):
    distance = Lpips(weights["alex"])
    small, large = (np.zeros((64, side, 3), np.uint8) for side in (63, 64))
    for pair in ((small, small), (small, large)):
        with pytest.raises(ValueError, match=r"LPIPS of \[64, 63, 3\] and"):
            distance(*pair)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "no such file; LPIPS needs weights, hifill/evaluation/lpips.py says how"),
        (b"PK\x03\x04 and no more", "not an .npz file, or truncated"),
        (b"something else", "not an .npz file, or truncated"),
        (("linear4", None), "its arrays are not those of LPIPS"),
        (("kernel2", np.zeros((3, 3, 192, 383))), "its arrays are not those of LPIPS"),
        (("bias0", np.full(64, np.nan)), "holds values that are not finite"),
    ],
)
def test_other_files(change, message, tmp_path):
    path = tmp_path / "weights.npz"
    if isinstance(change, bytes):
        path.write_bytes(change)
    elif change:
        arrays = seeded_lpips("alex") | dict([change])
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=message) as caught:
        Lpips(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
