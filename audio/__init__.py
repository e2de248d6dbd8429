"""Turns audio files into the encoder's input. The models and the export share this package."""
