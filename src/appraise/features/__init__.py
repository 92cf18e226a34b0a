"""Fitted transformations, one a file."""
