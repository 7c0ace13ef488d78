import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

import pytest

from pipeline.io.avro.schema_files import SCHEMAS, releases
from pipeline.io.avro.wire import Framing, WireFormat
from tests.records import PAYMENT


class Registry(BaseHTTPRequestHandler):
    """A server that answers as the Confluent schema registry does: a schema keeps its id under its subject."""

    ids: dict[str, int]
    seen: list[tuple[str, str | None]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, self.headers.get("Authorization")))
        assert body["schemaType"] == "AVRO"
        if "refused" in self.path:
            self._answer(409, {"error_code": 409, "message": "incompatible"})
        else:
            schema_id = self.ids.setdefault(self.path + body["schema"], 100 + len(self.ids))
            self._answer(200, {"id": schema_id, "guid": str(UUID(int=schema_id))})

    def log_message(self, *_parts: object) -> None:
        pass

    def _answer(self, status: int, fields: dict[str, object]) -> None:
        body = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[str]:
    Registry.ids, Registry.seen = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_ids_are_printed_as_the_setting_that_pins_them(fraud, registry):
    answer = fraud("schemas", "register", "--registry", f"http://{registry}")
    assert answer.code == 0
    setting = answer.out.splitlines()[-1]
    assert setting.startswith("FRAUD_CONFLUENT_IDS='")
    ids = json.loads(setting.removeprefix("FRAUD_CONFLUENT_IDS='").removesuffix("'"))
    assert set(ids) == {f"{name}/{number}" for name in SCHEMAS for number in releases(name)}
    assert all(isinstance(each, int) and UUID(guid) for each, guid in ids.values())
    wire = WireFormat(Framing.CONFLUENT, ids)
    assert wire.decode_transaction(wire.encode_transaction(PAYMENT)).transaction == PAYMENT


def test_registering_again_gives_the_same_ids(fraud, registry):
    first = fraud("schemas", "register", "--registry", f"http://{registry}", "--json")
    assert fraud("schemas", "register", "--registry", f"http://{registry}", "--json") == first


def test_subjects_are_the_topics_values_and_a_password_is_sent(fraud, registry):
    fraud("schemas", "register", "--registry", f"http://me:secret@{registry}/base", topic_prefix="eu.")
    paths = [path for path, _ in Registry.seen]
    assert "/base/subjects/eu.transactions.v1-value/versions" in paths
    assert {authorization for _, authorization in Registry.seen} == {"Basic bWU6c2VjcmV0"}


def test_a_refusal_is_passed_on(fraud, registry):
    answer = fraud("schemas", "register", "--registry", f"http://{registry}", topic_prefix="refused.")
    assert answer.code == 2
    assert "incompatible" in answer.err
