# Stands in for Redis's own image where that cannot be pulled: Debian's redis-server.

FROM docker.io/library/python:3.11-slim

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/*
VOLUME /data
WORKDIR /data
EXPOSE 6379
# Unprotected, as the official image is: only the compose file's own network sees it.
ENTRYPOINT ["sh", "-c", "exec \"$@\" --protected-mode no", "--"]
CMD ["redis-server"]
