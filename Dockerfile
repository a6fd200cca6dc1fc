# crossbus in a container: the hub alone, as a user who owns nothing but the data folder.
#
#   docker build -t crossbus .
#   docker run -p 4610:4610 -v crossbus-data:/var/lib/crossbus \
#     -e CROSSBUS_ACCESS_KEY_ID=… -e CROSSBUS_SECRET_ACCESS_KEY=… crossbus
#
# The hub file is config/docker.yaml; mount your own over /etc/crossbus/hub.yaml.

FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /build
# The packages first, so that a change to the hub's own code does not fetch them again.
COPY requirements.lock ./
RUN python -m venv /opt/crossbus \
 && /opt/crossbus/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY router ./router
# Built by the lock's flit_core: nothing else is fetched. What only builds and installs stays behind.
RUN /opt/crossbus/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/crossbus/bin/pip install --no-deps --no-index dist/*.whl \
 && /opt/crossbus/bin/pip uninstall --yes flit_core pip

FROM python:3.13-slim-bookworm
ENV PATH=/opt/crossbus/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --home-dir /var/lib/crossbus --shell /usr/sbin/nologin crossbus \
 && install --directory --owner=crossbus --group=crossbus --mode=0750 /var/lib/crossbus
COPY --from=build /opt/crossbus /opt/crossbus
COPY config/docker.yaml /etc/crossbus/hub.yaml
USER 10001
WORKDIR /var/lib/crossbus
VOLUME /var/lib/crossbus
EXPOSE 4610
# SIGTERM lets attempts in flight finish, commits, and closes: give `docker stop` more than `drain_s_max` (20 s): -t 30.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:4610/healthz', timeout=2)"]
ENTRYPOINT ["crossbus", "serve", "/etc/crossbus/hub.yaml"]
