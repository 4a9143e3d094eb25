"""Fills the holes of photos in TFRecords with Apache Beam and an exported SavedModel.

    python beam_inpaint.py --input='records/*.tfrecord' --model=DIR/hifill/1 --output=filled/part

Each record is a tf.train.Example with the features `image` and `mask`, encoded files (JPEG or PNG).
The results go to filled/part-00000-of-0000N.tfrecord: the same Examples, with the feature
`inpainted`, a PNG, in place of `image` and `mask`. All other features stay. A record that cannot be
filled goes to filled/part_failed-... as it came, with its message in the feature `error`.

Other flags are Beam's: --runner, for example.
"""

import argparse
import re

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.tfrecordio import ReadFromTFRecord, WriteToTFRecord
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
from apache_beam.options.pipeline_options import PipelineOptions


class InpaintHandler(ModelHandler):
    """From serialized Examples to PNG files."""

    def __init__(self, model):
        # Photos differ in size, so that a larger batch gains nothing, and one that fails would
        # fail the rest. One model for all processes of a machine, since each fill uses all cores.
        super().__init__(min_batch_size=1, max_batch_size=1, large_model=True)
        self._model = model

    def load_model(self):
        return SavedModel(self._model)

    def run_inference(self, batch, model, inference_args=None):
        for record in batch:
            yield PredictionResult(record, model.fill(record))


class SavedModel:
    def __init__(self, folder):
        import tensorflow as tf  # where the work is done, not where the pipeline is built

        self._signature = tf.saved_model.load(folder).signatures["serving_default"]

    def fill(self, record):
        import tensorflow as tf

        features = parse(record).features.feature
        files = {}
        for name in ("image", "mask"):
            values = features[name].bytes_list.value
            if len(values) != 1:
                raise ValueError(f"the feature {name} holds {len(values)} byte strings, not 1")
            files[f"{name}_bytes"] = tf.constant(values)
        try:
            return self._signature(**files)["inpainted_bytes"].numpy()[0]
        except tf.errors.InvalidArgumentError as error:  # this record's fault, and nobody else's
            raise ValueError(explanation(error.message)) from None


def explanation(message):
    """The sentence in an error of the graph. Only nodes' names say which file is truncated."""
    sentence, *nodes = message.split("<stack traces unavailable>")[-1].split("[[")
    sentence = re.sub(r"^assertion failed: \[(.*)\]$", r"\1", " ".join(sentence.split()))
    node = re.search("/(image|mask)_bytes", nodes[0] if nodes else "")
    return f"{node[1]}: {sentence}" if node and "_bytes" not in sentence else sentence


def parse(record):
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return tf.train.Example.FromString(record)
    except DecodeError:
        raise ValueError("the record is no tf.train.Example") from None


def with_result(prediction):
    example = parse(prediction.example)
    features = example.features.feature
    del features["image"], features["mask"]
    features["inpainted"].bytes_list.value.append(prediction.inference)
    return example.SerializeToString()


def with_error(failed):
    (record,), (_, _, traceback) = failed
    error = traceback[-1].strip().removeprefix("ValueError: ")
    try:
        example = parse(record)
    except ValueError:
        example = parse(b"")
        example.features.feature["record"].bytes_list.value.append(record)
    example.features.feature["error"].bytes_list.value.append(error.encode())
    return example.SerializeToString()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True, help="glob of TFRecord files")
    parser.add_argument("--model", required=True, help="folder of one version of the SavedModel")
    parser.add_argument("--output", required=True, help="how the names of the files written begin")
    flags, rest = parser.parse_known_args()
    (earlier,) = FileSystems.match([f"{flags.output}*.tfrecord"], [1])
    if earlier.metadata_list:
        parser.error(f"{earlier.metadata_list[0].path}: holds earlier results; name another output")
    with beam.Pipeline(options=PipelineOptions(rest)) as pipeline:
        filled, faults = (
            pipeline
            | "Read" >> ReadFromTFRecord(flags.input)
            | "Spread" >> beam.Reshuffle()  # or one worker would do a whole file
            | "Fill"
            # Anything but a ValueError, lack of memory for example, is left to the runner: it tries
            # again, or gives up.
            >> RunInference(InpaintHandler(flags.model)).with_exception_handling(
                exc_class=ValueError
            )
        )
        for name, records in (
            ("", filled | "Results" >> beam.Map(with_result)),
            ("_failed", faults.failed_inferences | "Failures" >> beam.Map(with_error)),
        ):
            writer = WriteToTFRecord(f"{flags.output}{name}", file_name_suffix=".tfrecord")
            records | f"Write{name}" >> writer


if __name__ == "__main__":
    main()
