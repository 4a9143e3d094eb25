"""Clients as TensorFlow Serving's public documentation shows them, against the servers."""

import base64
import io
import json
import subprocess

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

pytest_plugins = ["serving.stand_ins"]

PHOTO = np.random.default_rng(0).integers(0, 256, (70, 100, 3), np.uint8)
HOLE = np.zeros((70, 100), np.uint8)
HOLE[20:40, 30:60] = 255


def file(pixels, format="PNG"):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format)
    return content.getvalue()


def b64(pixels):
    return {"b64": base64.b64encode(file(pixels)).decode()}


def check(content):
    filled = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(filled[HOLE == 0], PHOTO[HOLE == 0])
    assert (filled != PHOTO)[HOLE > 0].mean() > 0.9


def test_requests(servers):
    url = f"http://{servers['rest']}/v1/models/hifill"
    data = json.dumps({"instances": [{"image_bytes": b64(PHOTO), "mask_bytes": b64(HOLE)}] * 2})
    response = requests.post(f"{url}:predict", data=data)
    response.raise_for_status()
    predictions = response.json()["predictions"]
    assert len(predictions) == 2
    check(base64.b64decode(predictions[0]["b64"]))

    arrays = {"image": PHOTO[None].tolist(), "mask": HOLE[None, ..., None].tolist()}
    body = {"signature_name": "inpaint", "inputs": arrays}
    outputs = requests.post(f"{url}/versions/1:predict", json=body).json()["outputs"]
    check(file(np.array(outputs[0], np.uint8)))

    status = requests.get(url).json()["model_version_status"]
    assert [(each["version"], each["state"]) for each in status] == [("1", "AVAILABLE")]
    signatures = requests.get(f"{url}/metadata").json()["metadata"]["signature_def"]
    inputs = signatures["signature_def"]["serving_default"]["inputs"]
    assert inputs["image_bytes"]["dtype"] == "DT_STRING"


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("hifill:predict", b"{", 400, "JSON Parse error"),
        ("hifill:predict", b"{}", 400, "Missing 'inputs' or 'instances' key"),
        ("hifill:predict", b'{"inputs": {"mask_bytes": ["a"]}}', 400, "Missing named input"),
        ("hifill:predict", b'{"signature_name": "fill", "inputs": 1}', 400, '"fill" not found'),
        ("hifill:predict", b'{"instances": ["a"]}', 400, "multiple input tensors"),
        ("lama:predict", b"{}", 404, "Servable not found for request: Latest(lama)"),
        ("hifill/versions/9:predict", b"{}", 404, "Specific(hifill, 9)"),
        ("hifill:fill", b"{}", 400, "Malformed request"),
    ],
)
def test_rest_errors(servers, path, body, status, message):
    response = requests.post(f"http://{servers['rest']}/v1/models/{path}", data=body)
    assert response.status_code == status and message in response.json()["error"]


def test_grpc(servers):
    channel = grpc.insecure_channel(servers["grpc"])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "hifill"
    request.model_spec.signature_name = "serving_default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([file(PHOTO)]))
    request.inputs["mask_bytes"].CopyFrom(tf.make_tensor_proto([file(HOLE)]))
    response = stub.Predict(request, 60.0)
    assert response.model_spec.version.value == 1
    check(response.outputs["inpainted_bytes"].string_val[0])

    del request.inputs["mask_bytes"]
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request, 60.0)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Missing but required: {mask_bytes}" in error.value.details()

    request.Clear()
    request.model_spec.name = "hifill"
    request.model_spec.signature_name = "generator"
    for name, depth in (("image", 3), ("mask", 1)):
        picture = tf.make_tensor_proto(np.zeros((1, 128, 128, depth), np.float32))
        request.inputs[name].CopyFrom(picture)
    request.output_filter.append("attention")
    outputs = stub.Predict(request, 60.0).outputs
    assert list(outputs) == ["attention"]
    assert tf.make_ndarray(outputs["attention"]).sum() == pytest.approx(64, rel=1e-3)

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "hifill"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(request, 60.0).metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {
        *("serving_default", "inpaint", "inpaint_float", "generator")
    }
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "hifill"
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, 60.0)
    assert [each.version for each in status.model_version_status] == [1]
    channel.close()


@pytest.mark.parametrize("form", ["row", "columnar"])
def test_curl(servers, form, tmp_path):
    if form == "row":
        body = {"instances": [{"image_bytes": b64(PHOTO), "mask_bytes": b64(HOLE)}]}
    else:
        body = {"inputs": {"image_bytes": [b64(PHOTO)], "mask_bytes": [b64(HOLE)]}}
    (tmp_path / "request.json").write_text(json.dumps(body))
    url = f"http://{servers['rest']}/v1/models/hifill:predict"
    command = ["curl", "--silent", "--fail", "-d", f"@{tmp_path / 'request.json'}", url]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    (inpainted,) = answer["predictions" if form == "row" else "outputs"]
    check(base64.b64decode(inpainted["b64"]))
