/* mount.h: making mounts on descriptors, with what older kernels need. */
#pragma once

#include <stdint.h>

#include "plan.h"

/* A file system to mount. `superblock` has mount(2)'s MS_ flags, `attributes` MOUNT_ATTR_ of the mount;
 * `mode` is one more option, "mode=...", or NULL. */
struct filesystem {
    const char *type, *source, *mode;
    struct list options;
    int64_t superblock, attributes;
};

/* All of these return -1 with the failure remembered. Descriptors of mounts are O_PATH. */

/* A detached mount of a file system, or -1; `errno` is ENOSYS where only mount(2) can make it. */
int make_filesystem(const struct filesystem *filesystem);

/* Changes the superblock of what is mounted. */
int reconfigure(int mount, const struct filesystem *filesystem);

/* Copies what a directory holds into a mount that is about to cover it; `owner`: its root's owner too.
 * `name` is the directory's, for messages. */
int copy_up(int covered, int mount, const char *name, int owner);

/* A detached clone of the mount, from what `directory` and `path` name (openat(2)) on down; `flags`
 * are open_tree(2)'s. `errno` is ENOSYS where legacy_bind has to do it. */
int clone_tree(int directory, const char *path, unsigned int flags);

/* Puts a detached mount on `target`, which was opened as `path` in the container's root with `flags`,
 * and makes sure that it's now found there. */
int attach(int mount, int target, const char *path, int flags);

/* Mounting over the root would leave the container in what lies beneath: fails for the root. */
int refuse_root(int target);

/* MOUNT_ATTR_ to set and to clear on a mount, or on a whole tree. */
int change_attributes(int mount, uint64_t set, uint64_t clear, int recursive);
int change_propagation(int mount, int64_t flags);

/* The same through mount(2) and /proc/self/fd, for kernels without the calls (some before 5.2, all
 * before 5.12) and for what the calls can't express. The first two give what is then mounted. */
int legacy_filesystem(const struct filesystem *filesystem, int target, const char *path);
int legacy_bind(int source, int target, const char *path, int recursive, int flags);
int legacy_attributes(int mount, uint64_t set, uint64_t clear);
int legacy_propagation(int mount, int64_t flags);
int legacy_reconfigure(int mount, const struct filesystem *filesystem);

/* Does a file system ask for what only mount(2) can express? */
int needs_legacy(const struct filesystem *filesystem);
