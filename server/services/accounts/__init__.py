"""Accounts: who somebody is, what they may do, and what the audit says of it. Below HTTP."""
