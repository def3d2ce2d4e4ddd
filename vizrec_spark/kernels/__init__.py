"""Pure numpy kernels that several stages share; they import nothing else of the project."""
