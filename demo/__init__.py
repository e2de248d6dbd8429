"""Trains the demonstration model on Emo-DB, and judges it on speakers that it never heard."""
