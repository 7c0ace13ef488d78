# The worker, and every other `fraud` command. Two stages: the compilers and caches of the first stay there.
FROM python:3.11.13-slim-bookworm AS build
RUN python -m venv /opt/fraud
WORKDIR /build
COPY requirements.lock .
RUN /opt/fraud/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md ./
COPY pipeline pipeline
COPY models models
COPY ops ops
COPY schemas schemas
# Nothing is resolved here: what builds the wheel comes from the lock as well.
RUN /opt/fraud/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11.13-slim-bookworm
# A number, so that an orchestrator can verify that it isn't root.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin fraud
COPY --from=build /opt/fraud /opt/fraud
COPY --chmod=0555 ops/compose/entrypoint.sh /usr/local/bin/fraud-entrypoint
ENV PATH=/opt/fraud/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/fraud
USER 10001
EXPOSE 6066
ENTRYPOINT ["fraud-entrypoint"]
CMD ["worker"]
