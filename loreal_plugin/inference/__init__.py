"""Inference: modes, series of the text features, tables, the deployed model."""
