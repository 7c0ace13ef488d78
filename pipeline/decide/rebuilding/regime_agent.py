"""Telling that workers decide by another policy, model or feed, whether it was taken up at work or with a start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from pipeline.alerts.catalogue import regime_alert
from pipeline.decide.feeds.feed import feed_versions
from pipeline.decide.verdict import Regime
from pipeline.domain.alert import Alert
from pipeline.state.store import RedisState, StateUnavailable

log = structlog.get_logger("worker")


class RegimeWatch:
    """Tells of each change once. What was told last stands beside the state, so a worker that starts knows it.

    A state that begins has no regime before its first, so that one isn't told of.
    """

    def __init__(self, state: RedisState) -> None:
        self._state = state
        self._settled = ""  # the regime that is told of, as far as this process knows

    async def look(self, in_force: Regime, now_ms: int, publish: Callable[[Sequence[Alert]], Awaitable[None]]) -> None:
        """Publish where what is in force was not told of. What `publish` raises leaves it to the next look."""
        policy = in_force.policy.version
        model = "none" if in_force.model is None else in_force.model.version
        feeds = feed_versions(in_force.feeds)
        if (name := " ".join((policy, model, *feeds.values()))) == self._settled:
            return
        try:
            told = await self._state.regime_told()
            if told not in (None, name):
                await publish([regime_alert(policy, model, feeds, now_ms)])
            if told != name:
                await self._state.remember_regime(name)
        except StateUnavailable as error:  # whoever decides says so loudly
            log.info("regime_untold", why=str(error))
            return
        self._settled = name
