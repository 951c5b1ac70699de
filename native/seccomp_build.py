"""How cffi makes pyoci._libseccomp: declarations of libseccomp.so.2, which is bound at run time."""

from __future__ import annotations

from cffi import FFI

# libseccomp's stable ABI, seccomp.h of 2.3 and later; and libc's syscall(2), to ask the kernel for
# what it supports.
DECLARATIONS = """
    struct scmp_version { unsigned int major, minor, micro; };
    const struct scmp_version *seccomp_version(void);
    int seccomp_syscall_resolve_name(const char *name);
    int seccomp_syscall_resolve_name_arch(uint32_t arch_token, const char *name);
    long syscall(long number, ...);
"""

ffibuilder = FFI()
ffibuilder.cdef(DECLARATIONS)
ffibuilder.set_source("pyoci._libseccomp", None)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
