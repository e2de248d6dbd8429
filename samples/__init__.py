"""Recordings, and the script that makes them."""
