/* kernel.h: the system calls, structures and constants that C libraries and older headers lack.
 *
 * The mount API is called by number: glibc's <sys/mount.h> and the kernel's <linux/mount.h> can't
 * be included together, and musl has neither the calls nor the constants. */
#pragma once

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452                               /* Linux 6.6 */
#endif

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

/* Superblock magics, statfs(2). */
#define PROC_MAGIC 0x9fa0
#define PROC_ROOT_INODE 1
#define DEVPTS_MAGIC 0x1cd1

/* What is used of struct statx, statx(2). */
#define STATX_BASIC 0x7ffu
#define STATX_MOUNT_ID 0x1000u                          /* Linux 5.8 */
struct kernel_statx {
    uint32_t mask, unused0[7];
    uint64_t inode, unused1[11];
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t mount_id, unused2[13];
};
_Static_assert(sizeof(struct kernel_statx) == 256, "struct statx is 256 bytes");

static inline int sys_openat2(int directory, const char *path, const struct open_how *how)
{
    return (int)syscall(SYS_openat2, directory, path, how, sizeof *how);
}

static inline pid_t sys_clone3(const struct clone_args *args)
{
    return (pid_t)syscall(SYS_clone3, args, sizeof *args);
}

static inline int sys_open_tree(int directory, const char *path, unsigned int flags)
{
    return (int)syscall(SYS_open_tree, directory, path, flags);
}

static inline int sys_move_mount(int from, int to)
{
    return (int)syscall(SYS_move_mount, from, "", to, "",
                        MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static inline int sys_fsopen(const char *type)
{
    return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

static inline int sys_fspick(int mount)
{
    return (int)syscall(SYS_fspick, mount, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
}

static inline int sys_fsconfig(int context, unsigned int command, const char *key, const char *value)
{
    return (int)syscall(SYS_fsconfig, context, command, key, value, 0);
}

static inline int sys_fsmount(int context, uint64_t attributes)
{
    return (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, (unsigned int)attributes);
}

static inline int sys_mount_setattr(int mount, unsigned int flags, const struct mount_attr *attributes)
{
    return (int)syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | flags, attributes,
                        sizeof *attributes);
}

static inline int sys_mount(const char *source, const char *target, const char *type,
                            unsigned long flags, const char *data)
{
    return (int)syscall(SYS_mount, source, target, type, flags, data);
}

static inline int sys_umount2(const char *target, int flags)
{
    return (int)syscall(SYS_umount2, target, flags);
}

static inline int sys_pivot_root(const char *root, const char *old)
{
    return (int)syscall(SYS_pivot_root, root, old);
}

static inline int sys_statx(int fd, unsigned int mask, struct kernel_statx *result)
{
    return (int)syscall(SYS_statx, fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, mask, result);
}
