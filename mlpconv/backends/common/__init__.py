"""What back ends share: the layers with their padding, resizing folded into a convolution, batches."""
