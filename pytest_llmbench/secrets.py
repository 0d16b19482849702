"""What is a secret, and how is it kept out of everything that is written or shown?

By its name (an option, a variable, a header, a key of a query), by its form (a password within a URL, a
key as the usual services write them), or because it was learned: :func:`learn` and what calls it note
the values themselves, and :func:`mask` finds these wherever a server or a library repeats them.

Prompts and what a model answers are data; nothing here looks at them.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"

_WORDS = frozenset(
    {
        "key", "keys", "apikey", "token", "secret", "secrets", "password", "passwd", "passphrase", "pass",
        "pwd", "pat", "credential", "credentials", "cred", "creds", "auth", "oauth", "authorization",
        "bearer", "jwt", "cookie", "cookies", "private", "signature", "sig", "sas", "dsn",
    }
)  # fmt: skip
"""A name with one of these words in it is a secret's."""
_ENDINGS = (
    "apikey", "accesskey", "authkey", "privatekey", "secretkey", "accesstoken", "authtoken", "hftoken",
    "secret", "password", "passwd", "passphrase", "credential", "credentials", "authorization",
)  # fmt: skip
"""How a word ends that was written together."""
_OF_A_MODEL = frozenset(
    {
        "bos", "cls", "draft", "eos", "every", "first", "image", "input", "last", "mask", "max", "min", "new",
        "next", "num", "output", "pad", "per", "prompt", "sep", "special", "stop", "think", "unk",
    }
)  # fmt: skip
"""Before "token", they tell that it is one of a text."""
_OTHERS = frozenset(
    {
        "at",
        "cache",
        "count",
        "dim",
        "error",
        "head",
        "heads",
        "length",
        "rate",
        "size",
        "through",
        "value",
        "values",
    }
)
"""After "key" or "pass", they tell that it is none of a lock."""
_PLACES = frozenset({"env", "file", "keyfile", "path", "dir", "folder", "name"})
"""At the end, they tell that the value says where the secret is, and is none."""
_NO_SECRETS = frozenset({"PWD", "OLDPWD", "SSH_AUTH_SOCK"})
_PLACEHOLDERS = frozenset(
    {"dummy", "empty", "fake", "false", "none", "null", "true", "test", "unused", "not-needed", "no-key"}
)
"""What is given where a client insists on a key and the server does not."""

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PLAIN_NAME = re.compile(r"-{0,2}[A-Za-z_][\w.-]*")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_SET_VARIABLE = re.compile(r"env\.\w+")
_SHELL_WORD = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"']|["'])+""")
_HEADER = re.compile(r"([\w-]+)(:\s*)(?=\S)(?!:|//)")

# Where a name does not help: how the usual services write their keys.
_KEY = re.compile(
    r"\b(?:hf|sk|gsk|pk|ghp|gho|ghs|ghu|github_pat|glpat|nvapi|xox[abp])[_-][A-Za-z0-9_-]{12,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+|\bAKIA[A-Z0-9]{12,}|\bAIza[A-Za-z0-9_-]{20,}"
)
_AUTHORIZATION = re.compile(
    r"""(?i)(\bauthorization["']?\s*[:=]\s*["']?(?:[a-z]+\s+)?|\bbearer\s+(?=\S*\d))[^\s"',;]{6,}"""
)
# A password may have any character, also those that it should not: of a user and password, what is before
# the last "@" of the place; where a "/" follows what is not a port, before the last "@" of the word.
_USER = re.compile(
    r"""(?<=://)(?:[^/?#\s"<>]*@|(?!\[)[^/?#\s":<>@]*:(?!\d{1,5}(?![^/?#\s"'<>)\],;]))[^\s"<>]*@)"""
)
_QUERY = re.compile(r"""(?<=[?&#])([\w.%-]+)=([^&#\s"'<>]+)""")
_PAIR = re.compile(r"""(?<![\w\\])(\\?["'])([\w.-]+)\1(\s*:\s*)(\\?["'])((?:(?!\4).)+)\4""")

_SHORTEST = 4
"""Characters of a value that is looked for: shorter ones would make any text unreadable."""
_ANYWHERE = 6
"""Shorter ones are looked for as a word of their own."""
_PIECE = 8
"""Characters of a part, from its beginning or to its end, that is masked like the whole."""
_MOST = 256
"""Values that are known at a time; the oldest are forgotten, which bounds what masking takes."""

_known: dict[str, None] = {}


def is_secret_name(name: str) -> bool:
    """Whether what is called *name* is a secret; it may be an option's, a variable's, a header's."""
    if name in _NO_SECRETS:
        return False
    words = [part.lower() for part in _PART.findall(name)]
    if not words or words[-1] in _PLACES:
        return False
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if word == "token" and before in _OF_A_MODEL:
            continue
        if word in ("key", "pass") and after in _OTHERS:
            continue
        if word in _WORDS or word.endswith(_ENDINGS):
            return True
    return False


def says_where(name: str) -> bool:
    """Whether *name* is that of a place where a secret is, such as ``api_key_env``."""
    words = [part.lower() for part in _PART.findall(name)]
    return len(words) > 1 and words[-1] == "env" and is_secret_name("_".join(words[:-1]))


# -- values that are known ---------------------------------------------------------------------


def learn(*values: str | None) -> None:
    """Have these values masked from now on, in this process."""
    for value in values:
        value = (value or "").strip()
        if len(value) >= _SHORTEST and value.lower() not in _PLACEHOLDERS and set(value) != {"*"}:
            _known.pop(value, None)
            _known[value] = None
    while len(_known) > _MOST:
        del _known[next(iter(_known))]


def learn_command(arguments: Iterable[str]) -> None:
    """Learn what :func:`mask_command` hides, but the variables of a base side, which are mostly switches."""
    _masked_words(list(arguments), learn)


def learn_environment(environ: Mapping[str, str]) -> None:
    """Learn what variables hold whose names say that it is a secret, and the passwords in their URLs."""
    for name, value in environ.items():
        # A file that has the secret is none, and a few letters are mostly a switch.
        if is_secret_name(name) and len(value) >= _PIECE and not value.startswith("/"):
            learn(value)
        elif "://" in value:
            learn_url(value)


def learn_headers(headers: Mapping[str, str]) -> None:
    """Learn what headers hold whose names say that it is a secret."""
    for name, value in headers.items():
        if is_secret_name(name):
            learn(value.partition(" ")[2] or value)


def learn_url(text: str) -> None:
    """Learn the secrets within a URL: its password, and what its query has under a secret's name."""
    for found in _USER.finditer(text):
        learn_user(*found[0].removesuffix("@").partition(":")[::2])
    for name, value in _QUERY.findall(text):
        if _is_secret_key(name):
            learn(value, unquote(value), unquote_plus(value))


def learn_user(user: str, password: str) -> None:
    """Learn a password as it is in a URL, and what goes over the wire in its place.

    A user without a password is a key that stands alone.
    """
    whole = f"{unquote(user)}:{unquote(password)}"
    learn(password or user, unquote(password or user), base64.b64encode(whole.encode()).decode())


# -- texts -------------------------------------------------------------------------------------


def mask(text: str) -> str:
    """*text* without any secret: known values, passwords and keys in URLs, keys of well-known form.

    A known value is found as it is, as a URL, JSON, HTML or Python's repr write it, in base64, and without
    its first or last letters, where what is left is long enough to be known.
    """
    text = _without_known(text)
    if "://" in text:
        text = _USER.sub(f"{MASK}@", text)
    if "=" in text:
        text = _QUERY.sub(_masked_query, text)
    if ":" in text:
        text = _PAIR.sub(_masked_pair, text)
    return _KEY.sub(MASK, _AUTHORIZATION.sub(rf"\1{MASK}", text))


def mask_setting(name: str, value: Any) -> Any:
    """What is stored of a setting: its *value*, without the secrets in it."""
    if not isinstance(value, str):
        return mask_data(value)
    return _masked_words([f"{name}={value}"], None)[0].partition("=")[2]


def mask_data(data: Any) -> Any:
    """The same data with every text in it masked, and what stands under a secret's name."""
    if isinstance(data, str):
        return mask(data)
    if isinstance(data, Mapping):
        return {
            mask(key) if isinstance(key, str) else key: MASK
            if isinstance(key, str)
            and not (value is None or isinstance(value, bool) or value == "")
            and is_secret_name(key)
            else mask_data(value)
            for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        return [mask_data(value) for value in data]
    return data


def mask_json(line: bytes) -> bytes:
    """JSON in UTF-8 without the values that are known, should one have come so far.

    Read again only where one is in it: numbers stay as they are written otherwise.
    """
    text = line.decode(errors="surrogateescape")
    if _without_known(text) == text:
        return line
    from pydantic_core import from_json, to_json

    return to_json(_without_known_data(from_json(line)))


def mask_command(arguments: Sequence[str]) -> list[str]:
    """A command line without secrets: of options, assignments and headers whose names say that they are
    secret, within options that hold a command line themselves, and of the variables of ``--llm-ab``."""
    return _masked_words(arguments, None)


def _masked_words(arguments: Sequence[str], found: Callable[..., None] | None) -> list[str]:
    """The words without secrets; *found* is called with each of them."""
    masked = []
    hide = False
    for argument in arguments:
        if hide and not argument.startswith("-"):
            _tell(found, argument)
            masked.append(MASK)
            hide = False
            continue
        masked.append(_masked_word(argument, found))
        option = argument.rpartition("=")[2]
        hide = option.startswith("-") and bool(_PLAIN_NAME.fullmatch(option)) and is_secret_name(option)
    return masked


def _masked_word(word: str, found: Callable[..., None] | None) -> str:
    """One word of a command line; what is quoted or follows a ``=`` may be words again."""
    for mark in "'\"":
        if len(word) > 1 and word[0] == mark == word[-1]:
            return mark + _masked_word(word[1:-1], found) + mark
    if (header := _HEADER.match(word)) and is_secret_name(header[1]):
        value = word[header.end() :]
        _tell(found, value.partition(" ")[2] or value)
        return f"{header[0]}{MASK}"
    for pair in _PAIR.finditer(word):
        if is_secret_name(pair[2]):
            _tell(found, pair[5])
    word = _PAIR.sub(_masked_pair, word)
    pieces = _SHELL_WORD.findall(word)
    if len(pieces) > 1:
        between = _SHELL_WORD.split(word)
        told = _masked_words(pieces, found)
        return "".join(a + b for a, b in zip(between, [*told, ""], strict=False))
    name, equals, value = word.partition("=")
    if not equals or not value or not _PLAIN_NAME.fullmatch(name):
        if found is not None:
            learn_url(word)
        return mask(word)
    if is_secret_name(name):
        _tell(found, value)
        return f"{name}={MASK}"
    if _SET_VARIABLE.fullmatch(name):
        # What an engine's variables hold is not for others.
        return f"{name}={MASK}"
    if says_where(name) and not _VARIABLE.fullmatch(value):
        # A key that is given in place of the variable's name is a secret too.
        _tell(found, value)
        return f"{name}={MASK}"
    return f"{name}={_masked_word(value, found)}"


def _tell(found: Callable[..., None] | None, value: str) -> None:
    if found is not None:
        for mark in "'\"":
            value = value.removeprefix(mark).removesuffix(mark)
        found(value)


def _masked_query(found: re.Match[str]) -> str:
    return f"{found[1]}={MASK}" if _is_secret_key(found[1]) else found[0]


def _is_secret_key(name: str) -> bool:
    # "code" is how some clouds call the key of a function.
    return unquote(name).lower() == "code" or is_secret_name(unquote(name))


def _masked_pair(found: re.Match[str]) -> str:
    if not is_secret_name(found[2]):
        return found[0]
    return f"{found[1]}{found[2]}{found[1]}{found[3]}{found[4]}{MASK}{found[4]}"


def _without_known_data(data: Any) -> Any:
    if isinstance(data, str):
        return _without_known(data)
    if isinstance(data, dict):
        return {_without_known(key): _without_known_data(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_without_known_data(value) for value in data]
    return data


def _without_known(text: str) -> str:
    spans = sorted({span for value in _known for form in _forms(value) for span in _spans(text, form)})
    if not spans:
        return text
    parts, end = [], 0
    for first, last in spans:
        if first >= end:
            parts += [text[end:first], MASK]
        end = max(end, last)
    return "".join([*parts, text[end:]])


@cache
def _forms(value: str) -> tuple[str, ...]:
    """How *value* may be written."""
    encoded = value.encode(errors="surrogateescape")
    forms = {
        value: None,
        quote(encoded): None,
        quote(encoded, safe=""): None,
        quote_plus(encoded): None,
        json.dumps(value)[1:-1]: None,
        json.dumps(value, ensure_ascii=False)[1:-1]: None,
        repr(value)[1:-1]: None,
        repr(repr(value))[2:-2]: None,
        json.dumps(json.dumps(value)[1:-1])[1:-1]: None,
        html.escape(value): None,
        base64.b64encode(encoded).decode().rstrip("="): None,
    }
    return tuple(form for form in forms if len(form) >= _SHORTEST)


def _spans(text: str, value: str) -> Iterable[tuple[int, int]]:
    """Where *value* is in *text*, or enough of it."""
    if len(value) < _ANYWHERE:
        return [found.span() for found in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", text)]
    if len(value) <= _PIECE:
        return [found.span() for found in re.finditer(re.escape(value), text)]
    spans = []
    piece = max(_PIECE, len(value) // 2)
    at = text.find(value[:piece])
    while at >= 0:
        length = _alike(text[at : at + len(value)], value)
        spans.append((at, at + length))
        at = text.find(value[:piece], at + length)
    at = text.find(value[-piece:])
    while at >= 0:
        end = at + piece
        before = text[max(0, end - len(value)) : end]
        length = _alike(before[::-1], value[::-1])
        spans.append((end - length, end))
        at = text.find(value[-piece:], end)
    return spans


def _alike(first: str, second: str) -> int:
    """How many characters two texts begin with alike."""
    unlike = (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(unlike, min(len(first), len(second)))
