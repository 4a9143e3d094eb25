"""How visible the rim of the fill is: the step across it against the photo's own steps nearby."""

import numpy as np

_MIN_STEPS = 16
_MIN_OWN_STEP = 0.1  # grey levels; in a flat area every step is visible, however small


def seam_ratio(photo, hole, result):
    """Mean step across the hole's rim over the photo's own steps beside the rim; 1 is invisible.

    Take every four pixels p0, p1, q0, q1 in a row or column of which p0 and p1 lie outside the hole
    and q0 and q1 inside it, so that the rim runs between p1 and q0. With d(a, b), the mean of the
    absolute differences of R, G and B,

        seam = sum d(result p1, result q0) / sum (d(photo p0, photo p1) + d(photo q0, photo q1)) / 2

    0 upwards. Above 1 there is an edge where the hole was: an offset in colour or lines that do not
    meet. Below 1 the transition is smoother than the photo, as in a blurred fill or a faded paste.
    The denominator depends on the photo alone, so that a fill cannot improve its value by being
    noisy inside. The photo itself has about 1, and more where the rim follows the outline of an
    object: `seam_ratio(photo, hole, photo)` is the value to compare with.

    Source: a definition of this package.

    Args:
        photo, result: uint8 [H, W, 3].
        hole: bool [H, W].

    Returns:
        Float; NaN if the rim has fewer than 16 such places (strokes of one pixel, holes that leave
        nothing of the photo), or if the photo's own steps there are below 0.1 grey levels on
        average.
    """
    across, own, count = 0.0, 0.0, 0
    for transposed in (False, True):
        if transposed:
            photo, result, hole = photo.swapaxes(0, 1), result.swapaxes(0, 1), hole.T
        # The rim comes after two pixels of the photo, or before them.
        for side, outwards in ((hole, False), (~hole, True)):
            p0, p1, q0, q1 = _crossings(side)[:: -1 if outwards else 1]
            across += _total_step(result, p1, q0)
            own += (_total_step(photo, p0, p1) + _total_step(photo, q0, q1)) / 2
            count += len(p0[0])
    if count < _MIN_STEPS or own < _MIN_OWN_STEP * count:
        return float("nan")
    return float(across / own)


def _crossings(side):
    """Four indices (rows, columns): of pixels below each other that are two off and two on."""
    length = max(0, len(side) - 3)
    first, second, third, fourth = (side[i : i + length] for i in range(4))
    rows, columns = np.nonzero(~(first | second) & third & fourth)
    return [(rows + i, columns) for i in range(4)]


def _total_step(picture, a, b):
    return np.abs(picture[a].astype(np.int16) - picture[b]).mean(1).sum()
