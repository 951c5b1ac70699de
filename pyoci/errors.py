"""The one exception of pyoci: what went wrong, where in config.json, and what would help."""


class Error(Exception):
    """A failure that a caller can act on.

    message  one sentence, without a full stop: what was wanted, what was found
    code     a stable word for programs: invalid-config, not-found, exists, wrong-state,
             permission, not-supported, kernel, hook, busy, timeout, usage
    pointer  JSON pointer (RFC 6901) of the property in config.json that asked for it, or ""
    errno    the kernel's error number, or 0
    hint     what would do, or ""
    status   pyoci's own exit status
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "kernel",
        pointer: str = "",
        errno: int = 0,
        hint: str = "",
        status: int = 1,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.pointer = pointer
        self.errno = errno
        self.hint = hint
        self.status = status

    def __str__(self) -> str:
        where = f"{self.pointer}: " if self.pointer else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.message}{hint}"
