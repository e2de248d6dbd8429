"""What many embeddings show together: similarity, maps, clusters, and heads for own labels.

Functions over NumPy arrays; none of them talks to a server or prints. Get the embeddings with
``Client.predict_many(files, embedding=True)``. Needs the extra packages of
``pip install './client[analysis]'``, but for ``similarity`` and ``Head``, which need only
NumPy.
"""

from emotion2vec_client.analysis.errors import AnalysisError, MissingPackageError
from emotion2vec_client.analysis.head import Head

__all__ = ["AnalysisError", "Head", "MissingPackageError"]
