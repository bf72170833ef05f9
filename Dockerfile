# One image for API and worker. Without a network: bring base image and wheels beforehand (docs/DEPLOYMENT.md).
#   docker build -t autoscorer .
#   docker build -t autoscorer --network none --build-arg BASE_IMAGE=registry.example/python:3.11 .
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /build
RUN python3 -m venv /opt/autoscorer
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
# Wheels that lie in `wheels/` are taken instead of the package index, and nothing else is then asked.
COPY wheel[s] ./wheels
RUN if ls wheels/*.whl >/dev/null 2>&1; then \
      set -- --no-index --find-links wheels; \
    fi; \
    /opt/autoscorer/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt "$@" '.[all]'

FROM ${BASE_IMAGE}
# The local backend's sandbox and the file systems that cap a container's output; a base image may have them.
RUN if ! command -v bwrap >/dev/null || ! command -v mke2fs >/dev/null; then \
      apt-get update -qq \
      && apt-get install -y -qq --no-install-recommends bubblewrap e2fsprogs mount \
      && rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=build /opt/autoscorer /opt/autoscorer
ENV PATH=/opt/autoscorer/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/app/data \
    LOG_DIR=/app/logs \
    API_HOST=0.0.0.0
RUN groupadd --system --gid 10001 autoscorer \
    && useradd --system --uid 10001 --gid autoscorer --home-dir /app --no-create-home autoscorer \
    && install -d -o autoscorer -g autoscorer -m 0750 /app /app/data /app/logs
WORKDIR /app
USER autoscorer
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["autoscorer", "serve"]
