"""Watching what is served: live accuracy, from the prediction log and outcomes."""
