"""Making a trained student smaller: quantization-aware training, exact folding."""
