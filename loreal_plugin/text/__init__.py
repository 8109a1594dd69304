"""The text path: from spliced prompts and contents to text features. Knows no host."""

from loreal_plugin.text.blocks import TextBlocks
from loreal_plugin.text.prefix import PrefixTextPath
from loreal_plugin.text.reference import ReferenceTextPath

__all__ = [
    "PrefixTextPath",
    "ReferenceTextPath",
    "TextBlocks",
]
