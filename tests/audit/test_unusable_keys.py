"""What an auditor is told who names a wrong file as the key set or as an authority's certificates."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.verifier.keys import read_keys

FILES = {
    "empty": (b"", "it is no JSON"),
    "bytes": (b"\xff\xfe\x00", "it is no JSON"),
    "nested": (b"[" * 200_000, "it is no JSON"),
    "list": (b"[]", "it is no JSON object"),
    "object": (b"{}", "it lacks 'kind'"),
    "other": (b'{"kind": "other"}', "it is of another kind"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_key_set_is_refused_in_words(name: str, tmp_path: Path) -> None:
    content, why = FILES[name]
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no key set") as refused:
        read_keys(path)
    assert f"{path} is no key set ({why})" == str(refused.value)


def test_certificates_that_are_none_are_named(tmp_path: Path) -> None:
    pytest.importorskip("rfc3161_client")
    from ops.verifier.timestamps import time_of_authority

    path = tmp_path / "authority.pem"
    path.write_bytes(b"no certificate")
    with pytest.raises(ValueError, match=r"authority\.pem holds no certificates in PEM"):
        time_of_authority(path)
