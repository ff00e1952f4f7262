"""Figures of quantities, a module for each kind."""
