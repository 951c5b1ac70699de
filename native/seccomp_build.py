"""How cffi makes pyoci._libseccomp: declarations of libseccomp.so.2, which is bound at run time."""

from __future__ import annotations

from cffi import FFI

# libseccomp's stable ABI, seccomp.h of 2.4 and later, with enums as unsigned int; and libc's syscall(2),
# to ask the kernel for what it supports.
DECLARATIONS = """
    typedef void *scmp_filter_ctx;
    struct scmp_version { unsigned int major, minor, micro; };
    struct scmp_arg_cmp { unsigned int arg; unsigned int op; uint64_t datum_a, datum_b; };
    const struct scmp_version *seccomp_version(void);
    scmp_filter_ctx seccomp_init(uint32_t def_action);
    void seccomp_release(scmp_filter_ctx ctx);
    uint32_t seccomp_arch_native(void);
    uint32_t seccomp_arch_resolve_name(const char *arch_name);
    int seccomp_arch_add(scmp_filter_ctx ctx, uint32_t arch_token);
    int seccomp_syscall_resolve_name(const char *name);
    int seccomp_syscall_resolve_name_arch(uint32_t arch_token, const char *name);
    int seccomp_rule_add_array(scmp_filter_ctx ctx, uint32_t action, int syscall,
                               unsigned int arg_cnt, const struct scmp_arg_cmp *arg_array);
    int seccomp_export_bpf(scmp_filter_ctx ctx, int fd);
    long syscall(long number, ...);
"""

ffibuilder = FFI()
ffibuilder.cdef(DECLARATIONS)
ffibuilder.set_source("pyoci._libseccomp", None)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
