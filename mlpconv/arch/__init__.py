"""Networks as data: layers, blocks, networks, their shapes, costs and diagrams. No framework in it."""
