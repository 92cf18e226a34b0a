"""Kafka: price requests in, predictions out, feature events into the store.

Only this package knows the client library.
"""
