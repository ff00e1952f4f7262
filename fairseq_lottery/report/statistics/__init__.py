"""Tests of differences between techniques."""
