"""The executor's side of a comparison, as its own tests have it."""

from tests.execute.conftest import appender, executor_url

__all__ = ["appender", "executor_url"]
