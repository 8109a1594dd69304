"""Attribute files: what to say about the pictures of a dataset, one JSON a dataset."""

from __future__ import annotations

from loreal_plugin.attributes.attribute_set import (
    SCHEMA_VERSION,
    AttributeSet,
    available_attributes,
    dataset_of,
    load_attributes,
)

__all__ = [
    "SCHEMA_VERSION",
    "AttributeSet",
    "available_attributes",
    "dataset_of",
    "load_attributes",
]
