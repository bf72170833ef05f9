"""What is secret in a value, and the same value without it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

MASK = "***"
_NAME = r"(?:passw(?:or)?d|passphrase|pwd|secret|token|credential|authorization|api[_-]?key|access[_-]?key)s?"
_SECRET_KEY = re.compile(rf"(?i)(?:^|[^a-z0-9]){_NAME}(?:$|[^a-z0-9])|(?:^|[^a-z0-9])auth$|private[_-]?key")
# Repeats are bounded: the text may be hostile and must not cost quadratic time.
_URL_PASSWORD = re.compile(r"""(://[^\s/@:"'<>]{0,256}):[^\s"'<>]{1,2048}@""")
_ASSIGNED = re.compile(
    rf"""(?i)({_NAME}["']?\s{{0,8}}[=:]\s{{0,8}}["']?)(?:(?:bearer|basic)\s{{1,8}})?[^\s"',;&]+"""
)
_BEARER = re.compile(r"(?i)\b(bearer\s{1,8})[\w.~+/=-]{8,}")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SHORT = 64
_NOT_SECRET_LEAVES = ("username", "user", "email", "serveraddress")


def names_a_secret(key: object) -> bool:
    """Whether a key of this name holds a secret: ``HF_TOKEN`` and ``apiKey`` do, ``tokenizer`` does not."""
    name = str(key)
    return _known_name(name) if len(name) <= _SHORT else _names_a_secret(name)


def _names_a_secret(name: str) -> bool:
    return bool(_SECRET_KEY.search(_HUMP.sub("_", name)))


# A log has few keys, and asks for each at every line.
_known_name = functools.lru_cache(maxsize=1024)(_names_a_secret)


def is_hidden(key: object, value: object) -> bool:
    """Whether an entry of a mapping is a secret by its key. Numbers are not: a metric may be per token."""
    return bool(value) and not isinstance(value, int | float) and names_a_secret(key)


def mask_secrets(value: Any, secrets: Iterable[str] = ()) -> Any:
    """``value`` with what looks like a secret, and every one of ``secrets``, replaced by ``***``.

    Looks into mappings and lists. By key: token, password, api_key and their like (numbers are left).
    In text: passwords in URLs, ``password=…``, ``Bearer …``.
    """
    if isinstance(value, str):
        return mask_text(value, secrets)
    if isinstance(value, Mapping):
        return {
            mask_secrets(key, secrets): MASK if is_hidden(key, item) else mask_secrets(item, secrets)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask_secrets(item, secrets) for item in value]
    return value


def mask_text(text: str, secrets: Iterable[str] = ()) -> str:
    """`mask_secrets` of a text."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    # What a pattern must find is looked for first: most texts are a word.
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    if "=" in text or ":" in text:
        text = _ASSIGNED.sub(rf"\1{MASK}", text)
    return _BEARER.sub(rf"\1{MASK}", text) if "bearer" in text.lower() else text


def mask_url(url: str) -> str:
    """A URL known to hold a secret: nothing of its password is left, whatever characters that has.

    With a secret in its query only the scheme is left: where such a value ends cannot be known.
    """
    scheme, _, rest = url.partition("://")
    if any(names_a_secret(unquote(name)) for name in re.findall(r"[?&]([^=?&]*)=", rest)):
        return f"{scheme}://{MASK}"
    userinfo, at, host = rest.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    shown = f"{user}:{MASK}@" if colon else f"{MASK}@" if at else ""
    return f"{scheme}://{shown}{host}"


def url_secrets(url: str) -> Iterator[str]:
    """The passwords in a URL (or several joined by ``;``), as written and unquoted."""
    for part in (url, *url.split(";")):
        userinfo = part.partition("://")[2].rpartition("@")[0]
        password = userinfo.partition(":")[2] or userinfo
        yield from (password, unquote(password))
    for name, value in re.findall(r"[?&]([^=&]*)=([^&]+)", url):
        if names_a_secret(name):
            yield from (value, unquote(value))


def secret_texts(value: Any) -> Iterator[str]:
    """Every text inside a secret value, but not the user names that stand beside passwords."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if str(key).lower() not in _NOT_SECRET_LEAVES:
                yield from secret_texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secret_texts(item)
