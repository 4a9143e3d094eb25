"""Generated silhouettes are varied, cropped and the same for the same seed."""

import numpy as np

from hifill import silhouettes


def test_generated_templates_are_varied_cropped_and_repeatable():
    shapes = silhouettes.generated_templates(np.random.default_rng(1), 30)
    again = silhouettes.generated_templates(np.random.default_rng(1), 30)
    assert len(shapes) == 30
    assert len({shape.tobytes() for shape in shapes}) == 30
    for shape, twin in zip(shapes, again, strict=True):
        np.testing.assert_array_equal(shape, twin)
        assert shape.dtype == np.uint8
        assert set(np.unique(shape)) <= {0, 1}
        assert max(shape.shape) <= 512
        assert 0.08 < shape.mean() < 1.0
        assert shape[0].any() and shape[-1].any() and shape[:, 0].any() and shape[:, -1].any()
