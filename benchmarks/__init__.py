"""Measurements of the running service, with the figures that the docs quote."""
