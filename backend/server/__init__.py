"""HTTP in, HTTP out: what Label Studio and browsers ask for.

Routes and status codes, gunicorn's options, background work. Refuses to know how a
prediction is made. `label_studio_ml.py`, for those who keep that launcher, is apart: it
imports a library that need not be installed.
"""

from backend.server.wsgi import build_app, server_options

__all__ = ["build_app", "server_options"]
