"""Telling people: alerts grouped, sent to where people look, acknowledged, silenced, sent on where nobody answers."""
