"""The environment of the captioners' tests."""

import pytest

from captioners import server

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, address or proxy from this machine's environment; short pauses before retries."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", *PROXIES, *map(str.upper, PROXIES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(server, "_pause", lambda tries: 0.01)
