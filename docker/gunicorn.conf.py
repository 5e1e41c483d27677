"""gunicorn's configuration for the container: what `diffsegmenter serve` uses.

gunicorn -c docker/gunicorn.conf.py
"""

from backend.settings import Settings
from backend.wsgi import server_options

wsgi_app = "backend.wsgi:app_from_environment()"
globals().update(server_options(Settings.from_env()))
