"""Build and install `loreal-plugin`; a wheel carries data folders under `loreal_plugin/bundle/`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
BUNDLED = ("configs", "scripts/loreal", "attributes", "trainers", "hosts/embedded")

# scripts/lowest_versions.sh runs the tests with the lowest of each
REQUIRED = [
    "torch>=2.5",
    "torchvision>=0.20",
    "numpy>=1.23.5",
    "pillow>=9.1",
    "safetensors>=0.3.1",
    "yacs>=0.1.8",
    "pyyaml>=6.0",
    "tqdm>=4.62",
    "clip-anytorch==2.6.0",
    # what clip-anytorch takes from pkg_resources, which setuptools 82 dropped
    "packaging>=21.0",
    "ftfy>=6.0.3",
    "regex>=2022.1.18",
    "scipy>=1.8",
    "scikit-learn>=1.1",
    "tabulate>=0.8.9",
    "tensorboard>=2.12",
    "filelock>=3.12",
    "psutil>=5.9",
    "matplotlib>=3.6",
]
EXTRAS = {
    "test": [
        "pytest",
        "pytest-xdist",
        "pytest-timeout",
        "pytest-httpserver",
        "openai",
        "ruff",
        "mypy",
        "build",
        "wheel",
        "jinja2",
        "submitit",
        "onnx",
        "onnxruntime",
        "onnxscript",
        "jsonschema",
    ],
    # a device needs no more than these and `pip install --no-deps loreal-plugin`
    "edge": ["numpy", "pillow", "onnxruntime"],
    # torch 2.5 cannot export MMA
    "export": ["torch>=2.6", "onnx", "onnxruntime", "onnxscript"],
    # `loreal export --format litert`; a device needs ai-edge-litert, numpy and pillow of it
    "litert": ["litert-torch", "ai-edge-litert"],
    "report": ["jinja2"],
    "slurm": ["submitit"],
    "llm": ["openai"],
    # `loreal pack --push`
    "hub": ["huggingface_hub"],
    # videos and cameras in `loreal predict`
    "video": ["opencv-python-headless"],
    # the documentation site: mkdocs build
    "docs": ["mkdocs-material>=9.5"],
    # tests open adapted CLIP files with the libraries whose layout they have
    "clip-formats": ["transformers", "open_clip_torch"],
    # what the original Dassl imports beyond our own needs
    "hosts": ["gdown"],
}


def version() -> str:
    """Return `__version__` of the package without importing it."""
    text = (ROOT / "loreal_plugin" / "version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


class BuildWithBundle(build_py):
    """Put the data folders of the checkout into the wheel; `loreal_plugin.paths` finds them."""

    def run(self) -> None:
        """Build the package, then copy the folders; an editable install needs no copy."""
        super().run()
        if getattr(self, "editable_mode", False):
            return
        bundle = Path(self.build_lib) / "loreal_plugin" / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        for folder in BUNDLED:
            shutil.copytree(
                ROOT / folder,
                bundle / folder,
                ignore=shutil.ignore_patterns("__pycache__", "*.py[cod]", ".*"),
            )


setup(
    name="loreal-plugin",
    version=version(),
    description="LOREAL, low-resolution prompt learning, as a plug-in for CoOp-family code bases",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The LOREAL plug-in authors",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(
        include=["loreal_plugin", "loreal_plugin.*"], exclude=["loreal_plugin.bundle*"]
    ),
    package_data={
        "loreal_plugin": [
            "py.typed",
            "**/*.safetensors",
            "**/*.json",
            "**/*.npz",
            "**/*.txt",
            "**/*.yaml",
            "export/web/*",
        ]
    },
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["loreal = loreal_plugin.cli:entry"]},
    cmdclass={"build_py": BuildWithBundle},
)
