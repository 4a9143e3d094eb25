"""Requests that TensorFlow Serving answers for itself when it loads a SavedModel.

Without them the first photo of each size pays for what TensorFlow sets up once.
"""

import pathlib
import tempfile

import cv2
import numpy as np
import tensorflow as tf

_MOST = 1000  # TensorFlow Serving refuses a model with more records
_SIDES = (8, 65535)  # of a JPEG, at most


def warm_up_requests(sizes):
    """What to put in a version's `assets.extra/tf_serving_warmup_requests`.

    Args:
        sizes: sides in pixels; for each, one square photo with a hole over a tenth of it. The
            SavedModel must accept photos of that size, or TensorFlow Serving will not load it.

    Returns:
        Bytes of a TFRecord file of PredictionLog messages.

    Raises:
        ValueError: if tensorflow-serving-api is missing, or there are too many sizes or one that no
            JPEG can have.
    """
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError as error:
        raise ValueError(
            f"--warm_up needs a package more ({error}): pip install tensorflow-serving-api"
        ) from error
    if len(sizes) > _MOST:
        raise ValueError(f"{len(sizes)} sizes to warm up are over TensorFlow Serving's {_MOST}")
    for side in sizes:
        if not _SIDES[0] <= side <= _SIDES[1]:
            raise ValueError(f"--warm_up={side} is not within {_SIDES[0]} to {_SIDES[1]}")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "requests"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for side in sizes:
                log = prediction_log_pb2.PredictionLog()
                _fill_request(log.predict_log.request, side)
                writer.write(log.SerializeToString())
        return path.read_bytes()


def _fill_request(request, side):
    request.model_spec.name = "hifill"
    request.model_spec.signature_name = "serving_default"
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    photo = np.stack(np.broadcast_arrays(ramp, ramp[::-1, None], ramp[::-1]), axis=-1)
    mask = np.zeros((side, side), np.uint8)
    start, end = round(side * 0.34), round(side * 0.66)  # a tenth is 0.32 in the square
    mask[start:end, start:end] = 255
    for name, pixels, suffix in (("image_bytes", photo, ".jpg"), ("mask_bytes", mask, ".png")):
        content = cv2.imencode(suffix, pixels)[1].tobytes()
        request.inputs[name].CopyFrom(tf.make_tensor_proto([content]))
