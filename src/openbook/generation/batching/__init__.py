"""Continuous batching: requests of many clients join and leave one batch between steps."""
