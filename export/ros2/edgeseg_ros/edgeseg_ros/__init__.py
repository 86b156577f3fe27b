"""Semantic segmentation of a camera topic, on an edgeseg bundle."""
