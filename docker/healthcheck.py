"""Exit with 0 when the backend in this container answers, for HEALTHCHECK.

Reads HOST and PORT directly: importing the settings would cost a second of CPU
time every few seconds.
"""

import os
import sys
import urllib.error
import urllib.request

_TIMEOUT_S = 4


def main() -> int:
    """Ask `/health` once."""
    host = os.environ.get("HOST", "127.0.0.1")
    # Listening on every address includes loopback, which always answers here.
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    url = f"http://{host}:{os.environ.get('PORT', '9090')}/health"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):
            return 0
    except urllib.error.HTTPError as answer:
        # With BASIC_AUTH_USER set, a stranger is refused by a healthy server.
        return 0 if answer.code == 401 else 1
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
