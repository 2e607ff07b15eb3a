"""Drawing: network diagrams, charts of training curves, images in pages, and fonts."""
