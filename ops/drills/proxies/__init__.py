"""Fault proxies: what stands between a lane and the servers, and can cut, stall, delay and reset."""
