# Stands in for Label Studio's own image where that cannot be pulled: the same release
# from PyPI, under the same user number, with its data in the same place.

FROM docker.io/library/python:3.11-slim

ARG LABEL_STUDIO_VERSION
RUN python -m venv /opt/label-studio \
    && /opt/label-studio/bin/pip install --no-cache-dir label-studio==${LABEL_STUDIO_VERSION} \
    && useradd --uid 1001 --gid 0 --create-home label-studio \
    && mkdir -p /label-studio/data && chown -R 1001:0 /label-studio
ENV PATH=/opt/label-studio/bin:$PATH \
    LABEL_STUDIO_BASE_DATA_DIR=/label-studio/data \
    # What the page would ask of the internet.
    LABEL_STUDIO_COLLECT_ANALYTICS=false \
    LABEL_STUDIO_SENTRY_DSN= \
    LABEL_STUDIO_FRONTEND_SENTRY_DSN= \
    LABEL_STUDIO_LATEST_VERSION_CHECK=false
USER 1001
VOLUME /label-studio/data
EXPOSE 8080
CMD ["label-studio", "start", "--no-browser", "--internal-host", "0.0.0.0", "--port", "8080"]
