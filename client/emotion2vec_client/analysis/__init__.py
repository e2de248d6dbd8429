"""Analyses of many embeddings: similarity, maps, clusters, heads for your own labels,
evaluation, and policies.

These functions take NumPy arrays; they do not talk to a server or print. Get the embeddings with
``Client.predict_many(files, embedding=True)``. ``similarity``, ``Head`` and ``Policy`` need only
NumPy, the others the packages of ``pip install './client[analysis]'``.
"""

from emotion2vec_client.analysis.errors import AnalysisError, MissingPackageError
from emotion2vec_client.analysis.head import Head
from emotion2vec_client.analysis.policy import Policy

__all__ = ["AnalysisError", "Head", "MissingPackageError", "Policy"]
