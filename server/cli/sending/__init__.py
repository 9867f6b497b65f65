"""Files of this computer on their way to a controller that shares no folder with it."""
