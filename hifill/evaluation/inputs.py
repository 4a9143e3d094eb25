"""What other tools take: the photos of a protocol without what is under their holes, and masks."""

import pathlib

import cv2
import numpy as np

from hifill import image_io
from hifill.evaluation.protocol import read_case, read_hole


def write_inputs(folder, report, cases):
    """Writes two PNG files for each case.

    Args:
        folder: gets SIZE/PHOTO.png, the photo as it is measured, black in its hole, and
            SIZE/PHOTO_mask.png, white = hole. Results under the same paths are found by
            `methods.ResultFolder`.
        report: folder of the report.
        cases: iterable of `protocol.Case`.

    Raises:
        ValueError: if a photo or mask has changed, two photos differ in the suffix alone, or a file
            cannot be written.
    """
    written = set()
    for case in cases:
        path = pathlib.Path(folder, case.size, case.photo).with_suffix(".png")
        if path in written:
            raise ValueError(f"{case.path}: another photo differs in the suffix alone; rename it")
        written.add(path)
        photo, hole = read_case(case), read_hole(report, case)
        blanked = np.where(hole[..., None], np.uint8(0), photo)[..., ::-1]
        for target, pixels in (
            (path, blanked),
            (path.with_name(f"{path.stem}_mask.png"), hole.astype(np.uint8) * 255),
        ):
            image_io.replace_file(target, cv2.imencode(".png", pixels)[1].tobytes())
