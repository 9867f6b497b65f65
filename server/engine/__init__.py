"""Carries jobs through their lives: the loop, and what it delegates to."""
