"""What can go wrong that a caller should read as one line."""


class ExportError(Exception):
    """An export that can't be done, or that was not good enough to be kept. The message names the source."""
