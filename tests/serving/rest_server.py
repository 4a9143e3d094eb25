"""python rest_server.py MODEL_BASE_PATH MODEL_NAME: a stand-in for TensorFlow Serving.

Like TensorFlow Serving it serves gRPC (see grpc_server.py) and REST: the model status, metadata and
predict requests of "RESTful API" in its documentation. Prints the two ports in this order, and ends
when its standard input does.
"""

import base64
import binascii
import http.server
import json
import re
import sys
import threading

import grpc_server
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from served_model import ServedModel, serve_until_stdin_closes
from tensorflow_serving.apis import get_model_metadata_pb2

_STATUS = {
    tf.errors.INVALID_ARGUMENT: 400,
    tf.errors.FAILED_PRECONDITION: 400,
    tf.errors.OUT_OF_RANGE: 400,
    tf.errors.NOT_FOUND: 404,
    tf.errors.RESOURCE_EXHAUSTED: 429,
    tf.errors.UNIMPLEMENTED: 501,
    tf.errors.UNAVAILABLE: 503,
    tf.errors.DEADLINE_EXCEEDED: 504,
}
_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+))?"


class Handler(http.server.BaseHTTPRequestHandler):
    model = None
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(self._get)

    def do_POST(self):
        self._answer(self._post)

    def _answer(self, method):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, answer = 200, method(body)
        except tf.errors.OpError as error:
            status, answer = _STATUS.get(error.error_code, 500), {"error": error.message}
        content = json.dumps(answer, indent=1).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _get(self, body):
        name, version, metadata = self._parsed_path(rf"{_MODEL}(/metadata)?")
        if not metadata:
            return _json(self.model.status(name, version))
        self.model.check_spec(name, version)
        spec = {"name": name, "signature_name": "", "version": str(self.model.version)}
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=self.model.signatures)
        return {"model_spec": spec, "metadata": {"signature_def": _json(signatures)}}

    def _post(self, body):
        name, version, _ = self._parsed_path(f"{_MODEL}(:predict)")
        self.model.check_spec(name, version)
        try:
            request = json.loads(body)
        except ValueError as error:
            raise _invalid(f"JSON Parse error: {error}") from error
        if not isinstance(request, dict):
            raise _invalid("JSON Value: Is not object")
        signature_name = request.get("signature_name", "serving_default")
        if signature_name not in self.model.signatures:
            raise _invalid(f'Serving signature name: "{signature_name}" not found in signature def')
        known = self.model.signatures[signature_name].inputs
        if ("instances" in request) == ("inputs" in request):
            raise _invalid("Missing 'inputs' or 'instances' key, or both are there")
        if "instances" in request:
            inputs = _columns(request["instances"], known)
        else:
            inputs = request["inputs"]
            if not isinstance(inputs, dict) or _is_base64(inputs):
                inputs = {_only(known, "inputs"): inputs}
            for missing in set(known) - set(inputs):
                raise _invalid(f"Missing named input: {missing} in 'inputs' object.")
        arrays = {key: _array(inputs[key], info.dtype) for key, info in known.items()}
        outputs = self.model.run(signature_name, arrays)
        outputs = {key: _plain(array, key.endswith("_bytes")) for key, array in outputs.items()}
        if len(outputs) == 1:
            (answer,) = outputs.values()
        elif "inputs" in request:
            answer = outputs
        else:
            rows = zip(*outputs.values(), strict=True)
            answer = [dict(zip(outputs, row, strict=True)) for row in rows]
        return {"predictions" if "instances" in request else "outputs": answer}

    def _parsed_path(self, pattern):
        match = re.fullmatch(pattern, self.path, re.IGNORECASE)
        if not match:
            raise _invalid(f"Malformed request: {self.command} {self.path}")
        return match[1], match[2] and int(match[2]), match[3]

    def log_message(self, format, *arguments):
        pass


def _json(message):
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _columns(instances, known):
    """Row format to columns, with the inputs' names."""
    if not isinstance(instances, list) or not instances:
        raise _invalid("Expecting 'instances' to be a list/array with values")
    if not isinstance(instances[0], dict) or _is_base64(instances[0]):
        return {_only(known, "instances"): instances}
    for i, instance in enumerate(instances):
        if not isinstance(instance, dict) or set(instance) != set(known):
            raise _invalid(
                f"Failed to process element: {i} of 'instances' list. JSON object:"
                f" {json.dumps(instance)} keys must be equal to: {','.join(sorted(known))}"
            )
    return {key: [instance[key] for instance in instances] for key in known}


def _only(known, key):
    if len(known) > 1:
        raise _invalid(f"{key} is a plain list, but multiple input tensors are required")
    return next(iter(known))


def _is_base64(value):
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _array(values, dtype):
    dtype = tf.dtypes.as_dtype(dtype)
    try:
        if dtype != tf.string:
            return np.array(values, dtype.as_numpy_dtype)
        return np.frompyfunc(_bytes, 1, 1)(np.array(values, object))
    except (ValueError, TypeError, OverflowError) as error:
        raise _invalid(f"JSON Value: is not of expected type: {dtype.name}; {error}") from error


def _bytes(value):
    if isinstance(value, str):
        return value.encode()
    if not _is_base64(value):
        raise ValueError("not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error as error:
        raise _invalid("Unable to base64 decode") from error


def _plain(array, is_binary):
    """An output's array as JSON has it."""
    if array.dtype != object:
        return array.tolist()
    text = (lambda s: {"b64": base64.b64encode(s).decode()}) if is_binary else bytes.decode
    return np.frompyfunc(text, 1, 1)(array).tolist()


def _invalid(message):
    return tf.errors.InvalidArgumentError(None, None, message)


def start(model):
    """Serves a `ServedModel` in threads: -> its port."""
    Handler.model = model
    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def main(base_path, name):
    model = ServedModel(base_path, name)
    _server, grpc_port = grpc_server.start(model)
    serve_until_stdin_closes(grpc_port, start(model))


if __name__ == "__main__":
    main(*sys.argv[1:])
