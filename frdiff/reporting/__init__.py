"""What a run did: the report, the map of its steps, and how like two results are."""
