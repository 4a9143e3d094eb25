"""A SavedModel's newest version, run as TensorFlow Serving runs it: by a session, for signatures.

Shared by the stand-ins for TensorFlow Serving. Only stock TensorFlow is used, and refusals have
TensorFlow Serving's codes and, in essence, its words.
"""

import os
import pathlib
import sys

sys.modules["hifill"] = None  # a server has TensorFlow, but not this package

import tensorflow as tf  # noqa: E402
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef  # noqa: E402
from tensorflow_serving.apis import get_model_status_pb2  # noqa: E402


class ServedModel:
    """The newest version below a folder.

    Args:
        base_path: folder of folders with numbers as names.
        name: what requests call the model.
    """

    def __init__(self, base_path, name):
        versions = [int(p.name) for p in pathlib.Path(base_path).iterdir() if p.name.isdecimal()]
        self.name, self.version = name, max(versions)
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            graph = tf.compat.v1.saved_model.load(
                self._session, ["serve"], str(pathlib.Path(base_path) / str(self.version))
            )
        # The initialiser is no signature that requests can name.
        self.signatures = {
            key: SignatureDef.FromString(signature.SerializeToString())
            for key, signature in graph.signature_def.items()
            if signature.method_name == "tensorflow/serving/predict"
        }

    def check_spec(self, name, version):
        """Raises NotFoundError unless this is the model; `version` is None for the latest."""
        if name != self.name or version not in (None, self.version):
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise tf.errors.NotFoundError(None, None, f"Servable not found for request: {asked}")

    def status(self, name, version):
        """A GetModelStatusResponse; NotFoundError for another model or version."""
        if name != self.name or version not in (None, self.version):
            asked = f"model {name}" if version is None else f"model {name} with version {version}"
            raise tf.errors.NotFoundError(None, None, f"Could not find any versions of {asked}")
        response = get_model_status_pb2.GetModelStatusResponse()
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        response.model_version_status.add(
            version=self.version, state=available
        ).status.SetInParent()
        return response

    def run(self, signature_name, inputs, output_filter=()):
        """Runs a signature.

        Args:
            signature_name: "" for the default one.
            inputs: dict from names to arrays; strings are arrays of bytes, dtype object.
            output_filter: names of the outputs to return; empty for all.

        Returns:
            Dict from the outputs' names to arrays.

        Raises:
            tf.errors.OpError: what TensorFlow Serving would answer.
        """
        signature_name = signature_name or "serving_default"
        if signature_name not in self.signatures:
            message = f'Serving signature key "{signature_name}" not found.'
            raise tf.errors.FailedPreconditionError(None, None, message)
        signature = self.signatures[signature_name]
        sent, known = set(inputs), set(signature.inputs)
        if len(sent) != len(known):
            raise _invalid(
                f"input size does not match signature: {len(sent)}!={len(known)}"
                f" len({_braced(sent)}) != len({_braced(known)})."
                f" Sent extra: {_braced(sent - known)}."
                f" Missing but required: {_braced(known - sent)}."
            )
        feeds = {}
        for name, array in inputs.items():
            if name not in known:
                raise _invalid(
                    f"input tensor alias not found in signature: {name}."
                    f" Inputs expected to be in the set {_braced(known)}."
                )
            info = signature.inputs[name]
            dtype = tf.dtypes.as_dtype(info.dtype)
            if tf.dtypes.as_dtype(array.dtype) != dtype:
                sent_dtype = tf.dtypes.as_dtype(array.dtype).name
                raise _invalid(f"Expects {name} to be {dtype.name} but {sent_dtype} is provided")
            shape = tf.TensorShape(info.tensor_shape)
            if not shape.is_compatible_with(array.shape):
                raise _invalid(f"{name} has shape {list(array.shape)}, not {shape}")
            feeds[info.name] = array
        for name in output_filter:
            if name not in signature.outputs:
                raise _invalid(
                    f"output tensor alias not found in signature: {name}"
                    f" Outputs expected to be in the set {_braced(signature.outputs)}."
                )
        fetches = {key: signature.outputs[key].name for key in output_filter or signature.outputs}
        try:
            return self._session.run(fetches, feeds)
        except tf.errors.OpError as error:
            # Python's sessions rewrite the message; TensorFlow Serving sends the first one.
            raise error.__context__ or error from None


def _invalid(message):
    return tf.errors.InvalidArgumentError(None, None, message)


def _braced(names):
    return "{" + ",".join(sorted(names)) + "}"


def serve_until_stdin_closes(*ports):
    """Prints the ports and blocks until our standard input closes; then the process is no more."""
    print(*ports, flush=True)
    sys.stdin.read()
    os._exit(0)  # not after the answers that nobody waits for any more
