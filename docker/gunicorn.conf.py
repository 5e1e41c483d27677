"""gunicorn's settings from ours; the same ones that `diffsegmenter serve` uses.

gunicorn -c docker/gunicorn.conf.py
"""

from backend.settings import Settings

_settings = Settings.from_env()
_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host

wsgi_app = "backend.wsgi:app_from_environment()"
bind = f"{_host}:{_settings.port}"

# One process holds one copy of the weights; threads keep /health quick while a
# prediction runs.
workers = 1
worker_class = "gthread"
threads = _settings.threads

# The application is built after the fork: CUDA does not survive one.
preload_app = False

# Label Studio gives a prediction up after 100 s; a worker is not killed before.
timeout = max(120, round(_settings.predict_budget_s) + 60)
graceful_timeout = 10

# A control socket in the home folder that nobody here uses.
control_socket_disable = True
