"""`fraud login`: the authorization code flow with PKCE, over a redirect to this machine's loopback (RFC 8252).

The session's key is made here and never leaves; its commitment goes along as the nonce.
"""

from __future__ import annotations

import contextlib
import json
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.people.acts import Evidence
from pipeline.people.key_files import raw
from pipeline.people.registry import ProviderKey, provider_key_id
from pipeline.people.roles import is_name
from pipeline.people.token_client import ProviderKeyRefused, canonical_jwk, nonce_of, proven_claims

TIMEOUT_S: Final = 10.0
LOGIN_S_MAX: Final = 300.0
"""Time that a person has to log in."""
REQUEST_S: Final = 10.0
"""Time that a connection to the callback has to say something."""
ANSWERS_MAX: Final = 16
"""Answers that wait to be looked at; what is nobody's here is looked at within a moment."""
ANSWER_BYTES_MAX: Final = 256 * 1024
KEYS_MAX: Final = 32
LOOPBACK: Final = "127.0.0.1"
CALLBACK: Final = "/callback"
SCOPE: Final = "openid profile email"


class LoginFailed(Exception):
    """The provider, or the person, did not log anybody in; one sentence, without a full stop."""


class Provider(NamedTuple):
    """An OpenID provider as it describes itself, and the claim of its tokens that says how it calls a person."""

    issuer: str
    client_id: str
    claim: str
    authorization_endpoint: str
    token_endpoint: str
    jwks: tuple[str, ...]

    def keys(self) -> dict[str, ProviderKey]:
        """Its present keys for signatures, by what they are named."""
        named = (self.issuer, self.client_id, self.claim)
        return {provider_key_id(*named, jwk): ProviderKey(*named, jwk, 0) for jwk in self.jwks}


class Login(NamedTuple):
    """subject: the provider's own, unchanging name for whoever has logged in."""

    name: str
    private: Ed25519PrivateKey
    id_token: str
    subject: str


def discovered(issuer: str, client_id: str, claim: str) -> Provider:
    """Ask a provider what it is. Raises LoginFailed."""
    _require_secure(issuer)
    found = _fetched(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if found.get("issuer") != issuer:
        raise LoginFailed(f"{issuer} says that it is another issuer")
    endpoints = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
    authorization, token, jwks_uri = (_text(each, issuer) for each in endpoints)
    for url in (authorization, token, jwks_uri):
        _require_secure(url)
    keys = _fetched(jwks_uri).get("keys")
    if not isinstance(keys, list) or len(keys) > KEYS_MAX:
        raise LoginFailed(f"{issuer} shows no keys")
    jwks = tuple(jwk for each in keys if (jwk := _jwk(each)) is not None)
    return Provider(issuer, client_id, claim, authorization, token, jwks)


def log_in(
    provider: Provider,
    show: Callable[[str], None],
    now_ms: Callable[[], int],
    name: str | None = None,
    login_s_max: float = LOGIN_S_MAX,
) -> Login:
    """Have a person log in at the address that is shown. Raises LoginFailed.

    name: of the person here; None takes what the provider calls them. Whoever proves an act asks whose the login is.
    """
    private = Ed25519PrivateKey.generate()
    public, verifier = raw(private.public_key()), secrets.token_urlsafe(64)
    with _Callback() as callback:
        session = OAuth2Session(
            provider.client_id, scope=SCOPE, redirect_uri=callback.address, code_challenge_method="S256"
        )
        url, state = session.create_authorization_url(
            provider.authorization_endpoint, code_verifier=verifier, nonce=nonce_of(public), prompt="login"
        )
        show(url)
        answer = callback.awaited(state, login_s_max)
        if "iss" in answer and answer["iss"] != provider.issuer:
            raise LoginFailed("another provider than the one that was asked has answered")
        try:
            token = session.fetch_token(
                provider.token_endpoint,
                grant_type="authorization_code",
                code=answer["code"],
                code_verifier=verifier,
                timeout=TIMEOUT_S,
            )
        except (AuthlibBaseError, requests.RequestException, ValueError) as error:
            raise LoginFailed(f"the provider gave no token ({type(error).__name__})") from error
    return _proved(provider, private, token.get("id_token"), now_ms(), name)


def _proved(provider: Provider, private: Ed25519PrivateKey, id_token: object, at_ms: int, name: str | None) -> Login:
    if not isinstance(id_token, str):
        raise LoginFailed("the provider gave no ID token")
    proven = proven_claims(Evidence(raw(private.public_key()), id_token), at_ms, list(provider.keys().values()))
    if isinstance(proven, str):
        raise LoginFailed(proven)
    claims, _ = proven
    called = claims.get(provider.claim) if name is None else name
    if not isinstance(called, str) or not is_name(called):
        raise LoginFailed(f"the ID token has no {provider.claim} that is a name here; say --as NAME")
    return Login(called, private, id_token, str(claims["sub"]))


class _Callback:
    """Takes the provider's answer on a port of this machine's loopback.

    Each connection has a thread: browsers open some in advance and send nothing on them, and the answer comes on
    another.
    """

    def __init__(self) -> None:
        self._answers: queue.Queue[dict[str, str]] = queue.Queue(ANSWERS_MAX)
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_port}{CALLBACK}"

    def __enter__(self) -> _Callback:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def awaited(self, state: str, login_s_max: float) -> Mapping[str, str]:
        """Return the first answer with this state; others are of somebody else. Raises LoginFailed."""
        until = time.monotonic() + login_s_max
        while True:
            try:
                answer = self._answers.get(timeout=max(until - time.monotonic(), 0.0))
            except queue.Empty:
                raise LoginFailed(f"nobody has logged in within {login_s_max:.0f} s") from None
            if secrets.compare_digest(answer.get("state", "").encode(), state.encode()):
                break
        if "code" not in answer:
            raise LoginFailed("the provider has logged nobody in")
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        callback = self

        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_S

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if parts.path == CALLBACK:
                    with contextlib.suppress(queue.Full):
                        found = {name: each[0] for name, each in parse_qs(parts.query).items()}
                        callback._answers.put(found, timeout=REQUEST_S)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.end_headers()
                self.wfile.write(b"You may close this page and go back to the command.\n")

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: the request's line holds the code."""

        return Handler


def _fetched(url: str) -> Mapping[str, object]:
    try:
        with requests.get(url, timeout=TIMEOUT_S, allow_redirects=False, stream=True) as answer:
            body = answer.raw.read(ANSWER_BYTES_MAX + 1, decode_content=True)
            if answer.status_code != requests.codes.ok or len(body) > ANSWER_BYTES_MAX:
                raise LoginFailed(f"{url} answers {answer.status_code}")
            found = json.loads(body)
    except (requests.RequestException, ValueError) as error:
        raise LoginFailed(f"{url} does not answer as it should ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise LoginFailed(f"{url} does not answer as it should")
    return found


def _require_secure(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname == LOOPBACK):
        raise LoginFailed(f"{url} is not asked over TLS")


def _text(value: object, issuer: str) -> str:
    if not isinstance(value, str):
        raise LoginFailed(f"{issuer} does not say where it is asked")
    return value


def _jwk(read: object) -> str | None:
    """None of a key that is not for signatures."""
    try:
        return canonical_jwk(read) if isinstance(read, dict) else None
    except ProviderKeyRefused:
        return None
