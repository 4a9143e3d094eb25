"""The warm-up requests: each is one that a server can answer, and answers rightly."""

import sys

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2, prediction_service_pb2_grpc

from hifill.warm_up import warm_up_requests

pytest_plugins = ["serving.stand_ins"]


def test_every_record_is_a_request_that_is_answered(servers, tmp_path):
    sizes = [64, 300, 128]
    path = tmp_path / "tf_serving_warmup_requests"
    path.write_bytes(warm_up_requests(sizes))
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    assert len(records) == len(sizes)
    with grpc.insecure_channel(servers["grpc"]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for record, side in zip(records, sizes, strict=True):
            log = prediction_log_pb2.PredictionLog.FromString(record)
            assert log.WhichOneof("log_type") == "predict_log"
            request = log.predict_log.request
            assert request.model_spec.name == "hifill"
            photo, mask = (
                request.inputs[f"{name}_bytes"].string_val[0] for name in ("image", "mask")
            )
            photo = tf.io.decode_jpeg(photo, 3, dct_method="INTEGER_ACCURATE").numpy()
            hole = tf.io.decode_png(mask).numpy()[..., 0] > 127
            assert photo.shape == (side, side, 3) and hole.mean() == pytest.approx(0.1, abs=0.02)
            answer = stub.Predict(request, 60.0).outputs["inpainted_bytes"].string_val[0]
            inpainted = tf.io.decode_png(answer).numpy()
            np.testing.assert_array_equal(inpainted[~hole], photo[~hole])
            # The photo is a gradient, of which the rim tells most.
            error = np.abs(inpainted[hole].astype(int) - photo[hole])
            assert error.any() and error.mean() < 20


def test_refused(monkeypatch):
    with pytest.raises(ValueError, match="1000"):
        warm_up_requests([64] * 1001)
    with pytest.raises(ValueError, match="--warm_up=70000"):
        warm_up_requests([70000])
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ValueError, match="pip install tensorflow-serving-api"):
        warm_up_requests([64])
