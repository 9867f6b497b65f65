"""Rows that are inserted whether or not there is one with their key already."""

from server.db.dialects.sqlite import add_if_absent, replace_row

__all__ = ["add_if_absent", "replace_row"]
