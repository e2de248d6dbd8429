"""The errors that a user of the export can cause."""


class ExportError(RuntimeError):
    """The export cannot continue; the message says why and what to do."""


class HubUnreachableError(ExportError):
    """No model hub answers and the checkpoint is not in the local cache."""
