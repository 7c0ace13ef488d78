"""An executor that is handed its records, as its own tests have it."""

from tests.execute.conftest import appender, desk, executor_url

__all__ = ["appender", "desk", "executor_url"]
