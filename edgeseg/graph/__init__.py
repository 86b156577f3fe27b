"""From a trained network to the graphs of a bundle: deployable form, ONNX, passes, parity."""
