"""The environment in, one frozen `Settings` out: all that an operator decides.

The only reader of the environment. Refuses to know the model and the server.
"""

from backend.settings.environment import Settings
from backend.settings.serving import is_loopback

__all__ = ["Settings", "is_loopback"]
