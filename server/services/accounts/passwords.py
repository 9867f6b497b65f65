"""Passwords: their rules, and their hashes by argon2. A few are checked at once: each takes 64 MiB and a processor."""

import os
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from server.errors import InvalidInput
from server.services.accounts.errors import TooManyLogins

MIN_LENGTH, MAX_BYTES = 12, 1024
AT_ONCE = 2
PATIENCE_S = 10.0


class Passwords:
    """Makes and checks hashes; one object for all of a program, so that its limit counts.

    ``hasher``: argon2's parameters; those of a stored hash may be others.
    """

    def __init__(self, hasher: PasswordHasher | None = None, at_once: int = AT_ONCE, patience_s: float = PATIENCE_S) -> None:
        self._hasher = hasher or PasswordHasher()
        self._turns = threading.BoundedSemaphore(at_once)
        self._patience_s = patience_s
        self._nobodys = self._hash_of_nobody()

    def hash(self, password: str, field: str = "password") -> str:
        """The hash of a new password. Raises InvalidInput where it is too short or too long, TooManyLogins."""
        require_password(password, field)
        with self._turn():
            return self._hasher.hash(password)

    def verify(self, stored: str, password: str) -> bool:
        """Whether the password is the one; "" as hash: there is none, which takes as long to say. Raises TooManyLogins."""
        if len(password.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            return False
        with self._turn():
            try:
                return self._hasher.verify(stored or self._nobodys, password) and bool(stored)
            except (VerificationError, InvalidHashError, UnicodeEncodeError):
                return False

    def renewed(self, password: str) -> str:
        """The hash of a password that is in use, whatever the rules for new ones are today. Raises TooManyLogins."""
        with self._turn():
            return self._hasher.hash(password)

    def is_old(self, stored: str) -> bool:
        """Whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=self._patience_s):
            raise TooManyLogins("many passwords are being checked; try again in some seconds")
        try:
            yield
        finally:
            self._turns.release()

    def _hash_of_nobody(self) -> str:
        """A hash that no password has, in the form that argon2 gives, so that checking it takes as long as with any other."""
        hasher = self._hasher
        salt, digest = (b64encode(os.urandom(size)).decode().rstrip("=") for size in (hasher.salt_len, hasher.hash_len))
        cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
        return f"$argon2{hasher.type.name.lower()}$v=19${cost}${salt}${digest}"


def require_password(password: str, field: str = "password") -> None:
    """Raises InvalidInput for one that is too short, too long, or no text."""
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        raise InvalidInput("the password has a character that is none", field=field) from None
    if len(password) < MIN_LENGTH:
        text = f"the password has {len(password)} characters, and needs {MIN_LENGTH}: four or five words are easy to remember"
        raise InvalidInput(text, field=field)
    if size > MAX_BYTES:
        raise InvalidInput(f"the password is longer than {MAX_BYTES} bytes", field=field)
