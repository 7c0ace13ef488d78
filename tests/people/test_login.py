"""People who log in: an ID token proves a session's key, once an ADMIN has accepted its provider's."""

from __future__ import annotations

import base64
import json
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from pipeline.io.clock import now_ms
from pipeline.io.postgres import Connection, DatabaseRefused, connect
from pipeline.people.act_store import read_registry
from pipeline.people.acts import Evidence
from pipeline.people.key_files import Identity, raw
from pipeline.people.login_client import LoginFailed, Provider, discovered, log_in
from pipeline.people.registry import KnownLogin, ProviderKey, key_material, login_id, provider_key_id
from pipeline.people.roles import GrantRefusal, Role
from pipeline.people.session_files import read_session, write_session
from pipeline.people.store import bind_login, person_of, revoke_key, trust_provider
from pipeline.people.token_client import ALGORITHMS, ProviderKeyRefused, canonical_jwk, nonce_of, token_fault
from pipeline.people.verify_command import verify
from pipeline.review.cases import ReviewRefusal
from pipeline.review.desk_store import Acted, ReviewDesk
from tests.commands import Fraud
from tests.known import appoint, grant, identity, settings_of
from tests.people.provider import CLIENT_ID, LIFETIME_S, OpenIdProvider
from tests.review.given import BLOCK, HOUR_MS, RULES, SMALL
from tests.review.planted import plant
from tests.servers import url_as

NOW_S = 1_764_000_000
HOUR_S = 3600


@pytest.fixture(scope="module")
def issuer() -> Iterator[OpenIdProvider]:
    with closing(OpenIdProvider()) as provider:
        yield provider


@pytest.fixture
def provider(issuer: OpenIdProvider) -> OpenIdProvider:
    issuer.person, issuer.claims, issuer.issued_s = "ann", {}, None
    return issuer


def described(provider: OpenIdProvider) -> Provider:
    return discovered(provider.issuer, CLIENT_ID, "preferred_username")


def trust(owner: Connection, provider: OpenIdProvider) -> str:
    """By the ADMIN; the key's name."""
    [(key_id, key)] = described(provider).keys().items()
    subject = {"issuer": key.issuer, "client_id": key.client_id, "claim": key.claim, "jwk": key.jwk, "key": key_id}
    assert trust_provider(owner, subject, identity("ada")) is None
    bind(owner, provider, "ann")
    return key_id


def bind(owner: Connection, provider: OpenIdProvider, *names: str) -> None:
    """By the ADMIN, each to the subject that the provider names them by at first."""
    for name in names:
        assert bind_login(owner, name, provider.issuer, f"sub-{name}", identity("ada")) is None


def logged_in(provider: OpenIdProvider, name: str = "ann", **changed: object) -> Identity:
    """A session without the browser."""
    private = Ed25519PrivateKey.generate()
    public = raw(private.public_key())
    provider.person = name
    return Identity(name, private, Evidence(public, provider.token(nonce_of(public), **changed)))


@pytest.fixture
def desk(database_url: str, owner: Connection, provider: OpenIdProvider) -> Iterator[ReviewDesk]:
    appoint(owner, {"ben": "REVIEWER"})
    grant(owner, "ann", "REVIEWER")
    with closing(connect(url_as(database_url, "fraud_review"), "test")) as connection:
        yield ReviewDesk(connection, RULES, now_ms)


def opened(owner: Connection) -> str:
    at_ms = now_ms()
    names = {"decision_id": str(uuid4()), "transaction_id": f"tx-{uuid4()}"}
    case = SMALL._replace(**names, opened_at_ms=at_ms, expires_at_ms=at_ms + HOUR_MS)
    plant(owner, case)
    return case.decision_id


def test_a_person_logs_in_by_the_browser_and_acts(
    fraud: Fraud, desk: ReviewDesk, owner: Connection, provider: OpenIdProvider, tmp_path: Path, database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """From `fraud people trust-provider` to a decision that verifies."""
    decision_id, session = opened(owner), tmp_path / "home" / "session.json"
    visits: list[threading.Thread] = []

    def browse(url: str) -> bool:
        visits.append(threading.Thread(target=provider.browse, args=[url]))
        visits[-1].start()
        return True

    monkeypatch.setattr("webbrowser.open", browse)
    admin = {"database_url": url_as(database_url, "fraud_owner"), **settings_of(tmp_path / "people", "ada")}
    trusted = fraud("people", "trust-provider", **provider.settings, **admin)
    assert (trusted.code, provider.issuer in trusted.out) == (0, True), trusted.err
    answer = fraud("login", "--json", session_file=session)
    assert (answer.code, json.loads(answer.out)["name"]) == (0, "ann"), answer.err
    subject = json.loads(answer.out)["subject"]
    bound = fraud("people", "bind-login", "ann", subject, **provider.settings, **admin)
    assert (bound.code, "is ann's" in bound.out) == (0, True), bound.err
    assert "login of ann at" in fraud("people", "keys", **admin).out
    monkeypatch.delenv("FRAUD_IDENTITY_FILE")
    visits[0].join()
    assert stat.S_IMODE(session.stat().st_mode) == 0o600
    reviewer = {"database_url": url_as(database_url, "fraud_review")}
    assert fraud("review", "claim", decision_id, **reviewer).code == 0
    reason = "called the customer, who knows the payee"
    decided = fraud("review", "decide", decision_id, "ALLOW", "--reason", reason, **reviewer)
    assert decided.out == "Decided: ALLOW.\n", decided.err
    assert verify(owner, None).faults == []
    assert fraud("logout").code == 0
    assert not session.exists()
    assert "Nothing proves who you are" in fraud("review", "claim", decision_id, **reviewer).err


def test_a_session_of_a_provider_that_no_admin_accepted_acts_for_nobody(
    desk: ReviewDesk, owner: Connection, provider: OpenIdProvider
) -> None:
    with pytest.raises(DatabaseRefused, match="no provider's key is accepted"):
        desk.claim(opened(owner), logged_in(provider))
    key_id = trust(owner, provider)
    assert isinstance(desk.claim(opened(owner), logged_in(provider)), Acted)
    assert revoke_key(owner, key_id, "the provider was broken into", identity("ada")) is None
    with pytest.raises(DatabaseRefused):
        desk.claim(opened(owner), logged_in(provider))
    assert verify(owner, None).faults == [], "what was signed before the revocation goes on counting"


def test_a_session_does_what_its_person_may(desk: ReviewDesk, owner: Connection, provider: OpenIdProvider) -> None:
    trust(owner, provider)
    bind(owner, provider, "eve")
    assert desk.claim(opened(owner), logged_in(provider, "eve")) is ReviewRefusal.NOT_AUTHORISED
    for name in ("Ann", "ANN"):
        assert desk.claim(opened(owner), logged_in(provider, name)) is ReviewRefusal.NOT_AUTHORISED


@pytest.mark.parametrize("claim", ["preferred_username", "email"])
def test_whoever_gets_the_name_or_the_address_of_somebody_is_not_them(
    desk: ReviewDesk, owner: Connection, provider: OpenIdProvider, claim: str
) -> None:
    trust(owner, provider)
    taken_over = {"sub": "sub-newcomer", claim: "ann", "email_verified": True}
    thief = logged_in(provider, **taken_over)
    with pytest.raises(DatabaseRefused, match="no ADMIN has bound its login"):
        desk.claim(opened(owner), thief)
    assert bind_login(owner, "eve", provider.issuer, "sub-newcomer", identity("ada")) is None
    with pytest.raises(DatabaseRefused, match="another person's"):
        desk.claim(opened(owner), thief)


def test_whoever_is_called_otherwise_since_is_the_same_person(
    desk: ReviewDesk, owner: Connection, provider: OpenIdProvider
) -> None:
    trust(owner, provider)
    married = logged_in(provider, preferred_username="ann.smith", email="ann.smith@bank.example")
    assert isinstance(desk.claim(opened(owner), married), Acted)


def test_a_login_that_was_revoked_acts_for_nobody_and_voids_what_waits(
    desk: ReviewDesk, owner: Connection, provider: OpenIdProvider
) -> None:
    trust(owner, provider)
    decision_id, session = opened(owner), logged_in(provider)
    assert isinstance(desk.claim(decision_id, session), Acted)
    login = login_id(provider.issuer, "sub-ann")
    assert revoke_key(owner, login, "the account was taken over", identity("ada")) is None
    with pytest.raises(DatabaseRefused):
        desk.claim(opened(owner), logged_in(provider))
    assert isinstance(desk.claim(decision_id, identity("ben")), Acted), "her claim waits for nobody"
    assert verify(owner, None).faults == [], "what was done stays"
    for name in ("ann", "ben"):
        taken = bind_login(owner, name, provider.issuer, "sub-ann", identity("ada"))
        assert taken is GrantRefusal.LOGIN_TAKEN


def test_what_waits_on_a_providers_key_that_was_stolen_is_void(
    desk: ReviewDesk, owner: Connection, provider: OpenIdProvider
) -> None:
    """Whoever has the key has logged in as whoever they liked, before anybody noticed."""
    key_id, decision_id = trust(owner, provider), opened(owner)
    assert isinstance(desk.claim(decision_id, logged_in(provider)), Acted)
    assert revoke_key(owner, key_id, "the provider was broken into", identity("ada")) is None
    assert isinstance(desk.claim(decision_id, identity("ben")), Acted), "her claim waits for nobody"
    assert verify(owner, None).faults == [], "what was done stays"


def test_a_login_is_bound_once_by_an_admin_and_to_one_person(
    desk: ReviewDesk, owner: Connection, provider: OpenIdProvider
) -> None:
    trust(owner, provider)
    issuer, ada = provider.issuer, identity("ada")
    assert bind_login(owner, "ben", issuer, "sub-ann", ada) is GrantRefusal.LOGIN_TAKEN
    assert bind_login(owner, "ann", issuer, "sub-ann", ada) is GrantRefusal.LOGIN_TAKEN
    assert bind_login(owner, "ben", issuer, "sub-ben", identity("ben")) is GrantRefusal.NOT_AN_ADMIN
    assert bind_login(owner, "Ann", issuer, "sub-2", ada) is GrantRefusal.SPELT_OTHERWISE
    for subject in ("", " ", "a b", "s\n", "ä", "x" * 256):
        assert bind_login(owner, "ben", issuer, subject, ada) is GrantRefusal.LOGIN_MALFORMED
    assert bind_login(owner, "ann", issuer, "sub-2", ada) is None, "somebody may have two"


def test_the_same_subject_at_another_provider_is_another_login() -> None:
    assert login_id("https://a.example", "1") != login_id("https://b.example", "1")
    assert fault(signed(), logins={}) == "no ADMIN has bound its login to a person"
    elsewhere = {login_id("https://b.example", "1"): BOUND._replace(issuer="https://b.example")}
    assert fault(signed(), logins=elsewhere) == "no ADMIN has bound its login to a person"


def test_what_was_signed_before_the_login_was_bound_counts_where_the_provider_named_its_person_then() -> None:
    later = {LOGIN: BOUND._replace(bound_at_ms=NOW_S * 1000 + 1)}
    assert fault(signed(), logins=later) is None
    assert fault(signed(preferred_username="eve"), logins=later) == "its login was bound to that person later"
    assert fault(signed(preferred_username="eve")) is None, "from the binding on the name says nothing"


def test_a_stolen_token_is_of_no_use_without_the_sessions_key(
    desk: ReviewDesk, owner: Connection, provider: OpenIdProvider
) -> None:
    trust(owner, provider)
    token = logged_in(provider).evidence.id_token
    private = Ed25519PrivateKey.generate()
    for public in (raw(private.public_key()), identity("ben").public):
        thief = Identity("ann", private, Evidence(public, token))
        with pytest.raises(DatabaseRefused):
            desk.claim(opened(owner), thief)


def test_a_session_that_was_revoked_signs_nothing_more_and_voids_what_waits(
    desk: ReviewDesk, owner: Connection, provider: OpenIdProvider
) -> None:
    trust(owner, provider)
    session, decision_id = logged_in(provider), opened(owner)
    assert isinstance(desk.claim(decision_id, session), Acted)
    assert revoke_key(owner, session.key_id, "the laptop was stolen", identity("ada")) is None
    assert desk.judge(decision_id, session, BLOCK) is ReviewRefusal.NOT_AUTHORISED
    assert isinstance(desk.claim(decision_id, identity("ben")), Acted)


def test_only_an_admin_accepts_a_provider_and_a_key_that_was_revoked_never_comes_back(
    desk: ReviewDesk, owner: Connection, provider: OpenIdProvider
) -> None:
    [(key_id, key)] = described(provider).keys().items()
    subject = {"issuer": key.issuer, "client_id": key.client_id, "claim": key.claim, "jwk": key.jwk, "key": key_id}
    assert trust_provider(owner, subject, identity("ben")) is GrantRefusal.NOT_AN_ADMIN
    assert trust_provider(owner, {**subject, "issuer": "x"}, identity("ada")) is GrantRefusal.PROVIDER_MALFORMED
    assert trust_provider(owner, subject, identity("ada")) is None
    assert revoke_key(owner, key_id, "broken into", identity("ada")) is None
    assert trust_provider(owner, subject, identity("ada")) is GrantRefusal.KEY_TAKEN
    assert person_of(read_registry(owner), logged_in(provider)).name == "ann"


def test_a_providers_key_that_was_revoked_counts_under_no_other_name_either(
    desk: ReviewDesk, owner: Connection, provider: OpenIdProvider
) -> None:
    """Whoever has it has it, whatever the provider, or our settings, call it: a kid, a use, a claim."""
    trust(owner, provider)
    [key] = described(provider).keys().values()
    [(other_id, other)] = described(provider)._replace(claim="email").keys().items()
    subject = {"issuer": other.issuer, "client_id": other.client_id, "claim": other.claim, "jwk": other.jwk}
    assert trust_provider(owner, {**subject, "key": other_id}, identity("ada")) is None
    session = logged_in(provider)
    assert person_of(read_registry(owner), session).holds(Role.REVIEWER)
    assert isinstance(desk.claim(opened(owner), session), Acted)
    assert revoke_key(owner, other_id, "broken into", identity("ada")) is None
    with pytest.raises(DatabaseRefused, match="no provider's key is accepted"):
        desk.claim(opened(owner), logged_in(provider))
    renamed = json.dumps({**json.loads(key.jwk), "kid": "second"}, sort_keys=True, separators=(",", ":"))
    again = {"issuer": key.issuer, "client_id": key.client_id, "claim": key.claim, "jwk": renamed}
    key_id = provider_key_id(*again.values())
    assert trust_provider(owner, {**again, "key": key_id}, identity("ada")) is GrantRefusal.KEY_TAKEN


# Tokens, without servers.

PRIVATE = RSAKey.generate_key(2048, {"kid": "k", "use": "sig"}, private=True, auto_kid=False)
PUBLIC_JWK = canonical_jwk(PRIVATE.as_dict(private=False))
KEY = ProviderKey("https://issuer.example", CLIENT_ID, "preferred_username", PUBLIC_JWK, 0)
LOGIN = login_id(KEY.issuer, "1")
BOUND = KnownLogin("ann", KEY.issuer, "1", 0)
SESSION = raw(Ed25519PrivateKey.generate().public_key())


def claims(**changed: object) -> dict[str, object]:
    said = {
        "iss": KEY.issuer,
        "sub": "1",
        "aud": CLIENT_ID,
        "iat": NOW_S,
        "exp": NOW_S + LIFETIME_S,
        "nonce": nonce_of(SESSION),
        "preferred_username": "ann",
        **changed,
    }
    return {name: value for name, value in said.items() if value is not None}


def fault(
    token: str,
    name: str = "ann",
    at_s: int = NOW_S,
    key: ProviderKey = KEY,
    logins: Mapping[str, KnownLogin] | None = None,
) -> str | None:
    known = {LOGIN: BOUND} if logins is None else logins
    return token_fault(Evidence(SESSION, token), name, at_s * 1000, [key], known)


def signed(header: dict[str, object] | None = None, **changed: object) -> str:
    return jwt.encode(header or {"alg": "RS256", "kid": "k"}, claims(**changed), PRIVATE, algorithms=ALGORITHMS)


def test_a_token_proves_whose_session_it_is() -> None:
    assert fault(signed()) is None
    assert fault(signed(aud=[CLIENT_ID])) is None
    assert fault(signed({"alg": "PS256"})) == fault(signed()), "by any algorithm of the list"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://other.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": None},
        {"aud": [CLIENT_ID, "another"]},
        {"aud": [CLIENT_ID, "another"], "azp": "another"},
        {"azp": "another"},
        {"nonce": nonce_of(b"x" * 32)},
        {"nonce": None},
        {"nonce": ""},
        {"exp": NOW_S - HOUR_S},
        {"exp": None},
        {"exp": "never"},
        {"iat": NOW_S + HOUR_S},
        {"iat": None},
        {"iat": NOW_S - 9 * HOUR_S},
        {"nbf": NOW_S + HOUR_S},
        {"sub": "2"},
        {"sub": 1},
        {"sub": ["1"]},
        {"sub": "1 "},
        {"sub": ""},
        {"sub": None},
    ],
)
def test_a_token_that_says_anything_else_proves_nothing(changed: dict[str, object]) -> None:
    assert fault(signed(**changed)) is not None


def test_a_session_ends_with_its_token_and_at_most_eight_hours_after_the_login() -> None:
    day = signed(exp=NOW_S + 24 * HOUR_S)
    assert fault(day, at_s=NOW_S + 8 * HOUR_S) is None
    assert fault(day, at_s=NOW_S + 8 * HOUR_S + 1) == "its login is over"
    assert fault(signed(), at_s=NOW_S + LIFETIME_S + 120) is not None
    assert fault(signed(), at_s=NOW_S - 120) is not None


def unsecured() -> str:
    parts = [json.dumps(each).encode() for each in ({"alg": "none"}, claims())]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), ""])


def by_the_public_key_as_a_secret() -> str:
    secret = OctKey.import_key(PUBLIC_JWK.encode())
    return jwt.encode({"alg": "HS256", "kid": "k"}, claims(), secret)


def by_another_key_of_the_same_name() -> str:
    other = RSAKey.generate_key(2048, {"kid": "k"}, private=True, auto_kid=False)
    return jwt.encode({"alg": "RS256", "kid": "k"}, claims(), other)


def by_a_key_that_it_brings_along() -> str:
    other = RSAKey.generate_key(2048, {"kid": "k"}, private=True, auto_kid=False)
    return jwt.encode({"alg": "RS256", "jwk": other.as_dict(private=False)}, claims(), other)


def edited() -> str:
    header, payload, signature = signed().split(".")
    payload = base64.urlsafe_b64encode(json.dumps(claims(preferred_username="ann", amr=["x"])).encode()).decode()
    return ".".join([header, payload.rstrip("="), signature])


@pytest.mark.parametrize(
    "forge",
    [unsecured, by_the_public_key_as_a_secret, by_another_key_of_the_same_name, by_a_key_that_it_brings_along, edited],
)
def test_a_token_that_the_provider_did_not_sign_proves_nothing(forge: Callable[[], str]) -> None:
    assert fault(forge()) == "its ID token is not signed by an accepted provider"


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "x" * 20_000, "\x00", "é.é.é"])
def test_what_is_no_token_proves_nothing(token: str) -> None:
    assert fault(token) is not None


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {**PRIVATE.as_dict(private=False), "use": "enc"},
        {"kty": ["RSA"]},
    ],
)
def test_what_is_no_providers_key_is_not_accepted(jwk: dict[str, object]) -> None:
    with pytest.raises(ProviderKeyRefused):
        canonical_jwk(jwk)


@pytest.mark.parametrize("changed", [{"kid": "other"}, {"use": "enc"}, {"alg": "PS256"}, {"e": "Aw"}, {"n": "AA"}])
def test_a_key_is_what_it_is_made_of(changed: dict[str, str]) -> None:
    jwk = json.loads(PUBLIC_JWK)
    if "n" in changed:  # the same number behind a zero
        number = base64.urlsafe_b64decode(jwk["n"] + "==")
        changed = {"n": base64.urlsafe_b64encode(b"\0" + number).decode()}
    assert key_material(json.dumps({**jwk, **changed})) == key_material(PUBLIC_JWK)
    other = RSAKey.generate_key(2048, private=True).as_dict(private=False)
    assert key_material(json.dumps(other)) != key_material(PUBLIC_JWK)


def test_both_points_of_a_curve_with_one_x_are_one_key_and_curves_are_not() -> None:
    ec = {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "Ag"}
    assert key_material(json.dumps(ec)) == key_material(json.dumps({**ec, "y": "Aw"}))
    assert key_material(json.dumps(ec)) != key_material(json.dumps({**ec, "crv": "P-521"}))
    assert key_material(json.dumps(ec)) != key_material(json.dumps({"kty": "OKP", "crv": "Ed25519", "x": "AQ"}))


@pytest.mark.parametrize("jwk", ["", "[]", "{}", '{"kty":"RSA"}', '{"kty":"RSA","n":5}', "[" * 9_000])
def test_what_is_no_key_is_made_of_itself(jwk: str) -> None:
    assert key_material(jwk) == jwk


def test_a_private_key_is_kept_only_as_its_public_half() -> None:
    assert canonical_jwk(PRIVATE.as_dict(private=True)) == PUBLIC_JWK


def callback_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["redirect_uri"][0]


def test_an_answer_to_another_question_logs_nobody_in(provider: OpenIdProvider) -> None:
    def browse(url: str) -> None:
        provider.browse(f"{callback_of(url)}?code=stolen&state=other")

    with pytest.raises(LoginFailed, match="nobody has logged in"):
        log_in(described(provider), browse, now_ms, login_s_max=0.1)


def test_what_else_comes_to_the_callback_keeps_nobody_from_logging_in(provider: OpenIdProvider) -> None:
    """Any page may have the browser ask there, and the browser opens connections on which it says nothing."""
    silent: list[socket.socket] = []

    def browse(url: str) -> None:
        where = urlsplit(callback_of(url))
        silent.extend(socket.create_connection((str(where.hostname), where.port)) for _ in range(3))
        for query in ("", "?code=stolen&state=other", "?state=other&error=access_denied"):
            provider.browse(callback_of(url) + query)
        provider.browse(url)

    assert log_in(described(provider), browse, now_ms, login_s_max=5).name == "ann"
    for each in silent:
        each.close()


def test_a_token_for_another_session_logs_nobody_in(provider: OpenIdProvider) -> None:
    provider.claims = {"nonce": nonce_of(b"x" * 32)}
    with pytest.raises(LoginFailed, match="does not prove it"):
        log_in(described(provider), lambda url: threading.Thread(target=provider.browse, args=[url]).start(), now_ms)


@pytest.mark.parametrize("address", ["http://issuer.example", "ftp://127.0.0.1", "", "http://127.0.0.1.evil.example"])
def test_a_provider_is_asked_over_tls(address: str) -> None:
    with pytest.raises(LoginFailed, match="not asked over TLS"):
        discovered(address, CLIENT_ID, "preferred_username")


def test_a_stale_session_says_so(fraud: Fraud, provider: OpenIdProvider, tmp_path: Path) -> None:
    provider.issued_s = int(time.time()) - 2 * LIFETIME_S
    private, session = Ed25519PrivateKey.generate(), tmp_path / "session.json"
    write_session(session, "ann", private, provider.token(nonce_of(raw(private.public_key()))))
    answer = fraud("review", "claim", "tx-1", session_file=session)
    assert (answer.code, "Your login is over" in answer.err) == (2, True)
    provider.issued_s = None
    write_session(session, "ann", private, provider.token(nonce_of(raw(private.public_key()))))
    assert read_session(session).name == "ann"
