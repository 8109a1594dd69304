"""Attributes from a language model, checked and measured with CLIP (docs/ATTRIBUTES.md)."""
