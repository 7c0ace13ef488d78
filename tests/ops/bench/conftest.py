from tests.execute.conftest import appender, desk, executor_url

__all__ = ["appender", "desk", "executor_url"]
