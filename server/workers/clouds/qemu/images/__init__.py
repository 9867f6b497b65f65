"""Disk and memory images: template, snapshots, and how they are built and checked."""
