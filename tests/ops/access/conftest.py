from collections.abc import Iterator

import pytest

from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from tests.ops.access.kafka_acts import make_missing_topics


@pytest.fixture(scope="session")
def secure_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    """Provide Kafka with TLS, passwords and rights; no worker decides on it."""
    with RealStack(tmp_path_factory.mktemp("secure"), secure=True) as stack:
        create_topics(stack.bootstrap_servers, partitions=1, client_settings=stack.admin_options)
        make_missing_topics(stack)
        yield stack
