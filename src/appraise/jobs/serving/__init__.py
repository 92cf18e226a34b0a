"""Serving registered models over REST, by one process or several."""
