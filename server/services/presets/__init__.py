"""Presets: named forms of a user or a group, and what of them fits another version of their app."""
