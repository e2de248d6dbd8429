"""The error that the server's users can cause."""


class ServerError(RuntimeError):
    """Triton cannot start or has ended; the message says why and what to do."""
