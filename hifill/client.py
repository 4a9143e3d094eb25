"""Fills holes on a server: `RemoteInpainter` from Python, `hifill-client` from the command line."""

import base64
import http.client
import random
import re
import time
import urllib.parse

import cv2
import numpy as np

from hifill import inpaint, inpaint_files

USAGE = """
hifill-client PHOTO --mask=MASK --output=FILE --server=HOST:PORT
hifill-client FOLDER --mask=MASK_OR_FOLDER --output=FOLDER --server=HOST:PORT

Does what hifill-inpaint does, on a TensorFlow Serving that serves what export.py wrote. The server
sees the pixels outside the hole, and nothing else of the files.
"""

# What TensorFlow Serving answers over REST for some of the gRPC codes.
_CODES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
_CODES |= {503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
# A request that waited in vain for its turn, and one too many for gRPC's threads.
_BUSY = re.compile("batching queue|Threadpool Exhausted")
_LONGEST_WAIT = 30  # seconds between two tries
_LONGEST_CONNECT = 10  # seconds


class RemoteInpainter:
    """Fills holes in photos of any size on TensorFlow Serving: called like `hifill.Inpainter`.

    One object may be used by several threads.

    Args:
        server: "HOST:PORT"; "https://HOST:PORT" encrypts, and checks the server's certificate.
            For REST also any other URL, such as "https://HOST/PREFIX".
        protocol: "rest", which needs no TensorFlow, or "grpc", which needs the packages
            tensorflow-serving-api and grpcio and sends a quarter less.
        model: the name that the server knows the model by.
        version: an int; None for the server's latest.
        timeout: seconds that the server has for one photo. Over REST, that it may be silent.
        retries: how often to try again, at growing intervals, while the server is unavailable.

    Raises:
        ValueError: if an argument makes no sense, or a package is missing.
    """

    def __init__(
        self, server, protocol="rest", model="hifill", version=None, timeout=60.0, retries=4
    ):
        transport = {"rest": _rest, "grpc": _grpc}.get(protocol)
        if not transport:
            raise ValueError(f"unknown protocol {protocol!r}, choose rest or grpc")
        if not 0 < timeout < 1e6 or retries < 0:
            raise ValueError(f"{timeout=} or {retries=} is out of range")
        self._name = f"{_without_password(server)} ({protocol})"
        self._model = f"{model!r}" if version is None else f"{model!r} in version {version}"
        self._timeout, self._retries = timeout, retries
        self._send = transport(server, model, version, timeout)

    def __call__(self, image, mask):
        """Fills the holes of one photo.

        Args:
            image: uint8 or uint16 array [H, W, 3], RGB.
            mask: [H, W] or [H, W, 1]; True, above 127 in uint8 or above 0.5 in float is a hole.

        Returns:
            Array of the image's shape and dtype; outside the hole, the image's own pixels. Without
            a hole it is a copy of the image, with a logged warning.

        Raises:
            ValueError: if image or mask do not fit, or as for `inpaint_bytes`.
        """
        image, mask = np.asarray(image), np.asarray(mask)
        size = image.shape[:2]
        if image.dtype not in (np.uint8, np.uint16) or image.shape != (*size, 3):
            raise ValueError(f"image is {image.dtype} {image.shape}, not uint8 or uint16 [H, W, 3]")
        is_mask = mask.dtype == np.uint8 or mask.dtype.kind in "bf"
        if not is_mask or mask.shape not in (size, (*size, 1)):
            raise ValueError(f"mask is {mask.dtype} {mask.shape}, for an image of {image.shape}")
        hole = inpaint.hole_of(mask).reshape(*size, 1)
        if not hole.any():
            return image.copy()
        # What is to vanish from the photo need not travel: it has no influence.
        known, mask = np.where(hole, 0, image)[..., ::-1], hole.astype(np.uint8) * 255
        answer = self.inpaint_bytes(_png(known), _png(mask))
        inpainted = cv2.imdecode(np.frombuffer(answer, np.uint8), cv2.IMREAD_UNCHANGED)
        if inpainted is None or (inpainted.shape, inpainted.dtype) != (image.shape, image.dtype):
            raise ValueError(f"{self._name}: answered with something else than the photo inpainted")
        return np.where(hole, inpainted[..., ::-1], image)

    def inpaint_bytes(self, image_bytes, mask_bytes):
        """Fills the holes of one encoded photo.

        Args:
            image_bytes: what a JPEG or PNG file holds.
            mask_bytes: the same of a mask, white in the hole.

        Returns:
            What a PNG file holds: the photo inpainted, upright, with its alpha and bit depth.

        Raises:
            ValueError: if the server refuses the photo, is too slow, or is no TensorFlow Serving.
                The message is one line, here and below.
            ConnectionError: if the server is unavailable, or does not know the model.
        """
        for attempt in range(1 + self._retries):
            if attempt:
                # At random, lest all clients of a server that was away return at once.
                time.sleep(min(2 ** (attempt - 2), _LONGEST_WAIT) * random.uniform(0.5, 1))
            try:
                answer = self._send(image_bytes=image_bytes, mask_bytes=mask_bytes)
                if answer.startswith(b"\x89PNG"):
                    return answer
                code, message = "UNKNOWN", "the answer is no PNG"
            except _Refused as error:
                code, message = error.args
                if _BUSY.search(message):
                    code = "UNAVAILABLE"
            if code != "UNAVAILABLE":
                break
        kind = ConnectionError if code in ("UNAVAILABLE", "NOT_FOUND") else ValueError
        raise kind(f"{self._name}: {self._explain(code, message, 1 + attempt)}")

    def _explain(self, code, message, tries):
        message = _one_line(message) if code == "UNAVAILABLE" else _essence(message)
        about_model = code in ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION")
        if about_model and re.search(r"signature|named input", message, re.IGNORECASE):
            return f"model {self._model} is not one that export.py wrote ({message})"
        sentences = {
            "INVALID_ARGUMENT": message,
            "NOT_FOUND": f"has no model {self._model}; check --model_name and --model_version",
            "RESOURCE_EXHAUSTED": f"out of memory, or over a limit of the server's ({message})",
            "DEADLINE_EXCEEDED": f"no answer within {self._timeout:g} s, or the server's own limit;"
            " raise --timeout here or --rest_api_timeout_in_ms there, or send smaller photos",
            "UNAVAILABLE": f"unavailable, tries: {tries} ({message}); check that its"
            " model is loaded, and that this is TensorFlow Serving's port for the protocol",
        }
        return sentences.get(code, f"failed with {code} ({message})")


class _Refused(Exception):
    """No photo came back: the name of a gRPC code, and a message."""


def _rest(server, model, version, timeout):
    """Returns a function: sends the inputs of serving_default over REST, returns the output."""
    import requests

    url = server if "://" in server else f"http://{server}"
    if not re.match("https?://", url, re.IGNORECASE):
        raise ValueError(f"{_without_password(url)}: is no http or https URL")
    url = f"{url.rstrip('/')}/v1/models/{urllib.parse.quote(model, safe='')}"
    url += ":predict" if version is None else f"/versions/{version}:predict"

    def send(**files):
        inputs = {key: [{"b64": base64.b64encode(file).decode()}] for key, file in files.items()}
        body = {"inputs": inputs}
        try:
            waits = min(timeout, _LONGEST_CONNECT), timeout
            response = requests.post(url, json=body, timeout=waits, allow_redirects=False)
        except requests.RequestException as error:
            final = ValueError, requests.exceptions.SSLError  # a wrong URL is a ValueError
            code = "INVALID_ARGUMENT" if isinstance(error, final) else "UNAVAILABLE"
            code = "DEADLINE_EXCEEDED" if isinstance(error, requests.ReadTimeout) else code
            raise _Refused(code, _root(error)) from error
        code, status = response.status_code, f"{response.status_code} {response.reason}"
        try:
            answer = response.json()
            if response.ok:
                return base64.b64decode(answer["outputs"][0]["b64"], validate=True)
            message = str(answer["error"])
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            if code in (502, 503, 504):  # a proxy says it of a server that is gone
                raise _Refused("UNAVAILABLE", status) from error
            message = f"answered {status}, but not as TensorFlow Serving does; check --server"
            raise ValueError(f"{_without_password(url)}: {message}") from error
        raise _Refused(_CODES.get(code, status), message)

    return send


def _grpc(server, model, version, timeout):
    """Returns a function: sends the inputs of serving_default over gRPC, returns the output."""
    try:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
    except ImportError as error:
        raise ValueError(
            f"{error}: pip install tensorflow-serving-api grpcio, or use REST"
        ) from error
    scheme, _, address = server.rpartition("://")
    try:
        urllib.parse.urlsplit(f"//{address}").port  # noqa: B018, raises for one out of range
        if scheme.lower() not in ("", "https") or re.search("[/@]", address):
            raise ValueError("for gRPC give HOST:PORT, or https://HOST:PORT to encrypt")
    except ValueError as error:
        raise ValueError(f"{_without_password(server)}: {error}") from error
    options = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
    # `inpaint_bytes` decides when to try again, and the channel's own pauses must be over by then.
    options += [(f"grpc.{which}_reconnect_backoff_ms", 100) for which in ("initial", "max")]
    if scheme:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(), options)
    else:
        channel = grpc.insecure_channel(address, options)
    predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
    spec = {"name": model, "signature_name": "serving_default"}
    if version is not None:
        spec["version"] = {"value": version}

    def send(**files):
        inputs = {key: tf.make_tensor_proto([file]) for key, file in files.items()}
        request = predict_pb2.PredictRequest(model_spec=spec, inputs=inputs)
        try:
            outputs = predict(request, timeout=timeout).outputs
        except grpc.RpcError as error:
            code, message = error.code().name, error.details() or ""
            distrust = message.partition("CERTIFICATE_VERIFY_FAILED")[2]
            if distrust:  # trying again would not help
                code, message = "INVALID_ARGUMENT", f"certificate verify failed{distrust}"
            raise _Refused(code, message) from error
        return b"".join(outputs["inpainted_bytes"].string_val)

    return send


def _png(pixels):
    # Compression takes longer than filling a hole if it is thorough.
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _root(error):
    """What an exception of requests is about: the innermost exception that it wraps."""
    if type(error) is http.client.BadStatusLine:  # its text is whatever was sent
        return "the answer is not HTTP"
    inner = [error.__cause__, *error.args]
    innermost = next((_root(each) for each in inner if isinstance(each, Exception)), str(error))
    return _without_password(innermost)


def _without_password(text):
    """Leaves out what stands before the @ of a URL."""
    return re.sub(r"(^|//)[^/\s]*@", r"\1", text)


def _one_line(text):
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:300]


def _essence(message):
    """The sentence in an error of TensorFlow, without the graph's nodes."""
    asserted = re.search(r"(?s)assertion failed: \[(.*?)\](?=\s*(\[\[|$))", message)
    if asserted:
        return _one_line(asserted[1])
    # The sentences of TensorFlow's decoders do not say what they decoded, but the nodes' names do.
    scope = re.search(r"\b((image|mask)_bytes)(_\d+)?\b", message)
    sentence = message.split("<stack traces unavailable>")[-1].split("[[")[0]
    sentence = _one_line(re.sub(r"(?m)^.*root error.*$|^\s*\(\d+\) \w+:", "", sentence))
    return f"{scope[1]}: {sentence}" if scope and scope[1] not in sentence else sentence


def main(arguments, flags):
    """The command: positional arguments and parsed flags -> exit code."""
    given = flags.server, flags.protocol, flags.model_name, flags.model_version, flags.timeout
    return inpaint_files.fill_files(
        lambda: RemoteInpainter(*given, flags.retries), arguments, flags
    )


def run():
    """Entry point of `hifill-client`."""
    from absl import flags

    from hifill import command_line

    values = flags.FlagValues()
    inpaint_files.define_file_flags(values)
    string, integer, real, _, choice = command_line.definers(values)
    string("server", None, "HOST:PORT or https://HOST:PORT; for REST any URL.", required=True)
    choice(
        "protocol",
        "rest",
        ["rest", "grpc"],
        "grpc needs pip install tensorflow-serving-api grpcio.",
    )
    string("model_name", "hifill", "What the server calls the model.")
    integer("model_version", None, "Version of the model; not set, the latest.", lower_bound=1)
    real("timeout", 60, "Seconds that the server has for one photo.", lower_bound=0)
    integer("retries", 4, "Times to try again while the server is unavailable.", lower_bound=0)
    command_line.run(main, values, USAGE)
