# The worker, and every other `fraud` command. Two stages: the compilers and caches of the first stay there.
FROM python:3.11.13-slim-bookworm@sha256:86adf8dbadc3d6e82ee5dd2c74bec2e1c2467cdad47886280501df722372d2e1 AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/fraud && python -m venv /opt/compile
WORKDIR /build
COPY requirements.lock requirements-dev.lock ./
RUN /opt/fraud/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
RUN /opt/compile/bin/pip install --no-cache-dir --require-hashes --requirement requirements-dev.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY pipeline pipeline
COPY models models
COPY ops ops
COPY schemas schemas
# Nothing is resolved here: what builds the wheel comes from the lock as well. The hot path is compiled (ADR 0005).
RUN FRAUD_COMPILE=1 /opt/compile/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .
RUN /opt/fraud/bin/pip install --no-cache-dir --no-deps /wheel/*.whl

FROM python:3.11.13-slim-bookworm@sha256:86adf8dbadc3d6e82ee5dd2c74bec2e1c2467cdad47886280501df722372d2e1
# A number, so that an orchestrator can verify that it isn't root.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin fraud
COPY --from=build /opt/fraud /opt/fraud
# What volumes are mounted on belongs to the user that writes there, as docker-compose.yml numbers them.
RUN install --directory --owner 10002 --group 10002 /var/lib/fraud-audit
RUN install --directory --owner 10008 --group 10008 /var/lib/fraud-rail
RUN install --directory --owner 10001 --group 10001 /var/lib/fraud-feeds
RUN install --directory --owner 10012 --group 10012 /var/lib/fraud-registry
RUN install --directory --owner 10001 --group 10001 /var/lib/fraud-models
RUN install --directory --owner 10004 --group 10004 /var/lib/fraud-people
RUN install --directory --owner 10009 --group 10002 --mode 0770 /var/lib/fraud-witness
# In development all writers and readers of decisions.v1 keep their keys together; in production nobody mounts it.
RUN install --directory --owner 10001 --group 10001 --mode 0777 /var/lib/fraud-seals
ENV PATH=/opt/fraud/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/fraud
USER 10001
EXPOSE 6066
ENTRYPOINT ["fraud"]
CMD ["worker", "run"]
