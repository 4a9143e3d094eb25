"""python grpc_server.py MODEL_BASE_PATH MODEL_NAME: a stand-in for TensorFlow Serving's gRPC.

Prints its port, serves Predict, GetModelMetadata and GetModelStatus on localhost, and ends when its
standard input does. TensorFlow Serving itself comes only as a binary that pip cannot install.
"""

import concurrent.futures
import sys

import grpc
import tensorflow as tf
from served_model import ServedModel, serve_until_stdin_closes
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_STATUS = {code.value[0]: code for code in grpc.StatusCode}


def _aborting(method):
    """Answers a TensorFlow error by the gRPC status of the same number."""

    def answer(self, request, context):
        try:
            return method(self, request)
        except tf.errors.OpError as error:
            context.abort(_STATUS[error.error_code], error.message)

    return answer


def _version(spec):
    return spec.version.value if spec.HasField("version") else None


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model):
        self._model = model

    @_aborting
    def Predict(self, request):
        spec = request.model_spec
        self._model.check_spec(spec.name, _version(spec))
        inputs = {name: _array(tensor) for name, tensor in request.inputs.items()}
        outputs = self._model.run(spec.signature_name, inputs, request.output_filter)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = self._model.version
        response.model_spec.signature_name = spec.signature_name or "serving_default"
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return response

    @_aborting
    def GetModelMetadata(self, request):
        self._model.check_spec(request.model_spec.name, _version(request.model_spec))
        if list(request.metadata_field) != ["signature_def"]:
            message = f"Metadata field {list(request.metadata_field)} is not supported"
            raise tf.errors.InvalidArgumentError(None, None, message)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = self._model.name
        response.model_spec.version.value = self._model.version
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=self._model.signatures)
        response.metadata["signature_def"].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, model):
        self._model = model

    @_aborting
    def GetModelStatus(self, request):
        return self._model.status(request.model_spec.name, _version(request.model_spec))


def _array(tensor):
    try:
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        message = f"tensor parsing error: {error}"
        raise tf.errors.InvalidArgumentError(None, None, message) from error


def start(model):
    """Serves a `ServedModel` in threads: -> (the server, its port)."""
    unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
    threads = concurrent.futures.ThreadPoolExecutor(8)
    server = grpc.server(threads, options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(model), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(model), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    return server, port


def main(base_path, name):
    _server, port = start(ServedModel(base_path, name))
    serve_until_stdin_closes(port)


if __name__ == "__main__":
    main(*sys.argv[1:])
