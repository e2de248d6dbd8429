"""Inputs that no honest client sends."""
