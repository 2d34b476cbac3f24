"""postpost-monitor: finds out first when a PostPost connection breaks or its token nears its end."""

__version__ = "0.1.0"
