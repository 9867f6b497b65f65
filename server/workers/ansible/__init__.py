"""Ansible plays on one machine each, and how a machine is reached."""
