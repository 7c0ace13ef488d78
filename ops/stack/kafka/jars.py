"""The jars of Apache Kafka, resolved once by Maven from pom.xml and kept in the user's cache."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ops.stack.versions import KAFKA_VERSION

RESOLVE_TIMEOUT_S = 600  # 43 MB; 7 s where the registry is near
OUTPUT_TAIL_CHARACTERS = 1_000
_POM = Path(__file__).with_name("pom.xml")


class KafkaUnavailable(Exception):
    """Java or Maven is missing, or the jars could not be resolved."""


def kafka_jars() -> Path:
    """The folder of the jars. Raises KafkaUnavailable.

    A folder in the cache is complete: it is filled under another name and moved there in one step.
    """
    pom_digest = hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]
    jars = _cache() / f"kafka-{KAFKA_VERSION}-{pom_digest}"
    if not jars.is_dir():
        _resolve(jars)
    return jars


def java_executable() -> str:
    return _found("java", "apt-get install openjdk-17-jre-headless")


def _resolve(jars: Path) -> None:
    maven = _found("mvn", "apt-get install maven")
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent) as folder:
        filling = Path(folder) / "jars"
        _run_maven(maven, filling)
        if not jars.is_dir():  # another process may have been faster
            filling.rename(jars)


def _run_maven(maven: str, output: Path) -> None:
    command = [maven, "-B", "-q", "-f", str(_POM), "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={output}"]
    try:
        subprocess.run(  # noqa: S603 - the command is ours
            command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RESOLVE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as failure:
        raise KafkaUnavailable(f"Maven did not resolve Kafka's jars within {RESOLVE_TIMEOUT_S} s.") from failure
    except subprocess.CalledProcessError as failure:
        tail = failure.stdout[-OUTPUT_TAIL_CHARACTERS:]
        raise KafkaUnavailable(f"Maven could not resolve Kafka's jars:\n{tail}") from failure


def _found(name: str, remedy: str) -> str:
    if path := shutil.which(name):
        return path
    raise KafkaUnavailable(f"{name} is not on the PATH. Install it: {remedy}")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fraud-pipeline"
