"""What `fraud config check` says of traces."""

from __future__ import annotations

import json
from pathlib import Path

from ops.bench.rig.collector import running_collector
from ops.processes.servers import free_port
from ops.stack.embedded import EmbeddedStack
from tests.commands import Fraud


def finding(fraud: Fraud, stack: EmbeddedStack, **settings: object) -> dict:
    servers = {"bootstrap_servers": stack.bootstrap_servers, "redis_url": stack.redis_url}
    _, out, _ = fraud("config", "check", "--json", **servers, **settings)
    [found] = [line for line in map(json.loads, out.splitlines()) if line["what"] == "traces"]
    return found


def test_without_an_endpoint_nothing_is_traced_and_nothing_is_wrong(fraud: Fraud, stack: EmbeddedStack) -> None:
    found = finding(fraud, stack)
    assert (True, "none: FRAUD_OTLP_ENDPOINT names no collector") == (found["is_ok"], found["detail"])


def test_a_collector_is_asked_and_its_answer_told(fraud: Fraud, stack: EmbeddedStack) -> None:
    with running_collector() as collector:
        headers = '{"x-tenant": "bank"}'
        found = finding(fraud, stack, otlp_endpoint=collector.address, otlp_headers=headers, trace_share="0.01")
        assert found["is_ok"], found
        assert "takes spans; 1.00% of payments are traced, a second 50 notable ones and 10 that" in found["detail"]
        assert "bank" == collector.headers["x-tenant"]
        collector.status = 401
        refused = finding(fraud, stack, otlp_endpoint=collector.address)
    assert (False, [], True) == (refused["is_ok"], collector.spans, "takes no spans" in refused["detail"])


def test_what_can_t_be_is_named_with_its_fix(fraud: Fraud, stack: EmbeddedStack, tmp_path: Path) -> None:
    away = finding(fraud, stack, otlp_endpoint=f"http://127.0.0.1:{free_port()}", otlp_timeout_s="0.5")
    assert (False, True) == (away["is_ok"], "payments are decided all the same" in away["fix"])
    lacking = finding(
        fraud, stack, otlp_endpoint="https://127.0.0.1:4318", otlp_authority_file=str(tmp_path / "ca.pem")
    )
    assert (False, True) == (lacking["is_ok"], "FRAUD_OTLP_AUTHORITY_FILE" in lacking["fix"])
    port = finding(fraud, stack, otlp_endpoint="http://127.0.0.1:99999")
    assert (False, True) == (port["is_ok"], "is no address" in port["detail"])
