# The service without an embedded store: a container brings its own Redis (docker-compose.yml). Written for old builders too: no BuildKit frontend needed.
FROM python:3.12-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore


FROM base AS build
WORKDIR /src
# The locks come before the code: changing the code installs nothing again. The build backend lives in an environment of its own, which stays behind here.
COPY requirements.lock requirements-docker.lock ./
RUN python -m venv /backend \
 && /backend/bin/pip install --require-hashes -r requirements.lock \
 && python -m venv /opt/lastdigits \
 && /opt/lastdigits/bin/pip install --require-hashes -r requirements-docker.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
# pip compiles what it installs. It is not needed after that: what runs can then install nothing.
RUN /backend/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /dist . \
 && /opt/lastdigits/bin/pip install --no-deps /dist/*.whl \
 && /opt/lastdigits/bin/pip uninstall --yes pip \
 && /opt/lastdigits/bin/lastdigits --help >/dev/null


FROM base
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="lastdigits" \
      org.opencontainers.image.description="Self-hosted phone verification by flash call" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.12-slim-bookworm"

# Root owns the code and the service can't change it. /srv/data is for a volume with the keys that a sandbox makes for itself. The user's number is fixed, so that an orchestrator can insist on it (runAsNonRoot).
RUN groupadd --system --gid 10001 lastdigits \
 && useradd --system --uid 10001 --gid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin lastdigits \
 && install --directory --owner=10001 --group=10001 --mode=700 /srv/data
COPY --from=build /opt/lastdigits /opt/lastdigits
ENV PATH=/opt/lastdigits/bin:$PATH LASTDIGITS_HOST=0.0.0.0
WORKDIR /srv
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM

# Liveness only: /readyz also looks at Redis, which a restart of this container would not repair. http.client, since urllib would obey a proxy's variables.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-I", "-S", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(p) if (p := os.environ.get('LASTDIGITS_PORT', '')).isdigit() else 8000, timeout=3); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["lastdigits"]
CMD ["serve"]
