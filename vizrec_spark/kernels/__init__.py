"""Kernels that several stages share, pure numpy but for Keras' import; of the project they import errors alone."""
