"""The jars of Apache Kafka, which Maven resolves once from pom.xml: 43 MB, and 7 s where the registry is near."""

import shutil
from pathlib import Path

from ops.stack.maven import MavenFailed, kept
from ops.stack.versions import KAFKA_VERSION

_POM = Path(__file__).with_name("pom.xml")


class KafkaUnavailable(Exception):
    """Java or Maven is missing, or the jars could not be resolved."""


def kafka_jars() -> Path:
    """Return the folder of the jars. Raises KafkaUnavailable."""
    try:
        return kept(f"kafka-{KAFKA_VERSION}", _POM, ["dependency:copy-dependencies", "-DincludeScope=runtime"])
    except MavenFailed as failure:
        raise KafkaUnavailable(str(failure)) from failure


def java_executable() -> str:
    if path := shutil.which("java"):
        return path
    raise KafkaUnavailable("java is not on the PATH. Install it: apt-get install openjdk-17-jre-headless")
