"""Installs HiFill: the library, and the commands hifill-inpaint and its like."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "hifill/__init__.py").read_text()).group(1)
EXTRAS = {
    "serving": ["tensorflow-serving-api>=2.21", "grpcio>=1.70"],
    "beam": ["apache-beam>=2.70", "google-crc32c>=1.6"],
    "onnx": ["tf2onnx>=1.17"],
    "demo": ["gradio>=6.0"],
    "docs": ["mkdocs>=1.6", "mkdocs-material>=9.8", "mkdocstrings[python]>=1.0", "matplotlib>=3.8"],
    "evaluation": ["PyPatchMatch>=2.0", "scikit-image>=0.24"],
}

setup(
    name="hifill",
    version=VERSION,
    description="Fills holes in photographs of any size: HiFill (CVPR 2020) in TensorFlow 2",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["hifill", "hifill.*"]),
    package_data={
        "hifill": ["demo_photos/*"],
        "hifill.weights": ["*.h5", "*.md"],
    },
    python_requires=">=3.11",
    install_requires=[
        "tensorflow>=2.21",
        "keras>=3.15",
        "h5py>=3.11",
        "numpy>=2.1",
        "pillow>=12.0",
        "opencv-python-headless>=4.10",
        "absl-py>=2.1",
        "tensorboard>=2.20",
        "tensorflow-datasets>=4.9.7",
        "importlib_resources>=6.0",  # tensorflow-datasets imports it without asking for it
        "requests>=2.31",
        "tqdm>=4.66",
    ],
    extras_require={
        **EXTRAS,
        "dev": [
            *(package for packages in EXTRAS.values() for package in packages),
            "ai-edge-litert>=2.1",
            "kubernetes-validate>=1.31",
            "onnx>=1.19",
            "onnxruntime>=1.23",
            "playwright>=1.60",
            "pyyaml>=6.0",
            "pytest>=8.0",
            "pytest-xdist>=3.6.1",
            "hypothesis>=6.100",
            "ruff>=0.9",
            "trustme>=1.2",
        ],
    },
    entry_points={
        "console_scripts": [
            "hifill-inpaint=hifill.inpaint_files:run",
            "hifill-client=hifill.client:run",
            "hifill-convert=hifill.convert:run",
            "hifill-demo=hifill.demo:run",
            "hifill-evaluate=hifill.evaluation.command:run",
            "hifill-tfrecords=hifill.write_tfrecords:run",
        ],
    },
)
