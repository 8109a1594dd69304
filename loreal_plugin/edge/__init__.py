"""A package on a device: reading, checking and running it with numpy, pillow and onnxruntime.

A package with a LiteRT encoder has ai-edge-litert in the place of onnxruntime. Nothing here needs
torch, and nothing else of `loreal_plugin` but its errors and its reader of pictures is imported.

    from loreal_plugin.edge import Package

    model = Package.open("package")
    for best in model.predict(["a.jpg", "b.jpg"], top=3):
        print(best[0].classname, best[0].probability)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loreal_plugin.edge.package import Answer, Package

__all__ = ["Answer", "Package"]


def __getattr__(name: str) -> Any:
    """Return a public name, imported now: the command line says what is not installed."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from loreal_plugin.edge import package

    return getattr(package, name)
