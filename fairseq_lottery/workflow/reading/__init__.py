"""From the YAML file to a checked configuration; every complaint names its line."""
