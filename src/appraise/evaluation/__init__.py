"""Metrics on plain arrays, and the report made of them."""
