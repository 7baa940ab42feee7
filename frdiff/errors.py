"""The one exception type whose message is meant for the user."""


class FRDiffError(ValueError):
    """Something the user can put right; the message says what happened and what to do."""
