"""The settings of the clouds, which :class:`server.settings.Settings` has beside the controller's own."""
