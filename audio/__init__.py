"""Audio files to what the encoder reads: decoded, limited, cut, laid out. Used by both models."""
