"""The rail's HTTP interface: bulk transfers, recalls and queries, each with idempotency keys.

POST /v1/transfers        [[key, debtor, creditor, currency, amount_minor], …]  → {key: ACCEPTED | REFUSED | OTHERWISE}
POST /v1/transfers/query  [key, …]                                            → {key: ACCEPTED | … | UNKNOWN}
POST /v1/recalls          [[key, transfer_key, amount_minor], …]  → {key: RECALLED | REFUSED | UNKNOWN | OTHERWISE}
POST /v1/recalls/query    [key, …]                                            → {key: RECALLED | REFUSED | UNKNOWN}
POST /v1/lookup           [key, …]  → {key: null | [status, debtor, creditor, currency, amount_minor] of a transfer
                                           | [status, transfer_key, amount_minor] of a recall}
GET  /v1/statement        one currency's: ops.rail.statement.Asked has the query's names
GET  /v1/books            counts, what is out in each currency, refused duplicates
GET  /v1/entries          one line for each transfer: what it was and where it stands
GET  /live
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web

from ops.rail.books import KEY_CHARACTERS_MAX, Books, Recall, Status, Transfer
from ops.rail.misbehaviour import Misbehaviour, Whim, Whims
from ops.rail.statement import Asked, statement

TRANSFERS_MAX: Final = 10_000
REQUEST_BYTES_MAX: Final = 4 * 1024 * 1024

T = TypeVar("T")


class Rail:
    def __init__(self, books: Books, misbehaviour: Misbehaviour) -> None:
        self._books, self._misbehaviour, self._whims = books, misbehaviour, Whims(misbehaviour)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=REQUEST_BYTES_MAX)
        application.add_routes(
            [
                web.post("/v1/transfers", self.transfers),
                web.post("/v1/transfers/query", self.query),
                web.post("/v1/recalls", self.recalls),
                web.post("/v1/recalls/query", self.query_recalls),
                web.post("/v1/lookup", self.look_up),
                web.get("/v1/statement", self.statement),
                web.get("/v1/books", self.books),
                web.get("/v1/entries", self.entries),
                web.get("/live", self.live),
            ]
        )
        return application

    async def transfers(self, request: web.Request) -> web.StreamResponse:
        return await self._carry_out(request, _transfers(await request.read()), self._pay)

    async def recalls(self, request: web.Request) -> web.StreamResponse:
        return await self._carry_out(request, _recalls(await request.read()), self._recall)

    async def query(self, request: web.Request) -> web.StreamResponse:
        return await self._carry_out(request, _keys(await request.read()), self._status)

    async def query_recalls(self, request: web.Request) -> web.StreamResponse:
        return await self._carry_out(request, _keys(await request.read()), self._recall_status)

    async def look_up(self, request: web.Request) -> web.StreamResponse:
        return await self._carry_out(request, _keys(await request.read()), self._found)

    async def statement(self, request: web.Request) -> web.Response:
        """One currency's, as the query says: currency, sequence, opening_minor, since_ms, until_ms, format."""
        try:
            asked = Asked.of(request.query)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.Response(body=b"".join(statement(self._books, asked)), content_type="application/octet-stream")

    async def books(self, _request: web.Request) -> web.Response:
        return web.json_response(body=orjson.dumps(self._books.summary()))

    async def entries(self, _request: web.Request) -> web.Response:
        lines = [orjson.dumps([*entry.transfer, entry.status, entry.recalled_minor]) for entry in self._books.entries()]
        return web.Response(body=b"\n".join(lines), content_type="application/x-ndjson")

    async def live(self, _request: web.Request) -> web.Response:
        return web.Response(text="live")

    async def _carry_out(
        self, request: web.Request, asked: Sequence[T], act: Callable[[T], tuple[str, object]]
    ) -> web.StreamResponse:
        whim = self._whims.next()
        await asyncio.sleep(whim.slow_s)
        if whim.is_error_before:
            raise web.HTTPServiceUnavailable
        answers = self._acted(asked, act, whim)
        self._books.sync()
        if whim.is_partial or whim.is_error_after:
            raise web.HTTPInternalServerError
        if whim.is_reply_lost:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(body=orjson.dumps(answers))

    def _acted(self, asked: Sequence[T], act: Callable[[T], tuple[str, object]], whim: Whim) -> dict[str, object]:
        reached = asked[: len(asked) // 2] if whim.is_partial else asked
        answers = dict(map(act, reached))
        if whim.is_duplicate:
            answers = dict(map(act, reached))
        return answers

    def _pay(self, transfer: Transfer) -> tuple[str, Status]:
        return transfer.key, self._books.pay(transfer, is_refused=self._misbehaviour.is_refused(transfer.key))

    def _recall(self, recall: Recall) -> tuple[str, Status]:
        is_refused = self._misbehaviour.is_recall_refused(recall.transfer_key)
        return recall.key, self._books.recall(recall, is_refused=is_refused)

    def _status(self, key: str) -> tuple[str, Status]:
        return key, self._books.status(key)

    def _found(self, key: str) -> tuple[str, list[object] | None]:
        if (paid := self._books.entry(key)) is not None:
            return key, [paid.status, *paid.transfer[1:]]
        if (recalled := self._books.recall_entry(key)) is not None:
            return key, [recalled.status, *recalled.recall[1:]]
        return key, None

    def _recall_status(self, key: str) -> tuple[str, Status]:
        return key, self._books.recall_status(key)


def _keys(body: bytes) -> list[str]:
    keys = _listed(body)
    if not all(isinstance(key, str) and len(key) <= KEY_CHARACTERS_MAX for key in keys):
        raise web.HTTPBadRequest(text="keys are texts")
    return keys


def _listed(body: bytes) -> list[Any]:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise web.HTTPBadRequest(text="the body is no JSON") from error
    if not isinstance(asked, list) or len(asked) > TRANSFERS_MAX:
        raise web.HTTPBadRequest(text=f"a list of up to {TRANSFERS_MAX} is wanted")
    return asked


def _transfers(body: bytes) -> list[Transfer]:
    listed = _listed(body)
    if not all(isinstance(fields, list) and len(fields) == len(Transfer._fields) for fields in listed):
        raise web.HTTPBadRequest(text="a transfer is key, debtor, creditor, currency, amount_minor")
    transfers = [Transfer(*fields) for fields in listed]
    if not all(map(_is_valid, transfers)):
        raise web.HTTPBadRequest(text="a transfer has texts, and an amount of 0 or more")
    return transfers


def _recalls(body: bytes) -> list[Recall]:
    listed = _listed(body)
    if not all(isinstance(fields, list) and len(fields) == len(Recall._fields) for fields in listed):
        raise web.HTTPBadRequest(text="a recall is key, transfer_key, amount_minor")
    recalls = [Recall(*fields) for fields in listed]
    if not all(map(_is_valid, recalls)):
        raise web.HTTPBadRequest(text="a recall has texts, and an amount of 0 or more")
    return recalls


def _is_valid(asked: Transfer | Recall) -> bool:
    *texts, amount_minor = asked
    return all(isinstance(text, str) and 0 < len(text) <= KEY_CHARACTERS_MAX for text in texts) and (
        type(amount_minor) is int and amount_minor >= 0
    )
