"""Inception's features from stand-ins: graphs of the same nodes, small and of the real size."""

import numpy as np
import pytest
from network_files import write_inception

from hifill.evaluation.inception_features import InceptionFeatures


@pytest.fixture
def graph(tmp_path):
    return tmp_path / "graph.pb"


def test_against_numpy(graph):
    """Pictures of the graph's own size, so that nothing is resized; several at once."""
    layers, weights = write_inception(graph)
    pictures = np.random.default_rng(1).integers(0, 256, (3, 24, 24, 3), np.uint8)
    x = (pictures.astype(float) - 128) / 128
    for i, (kernel, mean, variance, beta, gamma) in enumerate(layers):
        factor = (gamma if i > 0 else 1) / np.sqrt(variance + 0.001)
        x = np.maximum((x @ kernel - mean) * factor + beta, 0)
    expected = x.mean((1, 2))
    logits = np.exp(expected @ weights)
    inception = InceptionFeatures(graph)
    assert inception.channels == 16
    features, probabilities = inception(pictures)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(probabilities, logits / logits.sum(1, keepdims=True), rtol=1e-4)


def test_pictures_of_any_size(graph):
    """They are resized as TensorFlow 1 did: an even multiple of the size is every n-th pixel."""
    write_inception(graph)
    inception = InceptionFeatures(graph)
    picture = np.random.default_rng(1).integers(0, 256, (1, 48, 72, 3), np.uint8)
    expected = inception(np.ascontiguousarray(picture[:, ::2, ::3]))
    for value, reference in zip(inception(picture), expected, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-6)


def test_only_the_graph_of_2015_gives_fid(graph):
    """The real one's sizes; with a single one changed, a score gets another name."""
    real = {"convolutions": 94, "features": 2048, "classes": 1008, "side": 299}
    write_inception(graph, **real)
    inception = InceptionFeatures(graph)
    assert inception.original and inception.channels == 2048
    assert inception.score_name("fid") == "fid"
    for name, value in real.items():
        write_inception(graph, **(real | {name: value - 1}))
        other = InceptionFeatures(graph)
        assert not other.original, name
        assert other.score_name("fid") == f"fid_like_{other.sha256[:8]}"
    assert len(other.sha256) == 64 and other.sha256 != inception.sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read .No such file.*need classify_image_graph_def.pb"),
        (b"\xff\xd8 something else", "not a frozen graph, or truncated"),
        (b"", "a graph without ExpandDims, ResizeBilinear, pool_3, softmax/logits/MatMul"),
        (("pool_3",), "a graph without pool_3; is it Inception's"),
        (("softmax/weights",), "a graph that cannot be used as Inception's"),
    ],
)
def test_other_files(content, message, graph):
    if isinstance(content, bytes):
        graph.write_bytes(content)
    elif content:
        write_inception(graph, skip=content)
    with pytest.raises(ValueError, match=message) as caught:
        InceptionFeatures(graph)
    assert str(graph) in str(caught.value) and "\n" not in str(caught.value)


def test_pictures_are_uint8(graph):
    write_inception(graph)
    with pytest.raises(ValueError, match=r"float32 \[1, 24, 24, 3\], not uint8"):
        InceptionFeatures(graph)(np.zeros((1, 24, 24, 3), np.float32))
