"""Attributes from a language model, checked, and measured with the CLIP at hand
(docs/ATTRIBUTES.md).
"""
