"""The web page and the REST endpoint on port 7860, in front of Triton."""
