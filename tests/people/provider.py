"""A small OpenID provider on loopback: discovery, keys, and the authorization code flow with PKCE (RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID = "fraud"
LIFETIME_S = 3600


class OpenIdProvider:
    """Logs in whoever `person` is, without asking; what its tokens say can be changed by `claims`."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"}, private=True, auto_kid=False)
        self.person, self.claims, self.issued_s = "ann", {}, None
        self._codes: dict[str, dict[str, str]] = {}
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def settings(self) -> dict[str, str]:
        return {"oidc_issuer": self.issuer, "oidc_client_id": CLIENT_ID}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(self, nonce: str, **changed: object) -> str:
        issued_s = int(time.time()) if self.issued_s is None else self.issued_s
        claims = {
            "iss": self.issuer,
            "sub": f"sub-{self.person}",
            "aud": CLIENT_ID,
            "iat": issued_s,
            "exp": issued_s + LIFETIME_S,
            "nonce": nonce,
            "preferred_username": self.person,
            **self.claims,
            **changed,
        }
        return jwt.encode({"alg": "RS256", "kid": "first"}, claims, self.key)

    def browse(self, url: str) -> str:
        """Follow where the provider sends it, as a person's browser does."""
        return requests.get(url, timeout=120).text

    def _answer(self, path: str, asked: Mapping[str, str]) -> tuple[int, dict[str, str], object]:
        match path:
            case "/.well-known/openid-configuration":
                names = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/jwks"}
                return 200, {}, {"issuer": self.issuer, **{name: self.issuer + at for name, at in names.items()}}
            case "/jwks":
                return 200, {}, {"keys": [self.key.as_dict(private=False)]}
            case "/authorize":
                return self._authorized(asked)
            case "/token":
                return self._exchanged(asked)
        return 404, {}, {}

    def _authorized(self, asked: Mapping[str, str]) -> tuple[int, dict[str, str], object]:
        target = urlsplit(asked["redirect_uri"])
        assert (target.scheme, target.hostname) == ("http", "127.0.0.1")
        assert (asked["client_id"], asked["code_challenge_method"]) == (CLIENT_ID, "S256")
        code = secrets.token_urlsafe()
        self._codes[code] = dict(asked)
        answer = urlencode({"code": code, "state": asked["state"], "iss": self.issuer})
        return 302, {"Location": f"{asked['redirect_uri']}?{answer}"}, {}

    def _exchanged(self, asked: Mapping[str, str]) -> tuple[int, dict[str, str], object]:
        begun = self._codes.pop(asked["code"], None)
        shown = base64.urlsafe_b64encode(hashlib.sha256(asked["code_verifier"].encode()).digest()).decode().rstrip("=")
        if begun is None or begun["code_challenge"] != shown or begun["redirect_uri"] != asked["redirect_uri"]:
            return 400, {}, {"error": "invalid_grant"}
        token = {"access_token": "none", "token_type": "Bearer", "expires_in": LIFETIME_S}
        return 200, {}, {**token, "id_token": self.token(begun["nonce"])}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                self._reply(parts.path, parts.query)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._reply(self.path, body)

            def _reply(self, path: str, query: str) -> None:
                code, headers, body = provider._answer(path, {name: each[0] for name, each in parse_qs(query).items()})
                self.send_response(code)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        return Handler
