"""Answers for steps that are not computed: forecasts of outputs, and the repair of what they missed."""
