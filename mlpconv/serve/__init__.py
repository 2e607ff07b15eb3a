"""Trained classifiers behind an HTTP server: a page, answers for image files, and the Open Inference Protocol."""
