"""The stage of a workflow that analyzes its models."""
