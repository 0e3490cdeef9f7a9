"""Sends a study's fits and its verdict to TensorBoard, MLflow or Weights & Biases; nothing is loaded unasked."""
