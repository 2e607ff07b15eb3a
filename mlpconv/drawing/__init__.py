"""Drawing: SVG, network diagrams, curves, fonts."""
