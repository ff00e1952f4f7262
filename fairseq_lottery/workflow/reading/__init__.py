"""Read and validate a YAML configuration; every error names its line."""
