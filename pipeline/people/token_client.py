"""ID tokens of OpenID providers: whether one proves, at a time, that a session's key is a person's.

The token's nonce is a commitment to the session's public key, so the provider's signature binds its subject to that
key, and a token that was stolen is of no use without it. Whose a subject is, an ADMIN's signed act says: what a
provider calls people may change, or be given to somebody else. The provider's key is one that an ADMIN has accepted by
a signed act, so nothing is asked of the provider, and the same answer comes years later.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Final

from authlib.oidc.core.claims import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from pipeline.people.acts import SESSION_S_MAX, Evidence
from pipeline.people.registry import KnownLogin, ProviderKey, login_id

ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
"""Signatures by a key that only the provider has; neither `none` nor an HMAC, whose key both sides know."""
LEEWAY_S: Final = 60
"""By which the provider's clock may differ from the database's."""
TOKEN_CHARACTERS_MAX: Final = 16 * 1024
RSA_BITS_MIN: Final = 2048
_DOMAIN: Final = b"fraud-session-v1\n"
_PUBLIC_MEMBERS: Final = frozenset({"kty", "kid", "alg", "use", "n", "e", "crv", "x", "y"})


class ProviderKeyRefused(Exception):
    """A key can't be a provider's; one sentence, without a full stop."""


def nonce_of(public: bytes) -> str:
    """The commitment to a session's public key that its ID token must hold."""
    return base64.urlsafe_b64encode(hashlib.sha256(_DOMAIN + public).digest()).decode().rstrip("=")


def canonical_jwk(read: Mapping[str, object]) -> str:
    """Return the public members of a provider's signing key, in one form. Raises ProviderKeyRefused."""
    if read.get("use", "sig") != "sig" or read.get("kty") not in ("RSA", "EC", "OKP"):
        raise ProviderKeyRefused("it is no public key for signatures")
    public = {name: read[name] for name in sorted(_PUBLIC_MEMBERS & read.keys())}
    text = json.dumps(public, sort_keys=True, separators=(",", ":"))
    _key(text)
    return text


def token_fault(
    evidence: Evidence,
    name: str,
    at_ms: int,
    providers: Iterable[ProviderKey],
    logins: Mapping[str, KnownLogin],
) -> str | None:
    """Return why the evidence does not prove that its key is `name`'s at that time; None where it does.

    logins: whose they are, by `login_id`. Whom the provider names doesn't count, but where the login was bound later:
    then the provider must have named this very person at the time, as whoever bound it goes by.
    """
    proven = proven_claims(evidence, at_ms, providers)
    if isinstance(proven, str):
        return proven
    claims, provider = proven
    login = logins.get(login_id(provider.issuer, str(claims["sub"])))
    if login is None:
        return "no ADMIN has bound its login to a person"
    if login.name != name:
        return "its ID token is another person's"
    if at_ms < login.bound_at_ms and not _is_named(claims, provider, name):
        return "its login was bound to that person later"
    return None


def proven_claims(
    evidence: Evidence, at_ms: int, providers: Iterable[ProviderKey]
) -> tuple[Mapping[str, object], ProviderKey] | str:
    """Return what the evidence's token says at that time about whoever has its key, and who says so; else why not."""
    found = [_proven(evidence, at_ms, provider) for provider in providers]
    if not found:
        return "no provider's key is accepted that could prove whose session it is"
    proven = next((each for each in found if not isinstance(each, str)), None)
    if proven is not None:
        return proven
    return next((each for each in found if isinstance(each, str) and each != _FALSE), _FALSE)


_FALSE: Final = "its ID token is not signed by an accepted provider"


def _proven(evidence: Evidence, at_ms: int, provider: ProviderKey) -> tuple[Mapping[str, object], ProviderKey] | str:
    at_s = at_ms // 1000
    claims = verified_claims(evidence.id_token, provider)
    if claims is None:
        return _FALSE
    wanted = {
        "iss": {"essential": True, "value": provider.issuer},
        "aud": {"essential": True, "value": provider.client_id},
        "sub": {"essential": True},
    }
    expected = {"nonce": nonce_of(evidence.public), "client_id": provider.client_id}
    try:
        CodeIDToken(claims, {}, wanted, expected).validate(at_s, LEEWAY_S)
    except JoseError as error:
        return f"its ID token does not prove it ({str(error) or type(error).__name__})"
    issued_s = claims["iat"]
    if type(issued_s) is not int or type(claims["exp"]) is not int:
        return "its ID token has no times"
    if not issued_s - LEEWAY_S <= at_s <= issued_s + SESSION_S_MAX:
        return "its login is over"
    if type(claims["sub"]) is not str:
        return "its ID token has no subject"
    return claims, provider


def _is_named(claims: Mapping[str, object], provider: ProviderKey, name: str) -> bool:
    is_verified = provider.claim != "email" or claims.get("email_verified") is True
    return claims.get(provider.claim) == name and is_verified


def verified_claims(id_token: str, provider: ProviderKey) -> dict[str, object] | None:
    """Return what a token says, where that provider has signed it; else None."""
    if len(id_token) > TOKEN_CHARACTERS_MAX:
        return None
    try:
        return dict(jwt.decode(id_token, _key(provider.jwk), algorithms=ALGORITHMS).claims)
    except (JoseError, ProviderKeyRefused, ValueError, TypeError):
        return None


def _key(jwk: str) -> RSAKey | ECKey | OKPKey:
    try:
        key = import_key(json.loads(jwk))
    except (JoseError, ValueError, TypeError, KeyError):
        raise ProviderKeyRefused("it is no key") from None
    if not isinstance(key, RSAKey | ECKey | OKPKey) or key.is_private:
        raise ProviderKeyRefused("it is no public key for signatures")
    if isinstance(key, RSAKey) and key.public_key.key_size < RSA_BITS_MIN:
        raise ProviderKeyRefused(f"it has fewer than {RSA_BITS_MIN} bits")
    return key
