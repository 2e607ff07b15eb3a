"""Trained classifiers for use elsewhere: each export is complete, with preprocessing and class names."""
