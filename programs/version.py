"""The version of Cumulus: the controller's and the agent's, which are released together. Both packages are built with it."""

VERSION = "2.3.0"
