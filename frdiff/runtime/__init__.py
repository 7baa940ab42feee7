"""One sampling run: the session that answers its network calls, and all that it knows meanwhile."""
